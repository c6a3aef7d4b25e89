"""Arguments and folders that several commands share."""

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from risk.bundle import MANIFEST
from risk.claim import microseconds
from risk.errors import InputError, Problem


def moment(text: str) -> int:
    """A day or a time as microseconds; without an offset it is UTC."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: a day such as 2026-03-01 is expected") from None
    return microseconds(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))


def add_history(parser: argparse.ArgumentParser) -> None:
    """`--history`."""
    parser.add_argument("--history", type=Path, required=True, help="folder with orders, claims and labels")


def add_moment(parser: argparse.ArgumentParser, name: str, *, help: str, required: bool = False) -> None:
    """An argument that is a day or a time, exclusive at the end and inclusive at the start."""
    parser.add_argument(name, type=moment, help=help, required=required, metavar="DATE")


def file_problems(files: Mapping[str, Path | None]) -> list[Problem]:
    """What keeps files from being written, by the argument that names each; those not asked for are None."""
    return [
        Problem(name, f"{path} is a folder" if path.is_dir() else f"there is no folder {path.parent}")
        for name, path in files.items()
        if path is not None and (path.is_dir() or not path.parent.is_dir())
    ]


def refuse_file(name: str, path: Path) -> None:
    """Raises InputError where the file that an argument names cannot be written, before anything slow begins."""
    if problems := file_problems({name: path}):
        raise InputError(problems)


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
