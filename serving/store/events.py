"""Events, recorded all or none: what they say of orders and labels becomes part of the past."""

import hashlib
from collections.abc import Sequence
from typing import Any

import psycopg

from risk.claim import microseconds
from risk.errors import InputError, Problem, RiskError, Unavailable
from risk.features import FeatureSet
from risk.order import out_of_order
from serving.events import (
    AbuseLabel,
    Chargeback,
    ClaimOutcome,
    Event,
    OrderPaid,
    ParcelMoved,
    RefundRecovered,
    ReturnOverdue,
)
from serving.store.database import Connection, Database
from serving.store.releases import TELLING, release
from serving.store.totals import DATABASE_NOW, STALEST

_OUTWARD = ("order_shipped", "order_delivered")


class EventConflict(RiskError):
    """Event ids that were used before with another body."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("event ids that were used before with another body")


class Events:
    """The events' side of the store."""

    def __init__(self, database: Database, features: FeatureSet, *, stalest: int = STALEST) -> None:
        self._database = database
        self._stalest = stalest
        self._columns = [entity.column for entity in features.entities]
        self._order_columns = [entity.column for entity in features.concerned("order")]

    def record(self, events: Sequence[Event], now: int) -> list[str]:
        """`recorded` or `duplicate` for each event, all in one transaction, known from `now` (microseconds) on.

        Raises EventConflict and InputError with every event concerned, and then nothing is recorded.
        """

        def work(connection: Connection) -> list[str]:
            with connection.transaction():
                self._check_clock(connection, now)
                return self._record(connection, events, now)

        try:
            return self._database.run(work)
        except psycopg.Error as error:
            raise Unavailable(f"the events could not be written down: {error}") from error

    def _check_clock(self, connection: Connection, now: int) -> None:
        row = connection.execute(f"SELECT abs({DATABASE_NOW} - %s)", (now,)).fetchone()
        if row is None or row[0] >= self._stalest:
            raise Unavailable("this server's clock and the database's are too far apart")

    def _record(self, connection: Connection, events: Sequence[Event], now: int) -> list[str]:
        # One order for all writers: two batches with the same events wait for each other instead of locking up.
        order = sorted(range(len(events)), key=lambda place: events[place].event_id)
        fresh = {place for place in order if self._insert(connection, events[place], now)}
        conflicts = [
            Problem(f"/events/{place}/event_id", "used before with another body")
            for place in order
            if place not in fresh and not self._same(connection, events[place])
        ]
        if conflicts:
            raise EventConflict(conflicts)
        self._remember(connection, {place: events[place] for place in sorted(fresh)}, now)
        return ["recorded" if place in fresh else "duplicate" for place in range(len(events))]

    def _insert(self, connection: Connection, event: Event, now: int) -> bool:
        body = event.model_dump_json(exclude_defaults=True)
        written = connection.execute(
            "INSERT INTO event VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (
                event.event_id, event.type, microseconds(event.occurred_at), now, getattr(event, "claim_id", None),
                getattr(event, "order_id", None), _digest(body), body,
            ),
        )  # fmt: skip
        return written.rowcount == 1

    def _same(self, connection: Connection, event: Event) -> bool:
        row = connection.execute("SELECT digest FROM event WHERE event_id = %s", (event.event_id,)).fetchone()
        return row is not None and bytes(row[0]) == _digest(event.model_dump_json(exclude_defaults=True))

    def _remember(self, connection: Connection, events: dict[int, Event], now: int) -> None:
        _lock_orders(connection, list(events.values()))
        problems = [
            _unknown(place)
            for place, event in events.items()
            if isinstance(event, ClaimOutcome | ReturnOverdue | RefundRecovered) and not self._known(connection, event.claim_id)
        ]
        labels = {place: event for place, event in events.items() if isinstance(event, AbuseLabel)}
        # Of several outcomes of one claim the latest counts, as it does for who reads them.
        for _place, event in sorted(events.items(), key=lambda pair: (pair[1].occurred_at, pair[1].event_id)):
            if isinstance(event, OrderPaid):
                self._remember_order(connection, event, now)
            elif isinstance(event, Chargeback):
                connection.execute(_CHARGED_BACK, (event.order_id, event.amount))
            elif isinstance(event, ParcelMoved) and event.type in _OUTWARD:
                connection.execute(_MOVED, (event.type == "order_delivered", event.order_id))
            elif isinstance(event, ClaimOutcome):
                _settle(connection, event, now)
        # Of several labels of one claim the latest counts, as it does for its quotas; claims in one order for all writers.
        for place, label in sorted(labels.items(), key=lambda pair: (pair[1].claim_id, pair[1].occurred_at, pair[1].event_id)):
            if not self._remember_label(connection, label, now):
                problems.append(_unknown(place))
        if problems:
            raise InputError(sorted(problems, key=lambda problem: int(problem.where.split("/")[2])))
        _release(connection, list(events.values()), now)

    def _known(self, connection: Connection, claim_id: str) -> bool:
        return connection.execute("SELECT FROM past WHERE claim_id = %s LIMIT 1", (claim_id,)).fetchone() is not None

    def _remember_order(self, connection: Connection, event: OrderPaid, now: int) -> None:
        """Once an order, however often it is told: a feed that is sent again would count its purchases twice."""
        paid_at = microseconds(event.occurred_at)
        known = (event.order_id, event.amount, paid_at, event.currency, event.buyer_id, event.merchant_id)
        if connection.execute(_ORDER_PAID, known).fetchone() is None:
            return
        keys = {column: getattr(event, column, None) for column in self._order_columns}
        _insert_past(connection, {**keys, "orders": 1, "order_amount": event.amount}, "o", now)

    def _remember_label(self, connection: Connection, event: AbuseLabel, now: int) -> bool:
        """Add what the label changes against the one known before; False where the claim is unknown."""
        keys = connection.execute(
            f"SELECT {', '.join(self._columns)} FROM past WHERE claim_id = %s AND event = 'c'"
            " ORDER BY seq LIMIT 1 FOR UPDATE",
            (event.claim_id,),
        ).fetchone()
        if keys is None:
            return False
        if _later_known(connection, event, now):
            return True
        before = connection.execute(
            "SELECT sum(abuse), sum(legitimate) FROM past WHERE claim_id = %s", (event.claim_id,)
        ).fetchone()
        assert before is not None
        changes = {
            "abuse": int(event.label == "abuse") - before[0],
            "legitimate": int(event.label == "legitimate") - before[1],
        }
        # An audit that is undecided again counts as abuse once it is overdue: it has to be on the list of those who decide.
        state = "open" if event.label == "undecided" else "closed"
        connection.execute("UPDATE review_case SET state = %s WHERE claim_id = %s AND kind = 'audit'", (state, event.claim_id))
        if any(changes.values()):
            row = {**dict(zip(self._columns, keys, strict=True)), **changes, "claim_id": event.claim_id}
            _insert_past(connection, row, "l", now)
        return True


