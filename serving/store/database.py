"""One connection a thread, made anew when it breaks; a database that is away is `Unavailable`, never a crash."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.rows import TupleRow

from risk.errors import Unavailable

Result = TypeVar("Result")
Connection = psycopg.Connection[TupleRow]

# Every statement of the claims' path finds its rows by key; a planner that has not seen statistics yet must not scan.
_SESSION = """
SET TIME ZONE 'UTC';
SET synchronous_commit = on;
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off;
SET jit = off;
SET statement_timeout = {timeout};
SET transaction_timeout = 10000;
SET idle_in_transaction_session_timeout = 10000;
"""


class Database:
    """Connections to one PostgreSQL, in autocommit: a statement is a transaction unless a block says otherwise."""

    def __init__(self, url: str, *, statement_timeout_ms: int = 1000) -> None:
        self.url = url
        self._session = _SESSION.format(timeout=int(statement_timeout_ms))
        self._local = threading.local()

    def connection(self) -> Connection:
        """This thread's connection; raises Unavailable where none can be had."""
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None or connection.closed:
            try:
                connection = psycopg.connect(self.url, autocommit=True, connect_timeout=2, prepare_threshold=0)
                connection.execute(self._session, prepare=False)
            except psycopg.Error as error:
                raise Unavailable(f"the database does not answer: {_sentence(error)}") from error
            # Statements stay prepared for the life of the connection.
            connection.prepared_max = None
            self._local.connection = connection
        return connection

    def raw(self, connection: Connection) -> psycopg.RawCursor[TupleRow]:
        """This thread's cursor for statements with `$1`, in binary: the claims' path uses nothing else."""
        cursor: psycopg.RawCursor[TupleRow] | None = getattr(self._local, "cursor", None)
        if cursor is None or cursor.closed or cursor.connection is not connection:
            cursor = self._local.cursor = psycopg.RawCursor(connection)
            cursor.format = psycopg.pq.Format.BINARY
        return cursor

    def close(self) -> None:
        """Close this thread's connection."""
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()

    def run(self, work: Callable[[Connection], Result]) -> Result:
        """Run work that may safely be repeated; once more on a fresh connection where the old one had broken.

        Raises Unavailable where the database is away, and psycopg errors that a retry cannot mend.
        """
        try:
            return work(self.connection())
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if isinstance(error, psycopg.errors.QueryCanceled) or not self.connection_broken():
                raise
        try:
            return work(self.connection())
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if isinstance(error, psycopg.errors.QueryCanceled):
                raise
            raise Unavailable(f"the database does not answer: {_sentence(error)}") from error

    def connection_broken(self) -> bool:
        """Whether this thread's connection is gone."""
        connection: Connection | None = getattr(self._local, "connection", None)
        return connection is None or connection.broken or bool(connection.closed)

    @contextmanager
    def patient(self) -> Iterator[Connection]:
        """A connection of its own without time limits, for commands that take minutes."""
        try:
            connection = psycopg.connect(self.url, connect_timeout=5)
        except psycopg.Error as error:
            raise Unavailable(f"the database does not answer: {_sentence(error)}") from error
        with connection:
            yield connection


def _sentence(error: Any) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
