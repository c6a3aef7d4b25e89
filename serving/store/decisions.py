"""Decisions: looked up, written down in one transaction, read back as they were frozen."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from risk.claim import Claim, item_ids, microseconds, parties, tracking_number
from risk.decision import Past
from risk.errors import Unavailable
from risk.features import FeatureSet
from risk.gates import EVERYTHING
from risk.order import out_of_order
from risk.promise.appetite import SHARED
from risk.promise.quota import CLOCKED, KINDS, Room
from serving.store.database import Connection, Database, Prepared
from serving.store.lookup import Lookup, numbered
from serving.store.quotas import CHECKED, Crowded, Quotas, kind_without_room, reserve
from serving.store.totals import DATABASE_NOW, STALEST


@dataclass(frozen=True)
class Record:
    """One decision as its row holds it."""

    claim_id: str
    digest: bytes
    decided_at: int
    decision: str
    gate: str | None
    claim: str
    answer: str
    feature_set: str | None
    features: str | None
    raw: float | None
    score: float | None
    threshold: float | None
    model_version: str | None
    segment: str | None
    certificate_id: str | None
    appetite_version: str
    policy_version: str
    rules_version: str
    guarantee: str | None
    once: str | None
    """What a guarantee that pays only once would pay for: JSON, [[kind, id], …]."""
    bound: int
    """What the guarantees pay for the goods of the claim in all (minor units)."""
    largest: int
    """What may be approved at once for one order (minor units)."""
    code_version: str
    audit_selected: bool
    audit_probability: float
    case_id: str | None
    case_kind: str | None
    settles_at: int | None
    """When an approval settles by itself (microseconds)."""
    rooms: tuple[Room, ...]
    """The quotas that an approval occupies."""
    due_at: int | None
    """The moment by which a drawn claim has to have a label (microseconds)."""


@dataclass(frozen=True)
class Stored:
    """What a repeat needs of an earlier decision."""

    digest: bytes
    answer: str


class Taken(Exception):
    """Another claim took in the same moment what this one was to be paid from; `gate` is the check that it would fail."""

    def __init__(self, gate: str, sentence: str) -> None:
        self.gate = gate
        super().__init__(sentence)


class Stale(Exception):
    """The decision is old by now: its moment is too far from the database's clock, or approving was turned off meanwhile."""


