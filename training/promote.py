"""`promote`: make a bundle the one that is served, in one step that no reader can see half done."""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from risk.bundle import Bundle, signing_key

CHAMPION, VERSIONS = "champion", "versions"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("bundle", type=Path, help="folder of the bundle; an older version under versions/ to go back to it")
    parser.add_argument("--to", type=Path, help="folder of the champion (default: beside the bundle, or beside versions/)")


def run(args: argparse.Namespace) -> None:
    """Verify, keep a copy under its version, and point `champion` at it."""
    store = args.to or _store_of(args.bundle.resolve())
    version = promote(args.bundle, store)
    certificate = Bundle.load(store / CHAMPION, signing_key()).certificate
    if certificate is None or all(part.threshold is None for part in certificate.segments.values()):
        lacks = "no certificate" if certificate is None else f"{certificate.certificate_id}, which certifies no segment"
        print(f"warning: it has {lacks}: every claim will go to a person until `certify` finds enough evidence", file=sys.stderr)
    print(f"{version} is the champion in {store}")


def _store_of(bundle: Path) -> Path:
    """Where the champion of a bundle lies: beside it, or beside the folder of versions that it is kept in."""
    return bundle.parent.parent if bundle.parent.name == VERSIONS else bundle.parent


def promote(bundle: Path, store: Path) -> str:
    """The promoted version; raises BundleError for a bundle that must not be served."""
    version = Bundle.load(bundle, signing_key()).version
    kept = store / VERSIONS / version
    kept.parent.mkdir(parents=True, exist_ok=True)
    if bundle.resolve() != kept.resolve():
        _copy(bundle, kept)
    pointer = store / f".{CHAMPION}-{os.getpid()}"
    pointer.unlink(missing_ok=True)
    pointer.symlink_to(Path(VERSIONS) / version)
    pointer.replace(store / CHAMPION)
    return version


def _copy(bundle: Path, kept: Path) -> None:
    """A copy that appears whole: a candidate that is trained anew later does not change what is served."""
    scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=kept.parent))
    shutil.copytree(bundle, scratch / "bundle")
    if kept.exists():
        kept.rename(scratch / "old")
    (scratch / "bundle").rename(kept)
    shutil.rmtree(scratch)
