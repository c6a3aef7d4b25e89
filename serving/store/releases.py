"""Freeing what approvals occupy: by events and by time, each in one transaction with the balances.

What became of an approval follows from the events that name it and from `settled_until`, the moment up to which time has
done its work; `release` only remembers it. So the order in which events come does not matter, and everything can be
computed again (`serving/store/reconcile.py`).
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from risk.promise.appetite import PARTIES
from risk.promise.quota import CLOCKED, OPEN, Fate, Told, fate_of, weight
from serving.store.database import Connection
from serving.store.totals import DATABASE_NOW, SETTLED_BEFORE

KEPT_DAYS = 40
"""Quotas of hours and days are kept so long after their end."""
TELLING = ("return_received", "return_overdue", "refund_recovered", "claim_outcome", "abuse_label", "chargeback")
"""Types of events that may change what became of an approval."""
_OF_ORDERS = ("return_received", "chargeback")
"""Those of them that may name an order alone."""
_BATCH = 300
_LATELY = 300_000_000
"""Microseconds; longer than any transaction takes, and than the rounds of housekeeping are apart."""


@dataclass(frozen=True)
class Approval:
    """An approval that reserved, with what a decision row says of it."""

    claim_id: str
    order_id: str
    currency: str
    amount: int
    decided_at: int
    settles_at: int
    comes_back: bool
    back: bool
    """Whether the claim itself told that the goods are back."""
    state: str | None
    lost: int | None

    @property
    def known(self) -> Fate:
        """What is remembered of it."""
        return OPEN if self.state is None else Fate(self.state, self.lost or 0)  # type: ignore[arg-type]


@dataclass
class Changes:
    """What is added to balances, by key."""

    parties: defaultdict[tuple[str, str, str], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0]))
    shared: defaultdict[tuple[str, str, str, int], int] = field(default_factory=lambda: defaultdict(int))


def release(connection: Connection, claims: Iterable[str], orders: Iterable[str], now: int) -> int:
    """Bring what is remembered of these claims, and of all on these orders, to what is known; how many changed.

    Runs in the caller's transaction, as the last that it locks.
    """
    named = {"claims": sorted(set(claims)), "orders": sorted(set(orders))}
    found = [row[0] for row in connection.execute(_CONCERNED, named)]
    if not found:
        return 0
    keys = connection.execute(_KEYS, (found,)).fetchall()
    _lock(connection, keys)
    # Read after the locks: whoever had them before has told by now what it did.
    fates = current_fates(connection, found)
    changed = {claim: (approval, fate) for claim, (approval, fate) in fates.items() if (fate.state, fate.lost) != (approval.known.state, approval.known.lost)}
    _write(connection, changed, keys, now)
    return len(changed)


def current_fates(connection: Connection, claims: Sequence[str]) -> dict[str, tuple[Approval, Fate]]:
    """Of each of these approvals what its row says, and what became of it by everything that is known."""
    until = settled_until(connection)
    approvals = [Approval(*row) for row in connection.execute(_APPROVALS, (list(claims),))]
    told = Heard.of(connection.execute(_EVENTS, {"claims": list(claims), "orders": sorted({a.order_id for a in approvals})}))
    return {approval.claim_id: (approval, told.fate(approval, until)) for approval in approvals}


def settled_until(connection: Connection) -> int:
    """The moment up to which everything that is due has been settled."""
    row = connection.execute("SELECT moment FROM settled_until").fetchone()
    assert row is not None
    return int(row[0])


@dataclass
class Heard:
    """Events by the claim or the order that they name, in the order in which the later counts."""

    claims: defaultdict[str, list[tuple[str, int, Mapping[str, Any]]]] = field(default_factory=lambda: defaultdict(list))
    orders: defaultdict[str, list[tuple[str, int, Mapping[str, Any]]]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, rows: Iterable[Sequence[Any]]) -> "Heard":
        """Rows of (claim, order, type, moment known, body)."""
        heard = cls()
        for claim_id, order_id, kind, known_at, body in rows:
            event = (kind, known_at, json.loads(body))
            if claim_id is not None:
                heard.claims[claim_id].append(event)
            elif kind in _OF_ORDERS:
                heard.orders[order_id].append(event)
        return heard

    def fate(self, approval: Approval, until: int) -> Fate:
        """What became of an approval, where time has settled what was due before `until`."""
        found: dict[str, Any] = {
            "amount": approval.amount,
            "comes_back": approval.comes_back,
            "due": approval.settles_at <= until,
            "back": approval.back,
        }
        for kind, known_at, body in self.claims.get(approval.claim_id, ()):
            _hear(found, approval, kind, known_at, body)
        for kind, known_at, body in self.orders.get(approval.order_id, ()):
            # A parcel that came back with another claim's goods says nothing of a claim whose goods were to stay.
            if kind == "chargeback" or approval.comes_back:
                _hear(found, approval, kind, known_at, body)
        return fate_of(Told(**found))


def _hear(found: dict[str, Any], approval: Approval, kind: str, known_at: int, body: Mapping[str, Any]) -> None:
    if kind == "return_received":
        found["back"] = True
        if known_at > approval.decided_at:
            # The first one counts.
            found["late"] = found.get("late", True) and known_at > approval.settles_at
            found["returned"] = True
    elif kind == "chargeback":
        # What the bank took before was no longer left of the order when this was approved.
        found["charged_back"] = found.get("charged_back", False) or known_at > approval.decided_at
    elif kind == "return_overdue":
        found["overdue"] = True
    elif kind == "refund_recovered":
        found["recovered"] = found.get("recovered", 0) + body.get("amount", approval.amount)
    elif kind == "abuse_label":
        found["label"] = body["label"]
    elif kind == "claim_outcome":
        found["outcome"], found["paid"] = body["outcome"], body.get("amount", approval.amount)


def _lock(connection: Connection, keys: Iterable[Sequence[Any]]) -> None:
    """All balances that the reservations of `keys` are part of, in the order in which all writers lock them."""
    keys = list(keys)
    parties = sorted({(kind, name, currency) for _claim, kind, name, currency, _slot in keys if kind in PARTIES})
    connection.execute(_LOCK_PARTIES, _columns(parties, 3))
    shared = sorted({(kind, name, currency, slot) for _claim, kind, name, currency, slot in keys if kind not in PARTIES})
    if shared:
        connection.execute(_LOCK_SHARED, _columns(shared, 4))


def _columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    return [[row[place] for row in rows] for place in range(width)]


def _write(connection: Connection, changed: Mapping[str, tuple[Approval, Fate]], keys: Iterable[Sequence[Any]], now: int) -> None:
    changes = Changes()
    for claim_id, kind, name, currency, slot in keys:
        if claim_id not in changed:
            continue
        approval, fate = changed[claim_id]
        before, after = weight(approval.known, approval.amount), weight(fate, approval.amount)
        if kind in PARTIES:
            added = changes.parties[kind, name, currency]
            for place, more in enumerate((after.used - before.used, after.lost - before.lost, after.settled - before.settled)):
                added[place] += more
        else:
            changes.shared[kind, name, currency, slot] += after.shared - before.shared
    rows = [(claim_id, fate.state, fate.lost, fate.cause) for claim_id, (_approval, fate) in changed.items()]
    if open_again := [row[0] for row in rows if row[1] == "open"]:
        connection.execute("DELETE FROM release WHERE claim_id = ANY(%s)", (open_again,))
    if kept := [row for row in rows if row[1] != "open"]:
        connection.execute(_RELEASED, (now, *_columns(kept, 4)))
    if changes.parties:
        connection.execute(_ADD_TO_PARTIES, (now, *_columns([(*key, *more) for key, more in changes.parties.items()], 6)))
    if changes.shared:
        connection.execute(_ADD_TO_SHARED, _columns([(*key, more) for key, more in changes.shared.items()], 5))


def settle_due(connection: Connection, now: int) -> int | None:
    """Settle the next approvals that are due by `now` (microseconds); how many were due, None where there are no more.

    Runs in the caller's transaction; the caller sees to it that nobody else does the same. Goods that are not back by then
    are lost. Nothing is due that a decision that is still being written down might bring.
    """
    row = connection.execute(_NEXT_DUE, {"now": now, "batch": _BATCH}).fetchone()
    assert row is not None
    start, end = row
    if end is None:
        return None
    claims = [row[0] for row in connection.execute(_DUE, (start, end))]
    connection.execute("UPDATE settled_until SET moment = %s", (end,))
    release(connection, claims, (), now)
    return len(claims)


def revisit(connection: Connection, now: int) -> int:
    """Look again at approvals that events of the last minutes name; how many changed.

    An approval that was on its way when such an event was recorded waited for it at its order's account, and could not be seen.
    """
    named = connection.execute(_NAMED_LATELY, (now - _LATELY,)).fetchall()
    claims = {claim_id for claim_id, _order in named if claim_id is not None}
    return release(connection, claims, {order_id for claim_id, order_id in named if claim_id is None}, now) if named else 0


def forget_old(connection: Connection, now: int) -> int:
    """Delete quotas of hours and days that ended more than `KEPT_DAYS` ago; how many rows.

    Ago by `now` (microseconds) and by the database's clock: a machine whose clock is ahead must not free what is in use.
    """
    return connection.execute(_FORGET, {"kinds": list(CLOCKED), "days": KEPT_DAYS, "now": now}).rowcount


_CONCERNED = """
    SELECT claim_id FROM decision WHERE claim_id = ANY(%(claims)s) AND settles_at IS NOT NULL
    UNION SELECT claim_id FROM decision WHERE order_id = ANY(%(orders)s) AND settles_at IS NOT NULL
