"""One connection a thread, made anew when it breaks; a database that is away is `Unavailable`, never a crash."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult
from psycopg.rows import TupleRow

from risk.errors import Unavailable

Result = TypeVar("Result")
Connection = psycopg.Connection[TupleRow]
Parameter = str | int | float | bytes | None

# Every statement of the claims' path finds its rows by key; a planner that has not seen statistics yet must not scan.
_SESSION = """
SET TIME ZONE 'UTC';
SET synchronous_commit = on;
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off;
SET jit = off;
-- A count of distinct parties sorts a few ids; sorting whole rows first for the sake of one of the counts costs more.
SET enable_presorted_aggregate = off;
SET statement_timeout = {timeout};
SET transaction_timeout = 10000;
SET idle_in_transaction_session_timeout = 10000;
"""


@dataclass(frozen=True)
class Prepared:
    """A statement with `$1`, prepared once a connection."""

    name: bytes
    text: bytes


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
                # psycopg prepares nothing itself: after a rollback it would forget our statements with its own.
                connection = psycopg.connect(self.url, autocommit=True, connect_timeout=2, prepare_threshold=None)
                connection.execute(self._session, prepare=False)
            except psycopg.Error as error:
                raise Unavailable(f"the database does not answer: {_sentence(error)}") from error
            self._local.connection, self._local.known = connection, set()
        return connection

    def fetch(self, statement: "Prepared", parameters: Sequence[Parameter]) -> list[bytes | None]:
        """The only row of a statement of the claims' path, each column in PostgreSQL's binary form.

        Straight to libpq: taking psycopg's general way costs more than the statement's own round trip
        (docs/adr/0004-psycopg-without-an-orm-on-the-claims-path.md). Raises as `run` does.
        """
        values = [_encoded(parameter) for parameter in parameters]
        return self.run(lambda connection: self._fetch(connection, statement, values))

    def _fetch(self, connection: Connection, statement: "Prepared", values: list[bytes | None]) -> list[bytes | None]:
        known: set[bytes] = self._local.known
        if statement.name not in known:
            _checked(connection.pgconn.prepare(statement.name, statement.text))
            known.add(statement.name)
        # None is NULL, which the declared type forgets.
        parameters: Any = values
        result = _checked(connection.pgconn.exec_prepared(statement.name, parameters, result_format=Format.BINARY))
        return [result.get_value(0, column) for column in range(result.nfields)]

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
        except psycopg.Error:
            # Of what kind the error is depends on the moment at which the server went; the connection tells for sure.
            if not self.connection_broken():
                raise
        try:
            return work(self.connection())
        except psycopg.Error as error:
            if not self.connection_broken():
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


def _encoded(value: Parameter) -> bytes | None:
    """A parameter as PostgreSQL reads text; the shortest text of a double is that double again."""
    if value is None:
        return None
    if isinstance(value, bytes):
        return b"\\x" + value.hex().encode()
    return str(value).encode()


def _checked(result: PGresult) -> PGresult:
    if result.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
        return result
    raise psycopg.errors.error_from_result(result)


def _sentence(error: Any) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
