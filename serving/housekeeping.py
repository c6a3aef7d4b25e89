"""What has to be done beside the requests: look for a newly promoted bundle, keep the running totals short, watch audits."""

import json
import threading
import time

import psycopg
import structlog

from risk.claim import microseconds
from risk.errors import Unavailable
from risk.features import load_features
from serving.components import Components
from serving.store.audits import raise_alarms
from serving.store.database import Connection
from serving.store.totals import roll_up

log = structlog.get_logger()
ROLL_UP_SECONDS = 1.0
WATCH_SECONDS = 10.0
_LOCK, _WATCH_LOCK = 7232, 7233


class Housekeeping(threading.Thread):
    """One thread a worker; the roll-up is done by whichever worker gets its lock."""

    def __init__(self, parts: Components) -> None:
        super().__init__(name="housekeeping", daemon=True)
        self._parts = parts
        self._registered: str | None = None
        self._next_roll_up = self._next_watch = 0.0
        self.stopped = threading.Event()

    def run(self) -> None:
        """Once a second until stopped; a database that is away is tried again, never fatal."""
        while not self.stopped.wait(1.0):
            try:
                self.once()
            except (Unavailable, psycopg.Error) as error:
                log.warning("housekeeping_waits", error=str(error))
            except Exception as error:
                log.exception("housekeeping_failed", error=str(error))
        self._parts.database.close()

    def once(self) -> None:
        """One round."""
        self._parts.champion.refresh()
        self._register()
        if time.monotonic() >= self._next_roll_up:
            self._next_roll_up = time.monotonic() + ROLL_UP_SECONDS
            self._roll_up()
        if time.monotonic() >= self._next_watch:
            self._next_watch = time.monotonic() + WATCH_SECONDS
            self._watch()

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
        with self._parts.database.patient() as connection:
            row = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (_LOCK,)).fetchone()
            if row is not None and row[0]:
                roll_up(connection, load_features())

    def _watch(self) -> None:
        """Look whether audits say that the promise does not hold any more; one worker at a time."""
        bundle, _ = self._parts.champion.current()
        if bundle is None or bundle.certificate is None:
            return
        now = microseconds(self._parts.service.clock())
        with self._parts.database.patient() as connection:
            row = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (_WATCH_LOCK,)).fetchone()
            if row is not None and row[0]:
                raise_alarms(connection, bundle.certificate, self._parts.service.decider.appetite, now)
