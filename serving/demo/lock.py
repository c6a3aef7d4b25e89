"""One demonstration at a time in a data folder, and a way to stop one that was left running."""

import fcntl
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from serving.demo.steps import StepFailed, say

PATIENCE_SECONDS = 30.0


class Lock:
    """Held by this process and by the service that it starts, as long as either of them lives."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "lock"
        self.descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)

    def take(self) -> None:
        """Raises StepFailed where somebody else holds it."""
        if not self._try():
            where = self._noted().get("url")
            raise StepFailed(
                f"a demonstration runs in {self._file.parent} already (process {_words(self._holders())}); "
                f"use that one{f', at {where}' if where else ''}, or end it with `make stop`"
            )
        self.note()

    def note(self, *, service: int | None = None, url: str | None = None) -> None:
        """Write down who holds it and where the service is reached, for `--stop` and for whoever comes second."""
        text = json.dumps({"demo": os.getpid(), "service": service, "url": url}).encode()
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, text, 0)

    def end_holder(self) -> bool:
        """Ask who holds it to stop, and wait; False where nobody does."""
        if self._try():
            return False
        processes = self._holders()
        say(f"stopping process {_words(processes)}")
        for process in processes:
            if _alive(process):
                # The demonstration stops its service itself; one that was killed has left it behind.
                os.kill(process, signal.SIGTERM)
                break
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._try():
            if time.monotonic() > deadline:
                raise StepFailed(f"process {_words(processes)} does not stop; end it with `kill -9`")
            time.sleep(0.1)
        return True

    def _try(self) -> bool:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _holders(self) -> list[int]:
        noted = self._noted()
        return [int(noted[name]) for name in ("demo", "service") if noted.get(name)]

    def _noted(self) -> dict[str, Any]:
        try:
            noted: dict[str, Any] = json.loads(os.pread(self.descriptor, 1000, 0))
        except ValueError:
            return {}
        return noted


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _words(processes: list[int]) -> str:
    return " and ".join(str(process) for process in processes if _alive(process)) or "unknown"
