"""The bundle that decides: loaded, checked, and swapped when another one is promoted, without a restart."""

import threading
import time
from pathlib import Path

from risk.bundle import MANIFEST, SIGNATURE, Bundle, signing_key
from risk.errors import BundleError

RETRY_SECONDS = 2.0
"""How soon a bundle that could not be loaded is tried again although nothing about it changed."""


class Champion:
    """Holds the served bundle; without a sound one it holds the reason why.

    `refresh` is cheap when nothing changed and is called by the housekeeping every second.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: object = None
        self._next_try = 0.0
        self._current: tuple[Bundle | None, str] = (None, "no bundle has been loaded yet")
        self.refresh()

    def current(self) -> tuple[Bundle | None, str]:
        """The bundle and its version, or None and what is wrong with it."""
        return self._current

    def refresh(self) -> None:
        """Load the bundle anew if its files changed."""
        with self._lock:
            seen = self._trace()
            if seen == self._seen and (self._current[0] is not None or time.monotonic() < self._next_try):
                return
            try:
                bundle = Bundle.load(self._path.resolve(), signing_key())
                self._current = (bundle, bundle.version)
            except (BundleError, OSError, KeyError, TypeError, ValueError) as error:
                # The files alone may not be at fault: a key that is away, too many open files.
                self._current, self._next_try = (None, str(error)), time.monotonic() + RETRY_SECONDS
            self._seen = seen

    def kept(self, version: str) -> Bundle | None:
        """A bundle that decided in the past, for explaining one of its decisions; None where it is not kept."""
        bundle, current = self._current
        if current == version:
            return bundle
        try:
            return Bundle.load(self._path.parent / "versions" / version, signing_key())
        except (BundleError, OSError, KeyError, TypeError, ValueError):
            return None

    def _trace(self) -> object:
        """Changes when another folder is pointed at or a file in it is written."""
        target = self._path.resolve()
        try:
            names = sorted(target.iterdir()) if target.is_dir() else []
            stats = tuple((name.name, (stat := name.stat()).st_mtime_ns, stat.st_size, stat.st_ino) for name in names)
        except OSError as error:
            return str(error)
        return str(target), stats, MANIFEST, SIGNATURE