class Decisions:
    """The claims' side of the store."""

    def __init__(self, database: Database, features: FeatureSet, *, stalest: int = STALEST) -> None:
        self._database = database
        self._lookup = Lookup(features)
        self._statement = Prepared(b"look_up", self._lookup.statement.encode())
        self._measures = features.measures
        self._quotas = Quotas(database)
        insert, self._order = numbered(_insert_statement(features, stalest))
        self._insert = Prepared(b"record", insert.encode())

    def look_up(self, claim: Claim, now: int) -> tuple[bool, Past]:
        """Whether the claim was decided before, and the past of its parties as of `now` (microseconds).

        Raises Unavailable where the database is away, psycopg.Error where only this look-up failed.
        """
        parameters = self._lookup.parameters(
            parties(claim), now, claim.claim_id, claim.order.order_id, tracking_number(claim), claim.currency
        )
        decided, past = self._lookup.read(self._database.fetch(self._statement, parameters))
        if crowded := self._quotas.crowded(claim.currency):
            past = replace(past, balances=replace(past.balances, crowded=crowded))
        return decided, past

    def stored(self, claim_id: str) -> Stored | None:
        """The earlier decision of a claim."""
        row = self._one("SELECT digest, answer FROM decision WHERE claim_id = %s", (claim_id,))
        return Stored(*row) if row else None

    def record(self, claim: Claim, record: Record) -> bool:
        """Write a decision, its place in the past, what it reserves of order and quotas, the case, in one transaction.

        False where the claim has a decision already; then nothing is written. Raises Taken where the order cannot bear the
        approval any more or its guarantee has paid, Crowded where a quota has no room, Stale where it came too late,
        Unavailable where it could not be written down.
        """
        counted = out_of_order(claim.remedy, claim.amount)
        parameters = {
            **vars(record),
            **{f"{party}_id": value for party, value in parties(claim).items()},
            **{m.name: m.of_claim(claim.amount, claim.reason, claim.remedy) for m in self._measures},
            "order_id": claim.order.order_id,
            "amount": claim.amount,
            "counted": counted,
            "currency": claim.currency,
            "paid": claim.order.paid_amount,
            "refunded": claim.order.refunded_amount or 0,
            "paid_at": microseconds(claim.order.paid_at),
            "shipped": claim.order.shipped_at is not None,
            "delivered": claim.order.delivered_at is not None,
            "items": json.dumps(dict.fromkeys(item_ids(claim), counted)),
            **dict.fromkeys((*CLOCKED, *(f"{kind}_slot" for kind in SHARED))),
            **{f"limit_{kind}": 0 for kind in KINDS},
            **{f"limit_{room.kind}": room.limit for room in record.rooms},
            **{room.kind: room.id for room in record.rooms if room.kind in CLOCKED},
        }
        try:
            if record.decision == "approve":
                slots = self._quotas.slots(record.rooms, claim.currency)
                parameters |= {f"{kind}_slot": slot for kind, slot in slots.items()}
            written, fresh, _room = self._database.fetch(self._insert, [parameters[name] for name in self._order])
        except (psycopg.errors.CheckViolation, psycopg.errors.InvalidTextRepresentation) as error:
            if kind := kind_without_room(error):
                raise Crowded(kind) from error
            if not isinstance(error, psycopg.errors.CheckViolation):
                raise Unavailable(f"the decision could not be written down: {error}") from error
            said = "another claim took what was left of the order at the same moment"
            raise Taken("order_reservation", said) from error
        except psycopg.errors.UniqueViolation as error:
            raise Taken("taken_once", "another claim was made for the same order or tracking number at the same moment") from error
        except psycopg.Error as error:
            raise Unavailable(f"the decision could not be written down: {error}") from error
        if fresh != _TRUE:
            raise Stale
        return written == _TRUE

    def make_room(self, claim: Claim, rooms: Sequence[Room], kind: str, largest: int) -> None:
        """Deal the shared quota of this kind anew; what a party has in use is known from the next look-up.

        Raises Unavailable where that could not be done.
        """
        for room in rooms:
            if room.kind == kind and kind in SHARED and room.limit is not None:
                try:
                    self._quotas.deal(kind, room.id, claim.currency, limit=room.limit, amount=claim.amount, largest=largest)
                except psycopg.Error as error:
                    raise Unavailable(f"the quota of the {kind} could not be dealt: {error}") from error

    def read(self, claim_id: str) -> dict[str, Any] | None:
        """Everything that is kept of a decision, with its case and the outcome that became known since."""
        row = self._one(_READ, (claim_id,))
        return dict(zip(_READ_COLUMNS, row, strict=True)) if row else None

    def cases(self, *, kind: str | None, after: tuple[int, str] | None, limit: int) -> list[dict[str, Any]]:
        """Open cases, the longest waiting first, after a place in that order."""
        moment, case_id = after or (-(2**62), "")
        parameters = {"kind": kind, "moment": moment, "case_id": case_id, "limit": limit}

        def work(connection: Connection) -> Sequence[Sequence[Any]]:
            return connection.execute(_CASES, parameters).fetchall()

        return [dict(zip(_CASE_COLUMNS, row, strict=True)) for row in self._database.run(work)]

    def _one(self, statement: str, parameters: Mapping[str, Any] | Sequence[Any]) -> tuple[Any, ...] | None:
        return self._database.run(lambda connection: connection.execute(statement, parameters).fetchone())


