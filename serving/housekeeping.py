"""What has to be done beside the requests.

Look for a newly promoted bundle, keep the running totals short, watch audits, free what has settled.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import structlog

from risk.claim import microseconds
from risk.errors import Unavailable
from risk.features import load_features
from serving.components import Components
from serving.store.audits import raise_alarms
from serving.store.database import Connection
from serving.store.releases import forget_old, revisit, settle_due
from serving.store.totals import DATABASE_NOW, roll_up

log = structlog.get_logger()
WATCH_SECONDS, SETTLE_SECONDS = 10.0, 60.0
_ROLL_UP_LOCK, _WATCH_LOCK, _SETTLE_LOCK = 7232, 7235, 7234


@dataclass
class _Job:
    """Work that is done every so many seconds; the first time at once."""

    work: Callable[[], None]
    every: float
    next_at: float = 0.0


class Housekeeping(threading.Thread):
    """One thread a worker; what one of them is enough for is done by whichever worker gets its lock."""

    def __init__(self, parts: Components) -> None:
        super().__init__(name="housekeeping", daemon=True)
        self._parts = parts
        self._registered: str | None = None
        self._jobs = (
            _Job(parts.champion.refresh, 0.0),
            _Job(self._register, 0.0),
            _Job(self._roll_up, 1.0),
            _Job(self._watch, WATCH_SECONDS),
            _Job(self._settle, SETTLE_SECONDS),
        )
        self.stopped = threading.Event()

    def run(self) -> None:
        """Once a second until stopped."""
        while not self.stopped.wait(1.0):
            self.once()
        self._parts.database.close()

    def once(self) -> None:
        """One round of what is due; a database that is away is tried again, and no job that fails keeps the others from theirs."""
        for job in self._jobs:
            if time.monotonic() < job.next_at:
                continue
            job.next_at = time.monotonic() + job.every
            try:
                job.work()
            except (Unavailable, psycopg.Error) as error:
                log.warning("housekeeping_waits", job=job.work.__name__, error=str(error))
            except Exception as error:
                log.exception("housekeeping_failed", job=job.work.__name__, error=str(error))

    @contextmanager
    def _alone(self, lock: int) -> Iterator[Connection | None]:
        """A connection of its own in a transaction that holds a lock; None where another worker has it."""
        with self._parts.database.patient() as connection:
            row = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (lock,)).fetchone()
            yield connection if row is not None and row[0] else None

    def _register(self) -> None:
        """Keep the names of the champion's features, so that frozen vectors can be read for ever."""
        bundle, version = self._parts.champion.current()
        if version == self._registered:
            return
        features = load_features()
        named = {features.fingerprint: features.names} | ({version: bundle.columns} if bundle else {})
        rows = [(name, json.dumps(columns)) for name, columns in named.items()]

        def work(connection: Connection) -> None:
            connection.cursor().executemany("INSERT INTO feature_set VALUES (%s, %s) ON CONFLICT DO NOTHING", rows)

        self._parts.database.run(work)
        self._registered = version
        log.info("champion", model=version, sound=bundle is not None)

    def _roll_up(self) -> None:
        with self._alone(_ROLL_UP_LOCK) as connection:
            if connection is not None:
                roll_up(connection, load_features())

    def _watch(self) -> None:
        """Look whether audits say that the promise does not hold any more."""
        with self._alone(_WATCH_LOCK) as connection:
            if connection is not None:
                # A machine whose clock is ahead would take every open audit for overdue.
                row = connection.execute(f"SELECT least({DATABASE_NOW}, %s)", (microseconds(self._parts.service.clock()),)).fetchone()
                assert row is not None
                raise_alarms(connection, self._parts.service.decider.appetite, row[0])

    def _settle(self) -> None:
        """What is due frees its quotas, in small transactions."""
        more = True
        while more and not self.stopped.is_set():
            with self._alone(_SETTLE_LOCK) as connection:
                more = connection is not None and settle_due(connection, time.time_ns() // 1000) is not None
        with self._alone(_SETTLE_LOCK) as connection:
            if connection is not None:
                revisit(connection, time.time_ns() // 1000)
                forget_old(connection, time.time_ns() // 1000)
