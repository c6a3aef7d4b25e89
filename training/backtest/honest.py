"""Figures of honest claims, of which most were never looked at: the score's guess for every claim, put right by the labels.

Each claim counts for honest by 1 - score, and each one with a label corrects that by what the score got wrong about it,
times the number of claims that it stands for (a doubly robust estimate: right where either the chances of being drawn or
the scores are). What was decided is known of all claims, so this uses all of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from training.backtest.truth import Truth
from training.metrics import Flags, Floats, Interval, clopper_pearson

_Z = 1.959963984540054


@dataclass(frozen=True)
class Honest:
    """How much each claim counts for honest, shape (claims,); a single one may be below 0 or far above 1, sums are right."""

    count: Floats
    labelled: Flags
    """Known to be honest, with a weight."""

    @cached_property
    def known(self) -> bool:
        """Whether anything can be said."""
        return bool(self.labelled.any())

    def total(self, size: Floats) -> float:
        """The part of a sum over claims (sizes of 0 or more) that falls on honest ones."""
        whole = float(size.sum())
        if not whole:
            return 0.0
        return min(max(float(self.count @ size), 0.0), whole) if self.known else math.nan

    def share(self, approved: Flags, member: Flags | None = None) -> Interval:
        """Of the honest claims (of a group) those approved at once, with a 95 % interval."""
        chosen = np.ones(len(self.count), dtype=bool) if member is None else member
        share, influence = self._ratio(approved, chosen)
        if not math.isfinite(share):
            return Interval(math.nan)
        error = float(np.sum(influence**2))
        number = share * (1.0 - share) / error if error > 0 and 0.0 < share < 1.0 else float(self.count[chosen].sum())
        # As many equally weighted claims as would be as sure of the share.
        return clopper_pearson(share * number, number)

    def gap(self, approved: Flags, member: Flags) -> Interval:
        """How much more rarely honest claims of a group are approved at once than all, with a 95 % interval."""
        every, one = self._ratio(approved, np.ones(len(member), dtype=bool))
        mine, other = self._ratio(approved, member)
        if not (math.isfinite(every) and math.isfinite(mine)):
            return Interval(math.nan)
        error = _Z * math.sqrt(float(np.sum((one - other) ** 2)))
        return Interval(every - mine, every - mine - error, every - mine + error)

    def _ratio(self, flag: Flags, member: Flags) -> tuple[float, Floats]:
        """A share among the honest claims of a group, and what each claim adds to its error."""
        whole = float(self.count[member].sum())
        if not self.known or whole <= 0:
            return math.nan, np.zeros(len(flag))
        share = min(max(float(self.count[member & flag].sum()) / whole, 0.0), 1.0)
        return share, np.where(member, self.count * (flag - share) / whole, 0.0)

    def quantiles(self, value: Floats, wanted: Sequence[float], member: Flags | None = None) -> tuple[Interval, ...]:
        """The values that these shares of the honest claims (of a group) do not exceed, with 95 % intervals (Woodruff)."""
        chosen = np.ones(len(value), dtype=bool) if member is None else member
        count, own = self.count[chosen], value[chosen]
        whole = float(count.sum())
        if not self.known or whole <= 0:
            return tuple(Interval(math.nan) for _ in wanted)
        order = np.argsort(own, kind="stable")
        ranked = own[order]
        # Single claims may count below 0: what is reached once stays reached.
        reached = np.maximum.accumulate(np.cumsum(count[order]) / whole)

        def at(share: float) -> float:
            place = int(np.searchsorted(reached, min(max(share, 0.0), 1.0) * (1.0 - 1e-12)))
            return float(ranked[min(place, len(ranked) - 1)])

        found = []
        for share in wanted:
            middle = at(share)
            error = _Z * math.sqrt(float(np.sum((count * ((own <= middle) - share) / whole) ** 2)))
            found.append(Interval(middle, at(share - error), at(share + error)))
        return tuple(found)


def honest_of(truth: Truth, score: Floats) -> Honest:
    """How much each claim counts for honest, by its score and by labels."""
    guess = 1.0 - score
    weight = np.where(truth.counted, truth.weight, 0.0)
    whole = float(weight.sum())
    # The labels together stand for all claims, neither more nor less.
    scale = len(truth) / whole if whole else 0.0
    return Honest(guess + scale * weight * (~truth.abuse - guess), truth.honest)


def difference(one: Interval, other: Interval) -> Interval:
    """One figure less another, each with its interval; cautious where both rest on the same claims."""
    value = one.value - other.value
    low = value - math.hypot(one.value - one.low, other.high - other.value)
    high = value + math.hypot(one.high - one.value, other.value - other.low)
    return Interval(value, low, high)
