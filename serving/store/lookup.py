"""The past of seven parties in one statement: every aggregate of the feature table, as of one moment.

Short histories are read event by event. Long ones (a merchant with a million events) are the difference of two running
totals plus what came after the watermark, so that a claim costs the same whatever its merchant's size
(docs/adr/0002-running-totals.md). A test compares each with the bulk engine, bit for bit.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from risk.features import Aggregate, Entity, FeatureSet
from risk.features.definition import HOUR

_EVENT_CODE = {"order": "o", "claim": "c", "label": "l"}


class Lookup:
    """The statement for a feature set, and its parameters for one claim."""

    def __init__(self, features: FeatureSet) -> None:
        self._features = features
        self._windows = sorted({aggregate.window for aggregate in features.aggregates})
        self.statement, self._order = numbered(self._statement())

    def parameters(self, parties: Mapping[str, str | None], as_of: int, claim_id: str, order_id: str) -> list[Any]:
        """Parameters for one claim, in the order of the statement; `as_of` in microseconds."""
        cuts = {f"w{window // HOUR}": as_of - window for window in self._windows}
        named = {**parties, **cuts, "now": as_of, "claim_id": claim_id, "order_id": order_id}
        return [named[name] for name in self._order]

    def _statement(self) -> str:
        columns, sources = [], []
        for entity in self._features.entities:
            aggregates = self._features.aggregates_of(entity)
            source = self._long(entity, aggregates) if entity.long else self._short(entity, aggregates)
            sources.append(f"{source} AS {entity.name}")
            columns += [f"{entity.name}.{aggregate.name}" for aggregate in aggregates]
        return (
            "SELECT EXISTS (SELECT FROM decision WHERE claim_id = %(claim_id)s), "
            "(SELECT approved FROM order_approval WHERE order_id = %(order_id)s), "
            f"{', '.join(columns)} FROM {', '.join(sources)}"
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

    def _long(self, entity: Entity, aggregates: Sequence[Aggregate]) -> str:
        measures = sorted({aggregate.of for aggregate in aggregates})
        windows = sorted({aggregate.window for aggregate in aggregates})
        longest = windows[-1]
        recent = ", ".join(
            f"sum({aggregate.of}) FILTER (WHERE known_at >= {_cut(aggregate.window)}) AS {aggregate.name}"
            for aggregate in aggregates
        )
        sums = ", ".join(
            f"(coalesce(upto.{aggregate.of}, 0) - coalesce({_then(aggregate.window)}.{aggregate.of}, 0)"
            f" + coalesce(recent.{aggregate.name}, 0))::bigint AS {aggregate.name}"
            for aggregate in aggregates
        )
        joins = " ".join(
            f"LEFT JOIN LATERAL {_total(entity, measures, _cut(window))} AS {_then(window)} ON true" for window in windows
        )
        return (
            f"(SELECT {sums} FROM (SELECT {recent} FROM past WHERE {entity.column} = %({entity.name})s"
            f" AND known_at >= greatest((SELECT moment FROM watermark), {_cut(longest)}) AND known_at < %(now)s::bigint)"
            f" AS recent LEFT JOIN LATERAL {_total(entity, measures, '%(now)s::bigint')} AS upto ON true {joins})"
        )


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


def _then(window: int) -> str:
    return f"before_{window // HOUR}"


def _total(entity: Entity, measures: Sequence[str], before: str) -> str:
    return (
        f"(SELECT {', '.join(measures)} FROM totals WHERE entity = '{entity.name}' AND key = %({entity.name})s"
        f" AND known_at < {before} ORDER BY entity DESC, key DESC, known_at DESC, seq DESC LIMIT 1)"
    )
