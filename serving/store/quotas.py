"""Reserving in quotas: the part of a decision's statement that does it, and dealing shared quotas anew.

A party's quota is one row. A quota that many approvals meet in (a merchant's, an hour's) would serialise them behind one
row, each waiting for the commit before it. So it lies in slots: every connection has a slot of its own and a share of the
limit there, which it uses up without waiting. Where a share is used up, all slots are locked for a moment and what is left
of the limit is dealt anew; only where nothing is left the claim goes to a person. Where little is left, all of it lies in one
slot for everybody.

Locks are taken in one order by all writers (order accounts, what is paid once, parties by kind and id, shared quotas by
kind, id and slot), so that they wait for each other and never lock up.
"""

import re
import threading
import time
from collections.abc import Mapping, Sequence

import psycopg

from risk.promise.appetite import PARTIES, SHARED
from risk.promise.quota import KINDS, Room, deal, share_of
from serving.store.database import Connection, Database

SLOTS = 16
"""Connections that reserve at the same time without meeting; more of them share slots and wait a little."""
REMEMBERED_SECONDS = 1.0
"""How long a shared quota counts as full without being asked again; what is freed meanwhile is used a second later."""
_SLOT_LOCKS = 7233
_TABLES = ("party_quota", "shared_quota")
_NO_ROOM = "has no room"
_MOST_REMEMBERED = 1_000


_Key = tuple[str, str, str]
"""Kind, id, currency."""


