"""Feature values of one claim, from its own facts and from the integers that the log gave.

The bulk path writes the same arithmetic as expressions; both divide the same integers as doubles, so they agree bit for
bit.
"""

from collections.abc import Callable, Sequence

from risk.features.columns import Facts, Value
from risk.features.cover import PARTS, Parts, cover_of
from risk.features.definition import HOUR, FeatureSet, Own, Windowed

_COVER = tuple(f"cover.{part}" for part in PARTS)
"""Where a claim's judgement stands among its facts while its features are computed: once for all of its parts."""


class Calculator:
    """Turns aggregates and facts into the feature vector; built once, then called for each claim.

    >>> Calculator(load_features()).values(aggregates, facts, as_of)   # doctest: +SKIP
    """

    def __init__(self, features: FeatureSet) -> None:
        place = {aggregate: index for index, aggregate in enumerate(features.aggregates)}
        self._windowed = tuple(
            _windowed(feature, place[feature.top], tuple(place[operand] for operand in feature.bottom))
            for feature in features.windowed
        )
        self._own = tuple(_own(feature, features.utc_offset) for feature in features.own)
        self._judges = any(feature.kind == "cover" for feature in features.own)

    def values(
        self, aggregates: Sequence[int | None], facts: Facts, as_of: int, *, cover: Parts | None = None
    ) -> list[Value]:
        """The vector, in the order of `FeatureSet.names`.

        `aggregates` stand in the order of `FeatureSet.aggregates`; `as_of` is the moment of looking (microseconds). `cover`
        is what was judged of these very facts already.
        """
        if self._judges:
            facts = {**facts, **dict(zip(_COVER, cover_of(facts) if cover is None else cover, strict=True))}
        vector: list[Value] = [compute(aggregates, as_of) for compute in self._windowed]
        vector += [compute(facts) for compute in self._own]
        return vector


def _windowed(
    feature: Windowed, top: int, bottom: tuple[int, ...]
) -> Callable[[Sequence[int | None], int], float | int | None]:
    def total(row: Sequence[int | None], as_of: int) -> int:
        found = row[top]
        return found if found is not None and found > 0 else 0

    def hours_since(row: Sequence[int | None], as_of: int) -> float | None:
        moment = row[top]
        return None if moment is None else float(as_of - moment) / HOUR

    def ratio(row: Sequence[int | None], as_of: int) -> float | None:
        below = 0
        for index in bottom:
            part = row[index]
            if part is not None and part > 0:
                below += part
        return float(total(row, as_of)) / float(below) if below else None

    def largest(row: Sequence[int | None], as_of: int) -> int | None:
        return row[top]

    return {"ratio": ratio, "since": hours_since, "age": hours_since, "max": largest}.get(feature.kind, total)


def _own(feature: Own, utc_offset: int) -> Callable[[Facts], Value]:
    return {
        "value": _value,
        "ratio": _ratio,
        "hours": _hours,
        "length": _length,
        "hour_of": lambda own: _clock(own, utc_offset, HOUR, 24, 0),
        # 1970-01-01 was a Thursday, the fourth day: 0 is Monday.
        "weekday_of": lambda own: _clock(own, utc_offset, 24 * HOUR, 7, 3),
        "category": _category,
        "cover": _cover,
    }[feature.kind](feature)


def _value(own: Own) -> Callable[[Facts], Value]:
    column = own.columns[0]

    def value(facts: Facts) -> Value:
        number: Value = facts[column]
        return number

    return value


def _ratio(own: Own) -> Callable[[Facts], Value]:
    top, bottom = own.columns

    def ratio(facts: Facts) -> Value:
        above, below = facts[top], facts[bottom]
        return None if above is None or not below or below < 0 else float(above) / float(below)

    return ratio


def _hours(own: Own) -> Callable[[Facts], Value]:
    start, end = own.columns

    def hours(facts: Facts) -> Value:
        first, last = facts[start], facts[end]
        if first is None or last is None:
            return None
        if not own.future and (first > facts["submitted_at"] or last > facts["submitted_at"]):
            return None
        return float(last - first) / HOUR

    return hours


def _length(own: Own) -> Callable[[Facts], Value]:
    column = own.columns[0]
    return lambda facts: None if facts[column] is None else len(facts[column])


def _clock(own: Own, utc_offset: int, unit: int, cycle: int, shift: int) -> Callable[[Facts], Value]:
    column = own.columns[0]
    return lambda facts: ((facts[column] + utc_offset) // unit + shift) % cycle


def _cover(own: Own) -> Callable[[Facts], Value]:
    name = f"cover.{own.part}"

    def part(facts: Facts) -> Value:
        value: Value = facts[name]
        return value

    return part


def _category(own: Own) -> Callable[[Facts], Value]:
    column = own.columns[0]

    def category(facts: Facts) -> Value:
        word: str | None = facts[column]
        return ".".join(word.split(".")[: own.depth]) if word is not None and own.depth else word

    return category
