"""What a worker serves: the application, or 503 until its database is there to build the application on."""

import json
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import structlog

from risk.errors import Unavailable
from serving.api.problems import RETRY_AFTER_SECONDS, problem_part
from serving.app import create_app

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = structlog.get_logger()


def create_worker() -> "WSGIApplication":
    """The application of this process.

    A worker that is started anew while the database is away must not end: its server would take that for a crash loop
    and stop altogether.
    """
    try:
        return create_app()
    except Unavailable as error:
        log.warning("worker_waits", error=str(error))
        return Waiting()


class Waiting:
    """Refuses every request until the application can be built, and from then on is that application."""

    def __init__(self) -> None:
        self._app: WSGIApplication | None = None
        self._lock = threading.Lock()
        self._next_try = 0.0

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request."""
        app = self._app or self._try()
        if app is not None:
            return app(environ, start_response)
        if environ["PATH_INFO"] == "/healthz":
            return _answer(start_response, "200 OK", "application/json", {"status": "ok"})
        if environ["PATH_INFO"] == "/readyz":
            missing = {"status": "not ready", "missing": {"database": "the database does not answer"}}
            return _answer(start_response, "503 Service Unavailable", "application/json", missing)
        body = problem_part(503, "the service cannot write decisions down at the moment; try again")
        return _answer(start_response, "503 Service Unavailable", "application/problem+json", body)

    def _try(self) -> "WSGIApplication | None":
        with self._lock:
            if self._app is None and time.monotonic() >= self._next_try:
                try:
                    self._app = create_app()
                except Unavailable:
                    self._next_try = time.monotonic() + RETRY_AFTER_SECONDS
            return self._app


def _answer(start_response: "StartResponse", status: str, kind: str, body: object) -> list[bytes]:
    start_response(status, [("Content-Type", kind), ("Retry-After", str(RETRY_AFTER_SECONDS))])
    return [json.dumps(body).encode()]
