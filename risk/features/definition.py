"""The feature table as values: loaded from `table.toml`, checked line by line, the same for training and serving."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from typing import Any

from risk.errors import Problem, SettingError
from risk.features import cover

HOUR = 3_600_000_000
"""Microseconds in an hour; every time in features is an integer number of microseconds since 1970 UTC."""
WINDOWS = {"1h": HOUR, "24h": 24 * HOUR, **{f"{days}d": days * 24 * HOUR for days in (7, 30, 90, 365)}}
EVENTS = ("order", "claim", "label")
TIMES = (
    "submitted_at", "paid_at", "shipped_at", "promised_by", "delivered_at", "registered_at", "intercepted_at", "lost_at",
    "return_shipped_at", "return_picked_up_at", "return_received_at",
)  # fmt: skip
NUMBERS = (
    "amount", "paid_amount", "refunded_amount", "unit_price", "quantity", "item_count", "affected_share", "verified",
    "guest", "opened", "no_return_confirmed", "photo_count", "video_count", "certificate_count", "scan_count",
    "chat_count",
)  # fmt: skip
TEXTS = (
    "reason", "remedy", "channel", "return_method", "carrier", "category", "description", "tracking_number",
    "merchant_guarantees", "item_guarantees",
)  # fmt: skip
SIGNAL_PREFIX = "x_"
"""A column of this prefix is the caller's own signal and becomes a feature as it is."""

_WINDOWED_KINDS = ("sum", "max", "since", "age", "distinct", "ratio")
_OWN_KINDS = ("value", "ratio", "hours", "length", "hour_of", "weekday_of", "category", "cover")


@dataclass(frozen=True)
class Entity:
    """A party whose past counts. `long`: it may have millions of events and is read from running totals."""

    name: str
    column: str
    long: bool = False


@dataclass(frozen=True)
class Measure:
    """What one event adds to a sum: 1, its amount, or the change of a label."""

    name: str
    event: str
    value: str = "one"
    reason: tuple[str, ...] = ()
    remedy: tuple[str, ...] = ()

    def of_claim(self, amount: int, reason: str | None, remedy: str | None) -> int:
        """What a claim adds to this measure."""
        if self.event != "claim" or (self.reason and reason not in self.reason):
            return 0
        if self.remedy and remedy not in self.remedy:
            return 0
        return amount if self.value == "amount" else 1


@dataclass(frozen=True)
class Aggregate:
    """One integer read from the log: `how` of `of` over the events of an entity in a window (microseconds).

    `of` is a measure, or an entity where `how` is `distinct`.
    """

    entity: str
    how: str
    of: str
    window: int

    @property
    def name(self) -> str:
        """A column name that no other aggregate has."""
        return f"{self.entity}_{self.how}_{self.of}_{self.window // HOUR}h"


@dataclass(frozen=True)
class Windowed:
    """A feature over an entity's past: the operands are read from the log, `kind` says how they are joined."""

    name: str
    kind: str
    top: Aggregate
    bottom: tuple[Aggregate, ...] = ()
    monotone: int = 0


@dataclass(frozen=True)
class Own:
    """A feature of the claim itself."""

    name: str
    kind: str
    columns: tuple[str, ...]
    future: bool = False
    depth: int = 0
    part: str = ""
    """Which part of the claim's cover, where `kind` is `cover`."""
    monotone: int = 0

    @property
    def says(self) -> bool:
        """Whether its values are words."""
        return self.kind == "category" or self.part in cover.WORDS


