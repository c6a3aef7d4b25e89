"""Why a score is what it is: contributions of features, summed into groups that have a sentence for a person."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Literal

from risk.bundle import Bundle
from risk.errors import Problem, SettingError
from risk.features import Value, load_features

CALLER_SIGNALS = "caller_signals"
SMALLEST = 0.05
"""Groups that move the log-odds by less than this are not worth a sentence."""
MOST = 5


@dataclass(frozen=True)
class ReasonGroup:
    """Features that tell a person one thing, and the sentences for it by direction and language.

    A direction's sentence holds only where one of its `needs` is above zero; else the sentence of `unknown` is said.
    """

    code: str
    features: tuple[str, ...]
    texts: Mapping[str, Mapping[str, str]]
    needs: Mapping[str, tuple[str, ...]]

    def sentence(self, direction: str, seen: Callable[[str], Value]) -> Mapping[str, str]:
        """The sentence that is true of these values."""
        needed = self.needs.get(direction, ())
        if not needed or any(isinstance(value := seen(name), (int, float)) and value > 0 for name in needed):
            return self.texts[direction]
        return self.texts["unknown"]


@dataclass(frozen=True)
class ReasonTable:
    """All groups; every feature of the table stands in exactly one."""

    groups: tuple[ReasonGroup, ...]

    def group_of(self, feature: str) -> str:
        """The code of the group that a feature belongs to; the caller's own signals share one."""
        return next((group.code for group in self.groups if feature in group.features), CALLER_SIGNALS)


@dataclass(frozen=True)
class Moved:
    """One feature behind a reason: its value as of the decision and what it added to the log-odds."""

    feature: str
    value: Value
    weight: float


@dataclass(frozen=True)
class Reason:
    """One group's part in a score: `weight` is in log-odds, `text` is by language."""

    code: str
    direction: Literal["raises", "lowers"]
    weight: float
    text: Mapping[str, str]
    features: tuple[Moved, ...]


@lru_cache(maxsize=1)
def load_reasons() -> ReasonTable:
    """The reason table that this version ships; a SettingError lists features in no group or in two."""
    data = tomllib.loads(resources.files("risk").joinpath("reasons.toml").read_text(encoding="utf-8"))
    groups = tuple(
        ReasonGroup(
            code=code,
            features=tuple(line["features"]),
            texts={side: line[side] for side in ("raises", "lowers", "unknown") if side in line},
            needs={side: tuple(names) for side, names in line.get("needs", {}).items()},
        )
        for code, line in data.items()
    )
    named = [feature for group in groups for feature in group.features]
    features = load_features().names
    problems = [Problem("reasons.toml", f"{name} stands in two groups") for name in set(named) if named.count(name) > 1]
    problems += [Problem("reasons.toml", f"{name} stands in no group") for name in features if name not in named]
    problems += [Problem("reasons.toml", f"{name} is not a feature") for name in named if name not in features]
    for group in groups:
        known = {name for names in group.needs.values() for name in names}
        problems += [Problem(group.code, f"needs {name}, which is not of this group") for name in known - {*group.features}]
        wanted = {"raises", "lowers"} | ({"unknown"} if group.needs else set())
        problems += [Problem(group.code, f"no sentence: {side}") for side in wanted - {*group.texts}]
    if problems:
        raise SettingError(problems)
    return ReasonTable(groups)


class Explainer:
    """Explains the scores of one bundle; where each group's features stand in a vector is worked out once."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._slope = float(bundle.manifest["calibrator"]["slope"])
        self._place = {name: index for index, name in enumerate(bundle.columns)}
        members = {group.code: [self._place[name] for name in group.features] for group in load_reasons().groups}
        members[CALLER_SIGNALS] = [self._place[name] for name in bundle.signals]
        self._groups = tuple((group, members[group.code]) for group in load_reasons().groups if members[group.code])

    def explain(self, values: Sequence[Value]) -> tuple[Reason, ...]:
        """The reasons of one claim from its frozen feature values, most weighty first.

        A group is not named where all that moved the score its way was missing: nothing was seen that a sentence could
        speak of.
        """
        added = self._bundle.contributions_one(self._bundle.encode(values)) * self._slope
        contributions: list[float] = added.tolist()
        weighed = [(sum(contributions[index] for index in members), group, members) for group, members in self._groups]
        told = [
            part
            for part in weighed
            if abs(part[0]) >= SMALLEST
            and any(contributions[index] * part[0] > 0 and values[index] is not None for index in part[2])
        ]
        told.sort(key=lambda part: -abs(part[0]))
        return tuple(self._reason(*part, contributions, values) for part in told[:MOST])

    def _reason(
        self,
        weight: float,
        group: ReasonGroup,
        members: Sequence[int],
        contributions: Sequence[float],
        values: Sequence[Value],
    ) -> Reason:
        direction: Literal["raises", "lowers"] = "raises" if weight > 0 else "lowers"
        moved = [index for index in members if contributions[index] * weight > 0 and values[index] is not None]
        moved.sort(key=lambda index: -abs(contributions[index]))
        return Reason(
            code=group.code,
            direction=direction,
            weight=weight,
            text=group.sentence(direction, lambda name: values[self._place[name]]),
            features=tuple(Moved(self._bundle.columns[i], values[i], contributions[i]) for i in moved[:3]),
        )


@lru_cache(maxsize=8)
def _explainer(bundle: Bundle) -> Explainer:
    return Explainer(bundle)


def explain(bundle: Bundle, values: Sequence[Value]) -> tuple[Reason, ...]:
    """The reasons of one claim; see `Explainer.explain`."""
    return _explainer(bundle).explain(values)