def _lock_orders(connection: Connection, events: Sequence[Event]) -> None:
    """All orders of a batch, in one order for all writers: batches that tell of the same ones wait and never lock up."""
    told = [event for event in events if isinstance(event, OrderPaid | Chargeback | ParcelMoved)]
    orders = {event.order_id for event in told}
    claims = [event.claim_id for event in events if isinstance(event, ClaimOutcome)]
    if claims:
        found = connection.execute("SELECT order_id FROM decision WHERE claim_id = ANY(%s)", (claims,)).fetchall()
        orders |= {row[0] for row in found}
    if orders:
        ordered = sorted(orders)
        connection.execute(
            "INSERT INTO order_account (order_id) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING", (ordered,)
        )
        connection.execute(
            'SELECT FROM order_account WHERE order_id = ANY(%s) ORDER BY order_id COLLATE "C" FOR UPDATE', (ordered,)
        )


def _release(connection: Connection, events: Sequence[Event], now: int) -> None:
    """What approvals occupied, as far as these events say that it is free or lost."""
    telling = [event for event in events if event.type in TELLING]
    claims = {claim_id for event in telling if (claim_id := getattr(event, "claim_id", None)) is not None}
    # An event that names no claim is about all on its order.
    orders = {getattr(event, "order_id", "") for event in telling if getattr(event, "claim_id", None) is None}
    if telling:
        release(connection, claims, orders, now)


def _later_known(connection: Connection, event: AbuseLabel | ClaimOutcome, now: int) -> bool:
    """Whether one that is stamped later was recorded first: of two at the same moment the later stamp counts, everywhere.

    To be asked under the lock under which such events of one claim are recorded.
    """
    found = connection.execute(_LATER_KNOWN, (event.claim_id, event.type, now)).fetchone()
    return found is not None


