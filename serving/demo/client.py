"""The demonstration as a caller of its own service: plain HTTP, like anybody else."""

import json
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from time import perf_counter
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: dict[str, Any]
    milliseconds: float


class Client:
    """One connection to the service."""

    def __init__(self, host: str, port: int, key: str = "", *, timeout: float = 10.0) -> None:
        self._connection = HTTPConnection(host, port, timeout=timeout)
        self._key = key

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        """One call; raises OSError or HTTPException where nobody answers."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        start = perf_counter()
        try:
            self._connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = self._connection.getresponse()
            data = response.read()
        except (OSError, HTTPException):
            # The next call begins with a fresh connection.
            self._connection.close()
            raise
        taken = (perf_counter() - start) * 1000
        return Answer(response.status, json.loads(data), taken)


def local(host: str) -> str:
    """Where a service that listens on `host` is reached from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # compared with, not bound to  # compared with, not bound to