class Crowded(Exception):
    """A quota has no room for the amount where it was to be reserved; `kind` says which."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        super().__init__(f"the quota of the {kind} has no room")


class Quotas:
    """Slots of connections, and dealing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._local = threading.local()
        self._full: dict[_Key, tuple[float, int]] = {}
        self._scarce: set[_Key] = set()

    def slots(self, rooms: Sequence[Room], currency: str) -> dict[str, int]:
        """Where this thread's connection reserves in each of these quotas, by kind.

        Raises Unavailable where the database is away.
        """
        own = self._database.run(self._slot)
        shared = [room for room in rooms if room.kind in SHARED]
        if not self._scarce:
            return {room.kind: own for room in shared}
        return {room.kind: 0 if (room.kind, room.id, currency) in self._scarce else own for room in shared}

    def _slot(self, connection: Connection) -> int:
        if getattr(self._local, "connection", None) is not connection:
            row = connection.execute(_OWN_SLOT).fetchone()
            self._local.slot = row[0] if row is not None else connection.info.backend_pid % SLOTS
            self._local.connection = connection
        slot: int = self._local.slot
        return slot

    def crowded(self, currency: str) -> dict[tuple[str, str], int]:
        """What is in use of those shared quotas that were found without room a moment ago, by kind and id."""
        if not self._full:
            return {}
        now, seen = time.monotonic(), self._full.copy()
        for key in [key for key, (until, _used) in seen.items() if until <= now]:
            self._full.pop(key, None)
        return {key[:2]: used for key, (until, used) in seen.items() if until > now and key[2] == currency}

    def deal(self, kind: str, name: str, currency: str, *, limit: int, amount: int, largest: int) -> bool:
        """Deal a shared quota anew so that there is room for an amount where `slots` says; False where none is left.

        `largest` is the most that any claim asks for. Raises Unavailable where the database is away, psycopg.Error where only
        this failed.
        """
        key, scarce = (kind, name, currency), max(SLOTS * largest, limit // SLOTS)
        used = self._database.run(lambda connection: self._deal(connection, key, limit, amount, scarce))
        if used is not None:
            self._remember(key, used)
        return used is None

    def _deal(self, connection: Connection, key: _Key, limit: int, amount: int, scarce: int) -> int | None:
        """None, or what is in use where that is too much."""
        own = self._slot(connection)
        with connection.transaction() as transaction:
            shares = [share_of(limit, place, SLOTS) for place in range(SLOTS)]
            # First, and all: what others insert at the same moment is waited for before any row is locked.
            connection.execute(_MISSING, (*key, limit, shares))
            rows = connection.execute(_LOCKED, key).fetchall()
            used = [row[0] for row in rows]
            dealt = deal(limit, used, own, amount, scarce)
            if dealt is None:
                transaction.force_rollback = True
                return int(sum(used))
            connection.execute(_DEALT, (limit, dealt.shares, *key))
        self._note(key, together=limit - sum(used) < scarce)
        return None

    def _note(self, key: _Key, *, together: bool) -> None:
        """Whether what is left lies in one slot; who does not know it yet finds its own slot without room, and deals."""
        if not together:
            self._scarce.discard(key)
            return
        if len(self._scarce) >= _MOST_REMEMBERED:
            self._scarce.clear()
        self._scarce.add(key)

    def _remember(self, key: _Key, used: int) -> None:
        if len(self._full) >= _MOST_REMEMBERED:
            self._full.clear()
        self._full[key] = (time.monotonic() + REMEMBERED_SECONDS, used)


def kind_without_room(error: psycopg.Error) -> str | None:
    """The kind of the quota that had no room, if that is why the decision's statement broke."""
    if error.diag.table_name in _TABLES:
        # The row that could not be written begins with it; in which language that is said, the server decides.
        found = re.search(r"\((\w+), ", error.diag.message_detail or "")
    else:
        found = re.search(rf'"(\w+) {_NO_ROOM}"', error.diag.message_primary or "")
    return found[1] if found is not None and found[1] in KINDS else None


def _rows(kinds: tuple[str, ...], of: Mapping[str, str], more: str = "") -> str:
    """The quotas as rows in the order in which all writers lock them."""
    rows = (f"('{kind}', %({of[kind]})s::text, %(limit_{kind})s::bigint{more.format(kind=kind)})" for kind in sorted(kinds))
    return ", ".join(rows)


def reserve(approved: str, after: str) -> str:
    """CTEs that reserve in every quota of an approval, or break the check of one that has no room, and with it everything.

    The statement has to select `CHECKED` as well. `approved` is the condition, `after` a CTE of one row that has to be done before, for the order of locks. Parameters:
    the ids of the parties and of what is shared, `amount`, `currency`, `limit_KIND` for each kind, `KIND_slot` for the shared.
    """
    ids = {kind: f"{kind}_id" for kind in (*PARTIES, "merchant")} | {kind: kind for kind in ("guarantee", "hour", "day")}
    limits = " ".join(f"WHEN '{kind}' THEN %(limit_{kind})s::bigint" for kind in PARTIES)
    return f"""
        party AS (
          INSERT INTO party_quota AS known (kind, id, currency, used)
          SELECT kind, id, %(currency)s::text, CASE WHEN %(amount)s::bigint <= most THEN %(amount)s::bigint ELSE -1 END
          FROM {after}, (VALUES {_rows(PARTIES, ids)}) AS one (kind, id, most)
          WHERE id IS NOT NULL AND {approved}
          ON CONFLICT (id, kind, currency) DO UPDATE SET used = CASE
            WHEN known.used + EXCLUDED.used <= CASE known.kind {limits} END THEN known.used + EXCLUDED.used ELSE -1
          END
          RETURNING kind
        ), shared AS (
          INSERT INTO shared_quota AS known (kind, id, currency, slot, dealt, share, used)
          SELECT kind, id, %(currency)s::text, slot, most, most / {SLOTS} + CASE slot WHEN 0 THEN most % {SLOTS} ELSE 0 END,
            %(amount)s::bigint
          -- Nothing for a claim that another request decided at the same moment: a count alone is a row even then.
          FROM {after}, (SELECT count(*) FROM party) AS before,
            (VALUES {_rows(SHARED, ids, ", %({kind}_slot)s::smallint")}) AS one (kind, id, most, slot)
          WHERE id IS NOT NULL AND {approved}
          ON CONFLICT (kind, id, currency, slot) DO UPDATE SET used = CASE
            WHEN known.dealt = EXCLUDED.dealt AND known.used + EXCLUDED.used <= known.share THEN known.used + EXCLUDED.used
            ELSE -1
          END
          RETURNING kind, id, currency, slot, dealt, used > share AS over, xmax = 0 AS fresh
        )"""


# A slot that is used for the first time may have a share of its own only where all others were dealt under the same limit,
# and has to have room in it. It was no conflict, so no check of the table knows; a sentence that is no boolean breaks the
# statement for the tenth of what one more writing part of it would cost each time.
CHECKED = f"""
    (SELECT bool_or(CASE WHEN over OR (fresh AND EXISTS (
      SELECT FROM shared_quota AS other
      WHERE (other.kind, other.id, other.currency) = (shared.kind, shared.id, shared.currency) AND other.dealt <> shared.dealt
    )) THEN (kind || ' {_NO_ROOM}')::boolean END) FROM shared)
"""
# The filter is asked row by row and the first slot that nobody holds is taken; the lock ends with the connection.
_OWN_SLOT = f"""
    SELECT slot FROM generate_series(0, {SLOTS - 1}) AS slot WHERE pg_try_advisory_lock({_SLOT_LOCKS}, slot) LIMIT 1
"""
_MISSING = """
    INSERT INTO shared_quota (kind, id, currency, slot, dealt, share, used)
    SELECT %s, %s, %s, place - 1, %s, share, 0 FROM unnest(%s::bigint[]) WITH ORDINALITY AS one (share, place)
    ORDER BY place ON CONFLICT DO NOTHING
"""
_LOCKED = "SELECT used FROM shared_quota WHERE (kind, id, currency) = (%s, %s, %s) ORDER BY slot FOR UPDATE"
_DEALT = """
    UPDATE shared_quota SET dealt = %s, share = one.share FROM unnest(%s::bigint[]) WITH ORDINALITY AS one (share, place)
    WHERE (kind, id, currency) = (%s, %s, %s) AND slot = place - 1
"""