def _insert_statement(features: FeatureSet, stalest: int) -> str:
    past = ["claim_id", *(entity.column for entity in features.entities), *(m.name for m in features.measures)]
    types = _TYPES | {name: "text" for name in past} | {m.name: "bigint" for m in features.measures}

    def values(names: Sequence[str]) -> str:
        return ", ".join(f"%({name})s::{types.get(name, 'text')}" for name in names)

    return f"""
        WITH clock AS (
          -- Approving may have been turned off since the look-up, which may be seconds ago.
          SELECT abs({DATABASE_NOW} - {values(["decided_at"])}) < {int(stalest)} AND ({values(["decision"])} <> 'approve' OR NOT EXISTS (
            SELECT FROM switch WHERE NOT turned_on AND switch.segment IN ('{EVERYTHING}', {values(["segment"])})
          )) AS fresh
        ), written AS (
          INSERT INTO decision ({", ".join(_COLUMNS)})
          SELECT {values(_COLUMNS)} FROM clock WHERE fresh
          ON CONFLICT (claim_id) DO NOTHING
          RETURNING claim_id
        ), remembered AS (
          INSERT INTO past (known_at, event, {", ".join(past)})
          SELECT {values(["decided_at"])}, 'c', {values(past)} FROM written
        ), reserved AS (
          INSERT INTO order_account AS known (order_id, approved, waiting, elsewhere, paid, paid_at, currency, buyer_id,
            merchant_id, shipped, delivered, items)
          SELECT {values(["order_id"])},
            CASE {values(["decision"])} WHEN 'approve' THEN {values(["counted"])} ELSE 0 END,
            CASE {values(["decision"])} WHEN 'approve' THEN 0 ELSE {values(["counted"])} END,
            {values(["refunded", "paid", "paid_at", "currency", "buyer_id", "merchant_id", "shipped", "delivered", "items"])}
          FROM written
          -- What `OrderAccount.after` says, on what the row holds by now. An approval that it cannot bear any more
          -- breaks the check of the column, and with it the whole decision.
          ON CONFLICT (order_id) DO UPDATE SET
            approved = CASE
              WHEN EXCLUDED.approved = 0 THEN known.approved
              WHEN known.approved + EXCLUDED.approved + known.waiting + known.charged_back
                + greatest(known.elsewhere, EXCLUDED.elsewhere - known.approved) <= least(known.paid, EXCLUDED.paid)
                AND known.approved + EXCLUDED.approved <= {values(["largest"])}
                AND EXCLUDED.approved + (
                  SELECT sum(coalesce((known.items ->> item)::bigint, 0)) FROM jsonb_object_keys(EXCLUDED.items) AS item
                ) <= {values(["bound"])}
                AND (coalesce(known.buyer_id, EXCLUDED.buyer_id), coalesce(known.merchant_id, EXCLUDED.merchant_id),
                  coalesce(known.currency, EXCLUDED.currency))
                  = (EXCLUDED.buyer_id, EXCLUDED.merchant_id, EXCLUDED.currency)
                THEN known.approved + EXCLUDED.approved
              ELSE -1
            END,
            waiting = known.waiting + EXCLUDED.waiting,
            elsewhere = greatest(known.elsewhere, EXCLUDED.elsewhere - known.approved),
            paid = CASE WHEN known.confirmed THEN known.paid ELSE least(known.paid, EXCLUDED.paid) END,
            paid_at = coalesce(known.paid_at, EXCLUDED.paid_at),
            currency = coalesce(known.currency, EXCLUDED.currency),
            buyer_id = coalesce(known.buyer_id, EXCLUDED.buyer_id),
            merchant_id = coalesce(known.merchant_id, EXCLUDED.merchant_id),
            shipped = known.shipped OR EXCLUDED.shipped,
            delivered = known.delivered OR EXCLUDED.delivered,
            items = known.items || (
              SELECT jsonb_object_agg(item, coalesce((known.items ->> item)::bigint, 0) + asked::bigint)
              FROM jsonb_each_text(EXCLUDED.items) AS one (item, asked)
            )
          RETURNING order_id
        ), taken AS (
          INSERT INTO taken_once (kind, id, claim_id)
          SELECT one ->> 0, one ->> 1, {values(["claim_id"])} FROM reserved, jsonb_array_elements({values(["once"])}::jsonb) AS one
          WHERE {values(["decision"])} = 'approve'
          RETURNING kind
        ), kept AS (
          INSERT INTO taken_once (kind, id, claim_id)
          SELECT one ->> 0, one ->> 1, {values(["claim_id"])} FROM reserved, jsonb_array_elements({values(["once"])}::jsonb) AS one
          WHERE {values(["decision"])} = 'review'
          ON CONFLICT DO NOTHING
        ), turn AS (
          -- Whoever reads this waits for what is locked before the quotas: one order of locks for all writers.
          SELECT count(*) FROM reserved, (SELECT count(*) FROM taken) AS first HAVING count(*) > 0
        ), {reserve(f"{values(['decision'])} = 'approve'", "turn")}, opened AS (
          INSERT INTO review_case (case_id, claim_id, kind, opened_at, due_at)
          SELECT {values(["case_id"])}, claim_id, {values(["case_kind", "decided_at", "due_at"])} FROM written
          WHERE {values(["case_id"])} IS NOT NULL
        )
        SELECT EXISTS (SELECT FROM written), fresh, {CHECKED} FROM clock
    """