"""
_KEYS = """
    SELECT claim_id, kind, id, currency, slot FROM reservation WHERE claim_id = ANY(%s) AND kind NOT IN ('hour', 'day')
"""
_LOCK_PARTIES = """
    SELECT FROM party_quota JOIN unnest(%s::text[], %s::text[], %s::text[]) AS one (kind, id, currency) USING (kind, id, currency)
    ORDER BY kind COLLATE "C", id COLLATE "C", currency COLLATE "C" FOR UPDATE OF party_quota
"""
_LOCK_SHARED = """
    SELECT FROM shared_quota JOIN unnest(%s::text[], %s::text[], %s::text[], %s::smallint[]) AS one (kind, id, currency, slot)
      USING (kind, id, currency, slot)
    ORDER BY kind COLLATE "C", id COLLATE "C", currency COLLATE "C", slot FOR UPDATE OF shared_quota
"""
APPROVAL_COLUMNS = """
    claim_id, order_id, currency, amount, decided_at, settles_at, claim::jsonb ->> 'remedy' = 'return_and_refund',
      claim::jsonb #>> '{return_parcel,received_at}' IS NOT NULL, state, lost
"""
_APPROVALS = f"SELECT {APPROVAL_COLUMNS} FROM decision LEFT JOIN release USING (claim_id) WHERE claim_id = ANY(%s)"
_TYPES = ", ".join(f"'{kind}'" for kind in TELLING)
_OF_ORDERS_TYPES = ", ".join(f"'{kind}'" for kind in _OF_ORDERS)
_EVENTS = f"""
    SELECT claim_id, order_id, type, known_at, body FROM (
      SELECT * FROM event WHERE claim_id = ANY(%(claims)s) AND type IN ({_TYPES})
      UNION ALL
      SELECT * FROM event WHERE order_id = ANY(%(orders)s) AND type IN ({_OF_ORDERS_TYPES}) AND claim_id IS NULL
    ) AS told ORDER BY known_at, occurred_at, event_id
