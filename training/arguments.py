"""Arguments and folders that several commands share."""

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from risk.bundle import MANIFEST
from risk.claim import microseconds
from risk.errors import InputError, Problem


def moment(text: str) -> int:
    """A day or a time as microseconds; without an offset it is UTC."""
    parsed = datetime.fromisoformat(text)
    return microseconds(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))


def add_history(parser: argparse.ArgumentParser) -> None:
    """`--history`."""
    parser.add_argument("--history", type=Path, required=True, help="folder with orders, claims and labels")


def add_moment(parser: argparse.ArgumentParser, name: str, *, help: str, required: bool = False) -> None:
    """An argument that is a day or a time, exclusive at the end and inclusive at the start."""
    parser.add_argument(name, type=moment, help=help, required=required, metavar="DATE")


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """A fresh folder that takes the place of `target` when the block ends well; otherwise nothing is left of it.

    Raises InputError where `target` holds something other than a bundle.
    """
    if target.exists() and any(target.iterdir()) and not (target / MANIFEST).exists():
        raise InputError([Problem(str(target), "exists and is not a bundle; choose another folder")])
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield scratch
        if target.exists():
            shutil.rmtree(target)
        scratch.chmod(0o755)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