def _settle(connection: Connection, event: ClaimOutcome, now: int) -> None:
    """What people paid on a claim is money that its order has not left; its case, if it has one, is closed.

    A later outcome of the same claim replaces the earlier one. Of a claim that was approved at once only what goes beyond
    its amount is new.
    """
    row = connection.execute(_DECIDED, (event.claim_id,)).fetchone()
    if row is None or _later_known(connection, event, now):
        return
    decision, amount, order_id, items, remedy, once, before = row
    asked = event.amount if event.amount is not None else amount
    paid = asked if event.outcome in ("approved", "part") else 0
    connection.execute(_SETTLED, (event.claim_id, paid))
    connection.execute(_CLOSED, (event.claim_id, event.claim_id))
    if out_of_order(remedy, amount):
        # What was counted for the claim so far, and what counts from now on: beyond its approval, or all of it.
        floor = amount if decision == "approve" else 0
        counted, counts = max(0, (before or 0) - floor), max(0, paid - floor)
        released = amount if decision == "review" and before is None else 0
        connection.execute(_PAID_BY_PEOPLE, (released, counts - counted, counts - counted - released, items, order_id))
    if once is not None and decision == "review":
        connection.execute("DELETE FROM taken_once WHERE claim_id = %s", (event.claim_id,))
        if paid:
            connection.execute(_TAKEN, (event.claim_id, once))


# A drawn claim has to get a label all the same: without one it stays on the list, as an audit.
_CLOSED = """
    UPDATE review_case SET
      state = CASE WHEN due_at IS NULL OR labelled THEN 'closed' ELSE state END,
      kind = CASE WHEN due_at IS NULL OR labelled THEN kind ELSE 'audit' END
    FROM (
      SELECT coalesce(sum(abuse) + sum(legitimate), 0) > 0 AS labelled FROM past WHERE past.claim_id = %s
    ) AS known
    WHERE review_case.claim_id = %s AND kind = 'review'
"""
_LATER_KNOWN = "SELECT FROM event WHERE claim_id = %s AND type = %s AND known_at > %s LIMIT 1"
_DECIDED = """
    SELECT decision, amount, order_id, jsonb_path_query_array(claim::jsonb, '$.items[*].item_id')::text, claim::jsonb ->> 'remedy',
      once, (SELECT paid FROM settlement WHERE settlement.claim_id = decision.claim_id)
    FROM decision WHERE claim_id = %s
"""
_SETTLED = """
    INSERT INTO settlement (claim_id, paid) VALUES (%s, %s) ON CONFLICT (claim_id) DO UPDATE SET paid = EXCLUDED.paid
"""
_PAID_BY_PEOPLE = """
    UPDATE order_account SET waiting = waiting - %s, elsewhere = elsewhere + %s, items = items || (
      SELECT coalesce(jsonb_object_agg(item, greatest(coalesce((items ->> item)::bigint, 0) + %s, 0)), '{}')
      FROM (SELECT DISTINCT jsonb_array_elements_text(%s::jsonb) AS item) AS claimed
    )
    WHERE order_id = %s
"""
_TAKEN = """
    INSERT INTO taken_once (kind, id, claim_id)
    SELECT one ->> 0, one ->> 1, %s FROM jsonb_array_elements(%s::jsonb) AS one ON CONFLICT DO NOTHING
"""
_CHARGED_BACK = """
    INSERT INTO order_account AS known (order_id, charged_back) VALUES (%s, %s)
    ON CONFLICT (order_id) DO UPDATE SET charged_back = known.charged_back + EXCLUDED.charged_back
"""
_MOVED = """
    UPDATE order_account SET shipped = true, delivered = delivered OR %s WHERE order_id = %s
"""
_ORDER_PAID = """
    INSERT INTO order_account AS known (order_id, paid, paid_at, currency, buyer_id, merchant_id, confirmed)
    VALUES (%s, %s, %s, %s, %s, %s, true)
    ON CONFLICT (order_id) DO UPDATE SET
      paid = EXCLUDED.paid, paid_at = EXCLUDED.paid_at, currency = coalesce(EXCLUDED.currency, known.currency),
      buyer_id = EXCLUDED.buyer_id, merchant_id = EXCLUDED.merchant_id, confirmed = true
    WHERE NOT known.confirmed
    RETURNING order_id
"""


def _insert_past(connection: Connection, row: dict[str, Any], event: str, now: int) -> None:
    names = list(row)
    connection.execute(
        f"INSERT INTO past (known_at, event, {', '.join(names)}) VALUES (%s, %s, {', '.join(['%s'] * len(names))})",
        (now, event, *row.values()),
    )


def _unknown(place: int) -> Problem:
    return Problem(f"/events/{place}/claim_id", "no such claim")


def _digest(body: str) -> bytes:
    return hashlib.sha256(body.encode()).digest()
