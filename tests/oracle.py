"""The features a second time, written the slow and obvious way: for each claim, look at every event there is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from risk.features import FeatureSet

Row = Mapping[str, Any]


@dataclass
class World:
    """Plain rows; times are integer microseconds."""

    orders: list[dict[str, Any]] = field(default_factory=list)
    claims: list[dict[str, Any]] = field(default_factory=list)
    labels: list[dict[str, Any]] = field(default_factory=list)


def events(world: World) -> list[dict[str, Any]]:
    log: list[dict[str, Any]] = []
    for order in world.orders:
        log.append({**order, "event": "order", "at": order["paid_at"], "orders": 1, "order_amount": order["paid_amount"]})
    for claim in world.claims:
        reason, remedy = claim.get("reason"), claim.get("remedy")
        log.append(
            {
                **claim,
                "event": "claim",
                "at": claim["submitted_at"],
                "claims": 1,
                "claim_amount": claim["amount"],
                "not_received": int(reason in ("not_received", "missing_item", "not_shipped")),
                "quality": int(
                    reason
                    in ("damaged", "spoiled", "allergy", "quality", "counterfeit", "wrong_item", "not_as_described")
                ),
                "refund_only": int(remedy == "refund_only"),
            }
        )
    by_id = {claim["claim_id"]: claim for claim in world.claims}
    state: dict[str, str] = {}
    gravity = {"undecided": 0, "legitimate": 1, "abuse": 2}
    for label in sorted(world.labels, key=lambda row: (row["known_at"], gravity[row["label"]])):
        before = state.get(label["claim_id"])
        state[label["claim_id"]] = label["label"]
        change = {word: int(label["label"] == word) - int(before == word) for word in ("abuse", "legitimate")}
        log.append({**by_id[label["claim_id"]], "event": "label", "at": label["known_at"], **change})
    return log


def windowed(world: World, features: FeatureSet) -> list[dict[str, Any]]:
    """The windowed features of each claim of the world."""
    log = events(world)
    columns = {entity.name: entity.column for entity in features.entities}
    return [
        {
            feature.name: _value(feature, log, claim, columns)
            for feature in features.windowed
        }
        for claim in world.claims
    ]


def _value(feature: Any, log: Iterable[Row], claim: Row, columns: Mapping[str, str]) -> float | None:
    now, key, column = claim["submitted_at"], claim.get(columns[feature.top.entity]), columns[feature.top.entity]
    past = [row for row in log if key is not None and row.get(column) == key]
    past = [row for row in past if now - feature.top.window <= row["at"] < now]

    def total(name: str) -> int:
        return max(0, sum(row.get(name, 0) for row in past))

    name = feature.top.of
    if feature.kind == "sum":
        return total(name)
    if feature.kind == "ratio":
        below = sum(total(operand.of) for operand in feature.bottom)
        return total(name) / below if below else None
    if feature.kind == "distinct":
        found = {row.get(columns[name]) for row in past if row["event"] == "claim"}
        return len(found - {None})
    matching = [row for row in past if row.get(name, 0) > 0]
    if not matching:
        return None
    if feature.kind == "max":
        return max(row[name] for row in matching)
    moments = [row["at"] for row in matching]
    return (now - (max(moments) if feature.kind == "since" else min(moments))) / 3.6e9