"""
ALL_EVENTS = f"""
    SELECT claim_id, order_id, type, known_at, body FROM event WHERE type IN ({_TYPES}) ORDER BY known_at, occurred_at, event_id
"""
_RELEASED = """
    INSERT INTO release (claim_id, state, lost, cause, at)
    SELECT claim_id, state, lost, cause, %s FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::text[])
      AS one (claim_id, state, lost, cause)
    ON CONFLICT (claim_id) DO UPDATE SET state = EXCLUDED.state, lost = EXCLUDED.lost, cause = EXCLUDED.cause, at = EXCLUDED.at
"""
# What is in use may be too low already, by damage that `reconcile` finds: it must not keep everything else from settling.
_ADD_TO_PARTIES = """
    UPDATE party_quota SET used = greatest(party_quota.used + more.used, 0), lost = party_quota.lost + more.lost,
      settled = party_quota.settled + more.settled,
      lost_at = CASE WHEN more.lost > 0 THEN greatest(lost_at, %s) WHEN party_quota.lost + more.lost > 0 THEN lost_at END
    FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[])
      AS more (kind, id, currency, used, lost, settled)
    WHERE (party_quota.id, party_quota.kind, party_quota.currency) = (more.id, more.kind, more.currency)
"""
_ADD_TO_SHARED = """
    UPDATE shared_quota SET used = greatest(shared_quota.used + more.used, 0)
    FROM unnest(%s::text[], %s::text[], %s::text[], %s::smallint[], %s::bigint[]) AS more (kind, id, currency, slot, used)
    WHERE (shared_quota.kind, shared_quota.id, shared_quota.currency, shared_quota.slot)
      = (more.kind, more.id, more.currency, more.slot)
"""
_NAMED_LATELY = f"SELECT claim_id, order_id FROM event WHERE type IN ({_OF_ORDERS_TYPES}) AND known_at > %s"
# Of equal moments all or none.
_NEXT_DUE = f"""
    WITH due AS (
      SELECT settles_at FROM decision
      WHERE settles_at > (SELECT moment FROM settled_until)
        AND settles_at <= least(%(now)s::bigint, ({SETTLED_BEFORE}))
      ORDER BY settles_at LIMIT %(batch)s
    )
    SELECT (SELECT moment FROM settled_until), (SELECT max(settles_at) FROM due)
"""
_DUE = "SELECT claim_id FROM decision WHERE settles_at > %s AND settles_at <= %s"
_FORGET = f"""
    DELETE FROM shared_quota
    WHERE kind = ANY(%(kinds)s)
      AND id < to_char((to_timestamp(least(%(now)s, {DATABASE_NOW}) / 1000000) AT TIME ZONE 'UTC') - make_interval(days => %(days)s), 'YYYY-MM-DD')
"""