_TRUE = b"\x01"
_COLUMNS = (
    "claim_id", "digest", "decided_at", "decision", "gate", "order_id", "amount", "currency", "claim", "answer",
    "feature_set", "features", "raw", "score", "threshold", "model_version", "segment", "certificate_id",
    "appetite_version", "policy_version", "rules_version", "guarantee", "once", "code_version", "audit_selected",
    "audit_probability", "settles_at", "merchant_slot", "guarantee_slot",
)  # fmt: skip
_TYPES = (
    {name: "bigint" for name in ("decided_at", "settles_at", "due_at", "amount", "counted", "paid", "paid_at", "refunded", "largest", "bound")}
    | {name: "float8" for name in ("raw", "score", "threshold", "audit_probability")}
    | {"digest": "bytea", "items": "jsonb", "merchant_slot": "smallint", "guarantee_slot": "smallint"}
    | {name: "boolean" for name in ("audit_selected", "shipped", "delivered")}
)
_READ_COLUMNS = (
    "answer", "claim", "feature_names", "features", "model_version", "case_id", "case_kind", "case_state", "opened_at",
    "due_at", "outcome",
)  # fmt: skip
_READ = """
    SELECT answer, claim, names, features, model_version, case_id, kind, state, opened_at, due_at,
      (SELECT body FROM event WHERE event.claim_id = decision.claim_id AND type = 'claim_outcome'
       ORDER BY known_at DESC, occurred_at DESC, event_id DESC LIMIT 1)
    FROM decision
    LEFT JOIN feature_set ON fingerprint = feature_set
    LEFT JOIN review_case USING (claim_id)
    WHERE claim_id = %s
    ORDER BY opened_at DESC LIMIT 1
"""
_CASE_COLUMNS = (
    "case_id", "claim_id", "kind", "state", "opened_at", "due_at", "amount", "currency", "gate", "score", "threshold",
    "answer",
)
_CASES = """
    SELECT case_id, claim_id, kind, state, opened_at, due_at, amount, currency, gate, score, threshold, answer
    FROM review_case JOIN decision USING (claim_id)
    WHERE state = 'open' AND (%(kind)s::text IS NULL OR kind = %(kind)s) AND (opened_at, case_id) > (%(moment)s, %(case_id)s)
    ORDER BY opened_at, case_id LIMIT %(limit)s
"""
