"""Numbered steps on the screen, and other rooms' commands as processes of their own."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from risk.errors import RiskError
from serving.settings import ROOT

PATIENCE_SECONDS = 10.0


class StepFailed(RiskError):
    """A step of the demonstration did not end well; the text says what to do."""


class Steps:
    """Says on standard error which step of how many is at work and how long each took."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._number = 0

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step; its time is told when it ends well."""
        self._number += 1
        say(f"step {self._number} of {self._total}: {title}")
        start = time.monotonic()
        yield
        seconds = time.monotonic() - start
        say(f"  done in {seconds:.1f} s" if seconds >= 1 else "  done")


def say(text: str) -> None:
    """A line about progress."""
    print(text, file=sys.stderr, flush=True)


def training(*arguments: str) -> str:
    """Run `python -m training ...` and return its results; its progress goes to the screen, its results only where it fails.

    `serving` never imports `training`: the two meet in files only.
    """
    command = [sys.executable, "-m", "training", *arguments]
    # A session of its own: it is interrupted once, by us, and gets the time to tidy up behind itself.
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            results, _ = process.communicate()
        except KeyboardInterrupt:
            _interrupt(process)
            raise
    if process.returncode == 0:
        return results
    if results.strip():
        say(results.strip())
    raise StepFailed(
        f"`python -m training {arguments[0]}` failed with status {process.returncode}; its own words are above"
    )


def _interrupt(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def check_disk(folder: Path, needed: int) -> None:
    """Raises StepFailed where fewer bytes are free than are needed."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StepFailed(
            f"the disk of {folder} is full: {free // 2**20} MB are free and {needed // 2**20} MB are needed; "
            "free some space, or set DATA_DIR to a folder elsewhere"
        )
