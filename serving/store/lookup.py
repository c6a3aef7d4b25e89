"""The past of seven parties in one statement: every aggregate of the feature table, as of one moment.

Short histories are read event by event. Long ones (a merchant with a million events) are the difference of two running
totals plus what came after the watermark, so that a claim costs the same whatever its merchant's size
(docs/adr/0002-running-totals.md). A test compares each with the bulk engine, bit for bit.
"""

import json
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from risk.decision import Past
from risk.features import Aggregate, Entity, FeatureSet
from risk.features.definition import HOUR
from risk.order import UNKNOWN, OrderAccount
from risk.promise.appetite import PARTIES
from risk.promise.quota import Balance, Balances

_NONE = -(2**63)
"""Stands for NULL among the numbers of the answer, which is one array: no sum and no moment comes near it."""
_TRUE = b"\x01"


class Lookup:
    """The statement for a feature set, its parameters for one claim, and what its answer says."""

    def __init__(self, features: FeatureSet) -> None:
        self._features = features
        self._windows = sorted({aggregate.window for aggregate in features.aggregates})
        long = [entity for entity in features.entities if entity.long]
        self._measures = sorted({a.of for entity in long for a in features.aggregates_of(entity)})
        # Where each running total that is asked for stands: up to now, and before the start of each window.
        self._probes = {
            (entity.name, window): place
            for place, (entity, window) in enumerate(
                (entity, window)
                for entity in long
                for window in (0, *sorted({aggregate.window for aggregate in features.aggregates_of(entity)}))
            )
        }
        self._differences = tuple(
            (place, self._probes[a.entity, 0], self._probes[a.entity, a.window], 1 + self._measures.index(a.of))
            for place, a in enumerate(features.aggregates)
            if (a.entity, 0) in self._probes
        )
        self._read = _array(1, len(features.aggregates))
        self._totals = _array(2, len(self._probes) * (1 + len(self._measures)))
        self.statement, self._order = numbered(self._statement())

    def parameters(
        self,
        parties: Mapping[str, str | None],
        as_of: int,
        claim_id: str,
        order_id: str,
        tracking_number: str | None = None,
        currency: str | None = None,
    ) -> list[Any]:
        """Parameters for one claim, in the order of the statement; `as_of` in microseconds."""
        cuts = {f"w{window // HOUR}": as_of - window for window in self._windows}
        given = {"now": as_of, "claim_id": claim_id, "order_id": order_id, "tracking_number": tracking_number}
        named = {**parties, **cuts, **given, "currency": currency}
        return [named[name] for name in self._order]

    def read(self, row: Sequence[bytes | None]) -> tuple[bool, Past]:
        """What a row in PostgreSQL's binary form says: whether the claim was decided before, and its past."""
        decided, used, off, money, currency, buyer, merchant, items, read, totals, balances = row
        assert read is not None
        aggregates: list[int | None] = [None if number == _NONE else number for number in self._read.unpack(read)]
        if totals is not None:
            numbers, width = self._totals.unpack(totals), 1 + len(self._measures)
            rows = {numbers[start]: numbers[start : start + width] for start in range(0, len(numbers), width)}
            for place, upto, before, measure in self._differences:
                aggregates[place] = (aggregates[place] or 0) + rows[upto][measure] - rows[before][measure]
        order = UNKNOWN if money is None else _order(money, items or b"{}", currency, buyer, merchant)
        past = Past(aggregates, order, used=_words(used), off=_words(off), balances=_balances(balances))
        return decided == _TRUE, past

    def _statement(self) -> str:
        columns, sources = [], []
        for entity in self._features.entities:
            aggregates = self._features.aggregates_of(entity)
            source = self._recent(entity, aggregates) if entity.long else self._short(entity, aggregates)
            sources.append(f"{source} AS {entity.name}")
            columns += [f"coalesce({entity.name}.{aggregate.name}, {_NONE})" for aggregate in aggregates]
        # One array instead of a column for each number: cheaper to send and to take apart.
        return (
            "SELECT EXISTS (SELECT FROM decision WHERE claim_id = %(claim_id)s), "
            "(SELECT string_agg(kind, ' ') FROM taken_once WHERE (id = %(order_id)s AND kind = 'order')"
            " OR (id = %(tracking_number)s AND kind = 'tracking_number')), "
            "(SELECT string_agg(segment, ' ') FROM switch WHERE NOT turned_on), "
            # Without a row there is no array at all, not one of missing numbers.
            "CASE WHEN order_id IS NOT NULL THEN ARRAY[approved, waiting, elsewhere, charged_back,"
            f" coalesce(paid, {_NONE}), coalesce(paid_at, {_NONE}), shipped::int, delivered::int] END,"
            " currency, buyer_id, merchant_id, items::text, "
            f"ARRAY[{', '.join(columns)}], {self._running_totals() if self._probes else 'NULL'}, {_BALANCES}"
            f" FROM {', '.join(sources)}"
            " LEFT JOIN order_account ON order_id = %(order_id)s"
        )

    def _short(self, entity: Entity, aggregates: Sequence[Aggregate]) -> str:
        longest = max(aggregate.window for aggregate in aggregates)
        sums = ", ".join(f"{self._aggregate(aggregate, longest)} AS {aggregate.name}" for aggregate in aggregates)
        return (
            f"(SELECT {sums} FROM past WHERE {entity.column} = %({entity.name})s"
            f" AND known_at >= {_cut(longest)} AND known_at < %(now)s::bigint)"
        )

    def _aggregate(self, aggregate: Aggregate, longest: int) -> str:
        conditions = [] if aggregate.window == longest else [f"known_at >= {_cut(aggregate.window)}"]
        if aggregate.how == "sum":
            expression = f"sum({aggregate.of})"
        elif aggregate.how == "distinct":
            column = next(entity.column for entity in self._features.entities if entity.name == aggregate.of)
            expression = f"count(DISTINCT {column})"
            conditions.append("event = 'c'")
        elif aggregate.how == "max":
            expression = f"max({aggregate.of})"
            conditions.append(f"{aggregate.of} > 0")
        else:
            expression = f"{'max' if aggregate.how == 'last' else 'min'}(known_at)"
            conditions.append(f"{aggregate.of} > 0")
        where = f" FILTER (WHERE {' AND '.join(conditions)})" if conditions else ""
        # PostgreSQL sums bigint into numeric; the sums fit into bigint, which is cheaper to send and exact all the same.
        return f"({expression}{where})::bigint"

    def _recent(self, entity: Entity, aggregates: Sequence[Aggregate]) -> str:
        """What came after the watermark, which is not in the running totals yet."""
        longest = max(aggregate.window for aggregate in aggregates)
        sums = ", ".join(
            f"sum({aggregate.of}) FILTER (WHERE known_at >= {_cut(aggregate.window)})::bigint AS {aggregate.name}"
            for aggregate in aggregates
        )
        return (
            f"(SELECT {sums} FROM past WHERE {entity.column} = %({entity.name})s"
            f" AND known_at >= greatest((SELECT moment FROM watermark), {_cut(longest)}) AND known_at < %(now)s::bigint)"
        )

    def _running_totals(self) -> str:
        """The totals of all long histories at all moments: one plan node that is run for each, not one node for each."""
        probes = ", ".join(
            f"({place}, '{name}', %({name})s, {_cut(window) if window else '%(now)s::bigint'})"
            for (name, window), place in self._probes.items()
        )
        measures = ", ".join(self._measures)
        totals = ", ".join(f"coalesce(total.{measure}, 0)" for measure in self._measures)
        return (
            f"(SELECT array_agg(ARRAY[probe.place, {totals}])"
            f" FROM (VALUES {probes}) AS probe (place, entity, key, before) LEFT JOIN LATERAL"
            f" (SELECT {measures} FROM totals WHERE entity = probe.entity AND key = probe.key AND known_at < probe.before"
            " ORDER BY entity DESC, key DESC, known_at DESC, seq DESC LIMIT 1) AS total ON true)"
        )


