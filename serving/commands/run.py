"""`run`: the service on Granian, in as many workers as are set."""

import argparse
import os
import shutil
import signal
import socket

from risk.errors import InputError, Problem, SettingError
from risk.policy.definition import load_policies
from risk.promise.appetite import load_appetite, unknown_guarantees
from serving.settings import Settings
from serving.store.embedded import database_url
from serving.store.migrate import check_schema

GRACE_SECONDS = 10


def configure(parser: argparse.ArgumentParser) -> None:
    """Everything is set by environment variables."""
    parser.epilog = "HOST, PORT, WORKERS, THREADS, DATABASE_URL, BUNDLE_DIR and others: docs/operations.md"


def run(args: argparse.Namespace) -> None:
    """Check what can be checked, then serve until stopped."""
    settings = Settings.from_environment()
    free_port(settings.host, settings.port)
    url = database_url(settings)
    check_schema(url)
    print(f"listening on {web_address(settings.host, settings.port)}; Ctrl-C stops it", flush=True)
    serve(settings, url, "serving.worker:create_worker")
    rest = "" if settings.database_url else "; the embedded PostgreSQL goes on (`python -m serving stop` ends it)"
    print(f"stopped{rest}")


def web_address(host: str, port: int) -> str:
    """As a browser takes it."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def free_port(host: str, port: int) -> None:
    """Raises InputError with the remedy where somebody else listens there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InputError([Problem(f"{host}:{port}", f"{error.strerror}; set PORT (or HOST) to another one")]) from error


def serve(settings: Settings, url: str, factory: str) -> None:
    """Run workers of the application that `factory` makes; a stop lets requests in flight finish."""
    from granian import Granian
    from granian.constants import Interfaces
    from granian.log import LogLevels

    # Read and checked here, once: workers are forks of this process, so that all of them, and those that take a dead
    # one's place, judge by the same policies and appetite whatever happens to the files meanwhile.
    if problems := unknown_guarantees(load_appetite(settings.appetite), load_policies()):
        raise SettingError(problems)
    shared = settings.data_dir / "metrics"
    shutil.rmtree(shared, ignore_errors=True)
    shared.mkdir(parents=True)
    # Workers are new processes: what they need to know goes through the environment.
    os.environ |= {"PROMETHEUS_MULTIPROC_DIR": str(shared), "DATABASE_URL": url}
    # A worker that is still loading would inherit the main process's handler and let a stop pass it by.
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    Granian(
        factory,
        factory=True,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=settings.workers,
        blocking_threads=settings.threads,
        backlog=1024,
        respawn_failed_workers=True,
        workers_kill_timeout=GRACE_SECONDS,
        log_level=LogLevels.warning,
    ).serve()