@dataclass(frozen=True)
class FeatureSet:
    """All features, in the order in which every vector holds them."""

    utc_offset: int
    entities: tuple[Entity, ...]
    measures: tuple[Measure, ...]
    windowed: tuple[Windowed, ...]
    own: tuple[Own, ...]
    source: str

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Feature names in vector order."""
        return (*(feature.name for feature in self.windowed), *(feature.name for feature in self.own))

    @cached_property
    def categorical(self) -> frozenset[str]:
        """Names of the features whose values are words."""
        return frozenset(feature.name for feature in self.own if feature.says)

    @cached_property
    def monotone(self) -> dict[str, int]:
        """Direction by feature name; 0 where the data decide."""
        windowed = {feature.name: feature.monotone for feature in self.windowed}
        return windowed | {feature.name: feature.monotone for feature in self.own}

    @cached_property
    def aggregates(self) -> tuple[Aggregate, ...]:
        """Every distinct aggregate that some feature needs, grouped by entity in the order of `entities`."""
        needed = {operand: None for feature in self.windowed for operand in (feature.top, *feature.bottom)}
        order = {entity.name: place for place, entity in enumerate(self.entities)}
        return tuple(sorted(needed, key=lambda aggregate: order[aggregate.entity]))

    def aggregates_of(self, entity: Entity) -> tuple[Aggregate, ...]:
        """The aggregates over one entity's past, in vector order."""
        return tuple(aggregate for aggregate in self.aggregates if aggregate.entity == entity.name)

    def concerned(self, event: str) -> tuple[Entity, ...]:
        """The entities some of whose features look at such events; to the others the event need not be known."""
        looked_at = {
            (aggregate.entity, "claim" if aggregate.how == "distinct" else self.measure(aggregate.of).event)
            for aggregate in self.aggregates
        }
        return tuple(entity for entity in self.entities if (entity.name, event) in looked_at)

    def measure(self, name: str) -> Measure:
        """The measure of that name."""
        return next(measure for measure in self.measures if measure.name == name)

    @cached_property
    def fingerprint(self) -> str:
        """Changes whenever a definition does; a bundle trained for another one is refused."""
        return hashlib.sha256(self.source.encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def load_features() -> FeatureSet:
    """The feature set that this version of the code ships."""
    return parse_features(resources.files("risk.features").joinpath("table.toml").read_text(encoding="utf-8"))


def parse_features(text: str) -> FeatureSet:
    """Read a feature table; a `SettingError` names every line that does not hold together."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingError([Problem("table.toml", str(error))]) from error
    problems: list[Problem] = []
    entities = {name: Entity(name=name, **line) for name, line in data["entities"].items()}
    measures = {name: _measure(name, line, problems) for name, line in data["measures"].items()}
    windowed = [_windowed(name, line, entities, measures, problems) for name, line in data["windowed"].items()]
    own = [_own(name, line, problems) for name, line in data["own"].items()]
    problems += [
        Problem(f"own.{name}", "also a windowed feature") for name in data["own"] if name in data["windowed"]
    ]
    if problems:
        raise SettingError(problems)
    return FeatureSet(
        utc_offset=int(data["utc_offset_hours"]) * HOUR,
        entities=tuple(entities.values()),
        measures=tuple(measures.values()),
        windowed=tuple(feature for feature in windowed if feature),
        own=tuple(feature for feature in own if feature),
        source=json.dumps(data, sort_keys=True),
    )


def _measure(name: str, line: Mapping[str, Any], problems: list[Problem]) -> Measure:
    measure = Measure(
        name=name,
        event=line.get("event", ""),
        value=line.get("value", "one"),
        reason=tuple(line.get("reason", ())),
        remedy=tuple(line.get("remedy", ())),
    )
    allowed = ("abuse", "legitimate") if measure.event == "label" else ("one", "amount")
    if measure.event not in EVENTS or measure.value not in allowed:
        problems.append(Problem(f"measures.{name}", f"no such event or value: {measure.event}, {measure.value}"))
    _refuse_unknown(f"measures.{name}", line, {"event", "value", "reason", "remedy"}, problems)
    return measure


def _windowed(
    name: str,
    line: Mapping[str, Any],
    entities: Mapping[str, Entity],
    measures: Mapping[str, Measure],
    problems: list[Problem],
) -> Windowed | None:
    where = f"windowed.{name}"
    _refuse_unknown(where, line, {"entity", "window", "monotone", *_WINDOWED_KINDS}, problems)
    kinds = [kind for kind in _WINDOWED_KINDS if kind in line]
    entity = entities.get(line.get("entity", ""))
    window = WINDOWS.get(line.get("window", ""))
    if len(kinds) != 1 or entity is None or window is None:
        problems.append(Problem(where, f"needs one of {_WINDOWED_KINDS}, a known entity, a window of {tuple(WINDOWS)}"))
        return None
    kind = kinds[0]
    if entity.long and kind not in ("sum", "ratio"):
        problems.append(Problem(where, f"{entity.name} is long: only sum and ratio, not {kind}"))
    top, bottom = (line[kind][0], line[kind][1].split("+")) if kind == "ratio" else (line[kind], [])
    known = entities if kind == "distinct" else measures
    problems += [Problem(where, f"unknown: {operand}") for operand in (top, *bottom) if operand not in known]
    how = {"since": "last", "age": "first", "ratio": "sum"}.get(kind, kind)
    return Windowed(
        name=name,
        kind=kind,
        top=Aggregate(entity.name, how, top, window),
        bottom=tuple(Aggregate(entity.name, "sum", operand, window) for operand in bottom),
        monotone=line.get("monotone", 0),
    )


def _own(name: str, line: Mapping[str, Any], problems: list[Problem]) -> Own | None:
    where = f"own.{name}"
    _refuse_unknown(where, line, {"future", "depth", "monotone", *_OWN_KINDS}, problems)
    kinds = [kind for kind in _OWN_KINDS if kind in line]
    if len(kinds) != 1:
        problems.append(Problem(where, f"needs exactly one of {_OWN_KINDS}"))
        return None
    kind = kinds[0]
    if kind == "cover":
        if line[kind] not in cover.PARTS:
            problems.append(Problem(where, f"no such part of cover: {line[kind]}"))
        return Own(name, kind, cover.COLUMNS, part=line[kind], monotone=line.get("monotone", 0))
    columns = tuple(line[kind]) if isinstance(line[kind], list) else (line[kind],)
    known = {"hours": TIMES, "hour_of": TIMES, "weekday_of": TIMES, "length": TEXTS, "category": TEXTS}
    problems += [Problem(where, f"no such column: {column}") for column in columns if column not in known.get(kind, NUMBERS)]
    future = line.get("future", False) or "promised_by" in columns
    return Own(name, kind, columns, future, line.get("depth", 0), monotone=line.get("monotone", 0))


def _refuse_unknown(where: str, line: Mapping[str, Any], known: set[str], problems: list[Problem]) -> None:
    problems += [Problem(where, f"unknown key: {key}") for key in line if key not in known]