def _words(text: bytes | None) -> frozenset[str]:
    return frozenset(text.decode().split()) if text else frozenset()


def _balances(numbers: bytes | None) -> Balances:
    """What is in use of the quotas of the parties, as far as they ever had an approval."""
    if numbers is None:
        return Balances()
    # Rows of place, used, settled, moment of the latest loss, in PostgreSQL's binary form behind the header of the array.
    read = _array(2, (len(numbers) - 28) // 12).unpack(numbers)
    rows = (read[start : start + 4] for start in range(0, len(read), 4))
    return Balances({PARTIES[place]: Balance(used, settled, None if lost == _NONE else lost) for place, used, settled, lost in rows})


def _order(money: bytes, items: bytes, *words: bytes | None) -> OrderAccount:
    numbers = [None if number == _NONE else number for number in _MONEY.unpack(money)]
    currency, buyer_id, merchant_id = (None if word is None else word.decode() for word in words)
    return OrderAccount(
        approved=numbers[0] or 0,
        waiting=numbers[1] or 0,
        elsewhere=numbers[2] or 0,
        charged_back=numbers[3] or 0,
        paid=numbers[4],
        paid_at=numbers[5],
        currency=currency,
        buyer_id=buyer_id,
        merchant_id=merchant_id,
        shipped=bool(numbers[6]),
        delivered=bool(numbers[7]),
        items=json.loads(items),
    )


def _array(dimensions: int, numbers: int) -> struct.Struct:
    """PostgreSQL's binary form of a bigint array without NULL: a header, then each number behind its length."""
    return struct.Struct(f">{12 + 8 * dimensions}x" + "4xq" * numbers)


def numbered(statement: str) -> tuple[str, tuple[str, ...]]:
    """A statement with `%(name)s` as the one with `$1` that PostgreSQL itself takes, and the names in that order.

    Done once: psycopg would take a long statement apart again for every execution.
    """
    order: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f"${order.setdefault(match[1], len(order) + 1)}"

    return re.sub(r"%\((\w+)\)s", number, statement), tuple(order)


def _cut(window: int) -> str:
    return f"%(w{window // HOUR})s::bigint"


_MONEY = _array(1, 8)
_PLACES = " ".join(f"WHEN '{kind}' THEN {place}::bigint" for place, kind in enumerate(PARTIES))
_IDS = ", ".join(f"%({kind})s" for kind in PARTIES)
_OWN = " ".join(f"WHEN '{kind}' THEN id = %({kind})s" for kind in PARTIES)
# One walk over the index for all four; one id may stand for parties of two kinds.
_BALANCES = (
    f"(SELECT array_agg(ARRAY[CASE kind {_PLACES} END, used, settled, coalesce(lost_at, {_NONE})])"
    f" FROM party_quota WHERE id = ANY (ARRAY[{_IDS}]) AND currency = %(currency)s AND CASE kind {_OWN} END)"
)
