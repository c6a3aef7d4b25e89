"""What is known of abuse among the claims of a stretch, and what follows from it for claims that nobody looked at.

Labels are known of the claims that somebody happened to look at. Where every claim had a known chance to be drawn for a
look, the drawn ones speak for all, each for 1 / its chance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from risk.promise.thin import kept_of
from training.metrics import UNKNOWN, Flags, Floats, Interval, Labelled, clopper_pearson, effective, upper_bound
from training.report.money import money_share

Design = Literal["drawn", "mixed", "labels", "nothing"]
"""How labels came about.

`drawn`: every claim had a known chance to be drawn, whatever was decided. `mixed`: approvals had one, of the others some
have a label, and these stand for the rest. `labels`: no chance is known, each label counts once. `nothing`: no labels.
"""


_MOST = 0.5
"""Share of the claims that have to have a chance of being drawn, approved or not, for the drawn ones to speak for all."""


@dataclass(frozen=True)
class Truth:
    """By claim, all of shape (claims,): whether abuse is known and what of, and for how many claims a known one stands.

    `open` are drawn claims whose label is still to come or was left undecided. `oracle` is what a simulator knows.
    """

    design: Design
    known: Flags
    abuse: Flags
    weight: Floats
    open: Flags
    probability: Floats
    """With which chance a drawn claim was drawn; NaN of those that were not."""
    chance: Floats
    """With which chance each claim could be drawn; NaN where none is known."""
    labelled: int
    oracle: Flags | None = None

    def __len__(self) -> int:
        return len(self.known)

    @cached_property
    def honest(self) -> Flags:
        """Known to be legitimate and counted."""
        return self.counted & ~self.abuse

    @cached_property
    def counted(self) -> Flags:
        """Claims whose label counts."""
        return self.known & (self.weight > 0)


def read_truth(labels: pd.DataFrame, decisions: pd.DataFrame, oracle: Flags | None) -> Truth:
    """`labels` and `decisions` have a row a claim in order of the stretch.

    Columns: label, audit_probability of `labels`; decision, audit_probability, audit_selected of `decisions`; each may be
    missing in every row.
    """
    label = labels["label"].astype(object)
    known, abuse = label.isin(["abuse", "legitimate"]).to_numpy(bool), (label == "abuse").to_numpy(bool)
    chance = _numbers(decisions["audit_probability"])
    selected = decisions["audit_selected"].astype(object).fillna(False).astype(bool).to_numpy()
    approved = (decisions["decision"] == "approve").to_numpy(bool)
    drawn = selected & (chance > 0)
    weight = np.where(drawn, 1.0 / np.where(drawn, chance, 1.0), 0.0)
    with_chance = np.isfinite(chance)
    if (with_chance & ~approved).any() and with_chance.mean() > _MOST:
        design: Design = "drawn"
    elif (known & approved & drawn).any():
        design = "mixed"
        drawn &= approved
        others = known & ~approved
        even = (~approved).sum() / max(1, int(others.sum()))
        weight = np.where(drawn, weight, np.where(others, even, 0.0))
    else:
        design = "labels" if known.any() else "nothing"
        drawn = np.zeros(len(label), dtype=bool)
        weight = known.astype(np.float64)
    return Truth(
        design=design,
        known=known,
        abuse=abuse,
        weight=weight,
        open=drawn & ~known,
        probability=np.where(drawn, chance, math.nan),
        chance=chance,
        labelled=int(known.sum()),
        oracle=oracle,
    )


def _numbers(column: pd.Series) -> Floats:
    return pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)


@dataclass(frozen=True)
class LetThrough:
    """Abuse in the money of some approvals: an estimate with its interval, and what it rests on.

    `share` leaves open claims out, `pessimistic` counts them as abuse; `true` is the oracle's.
    """

    share: Interval
    money: Interval
    pessimistic: float
    known: int
    abusive: int
    open: int
    true: float | None


def let_through(truth: Truth, amount: Floats, approved: Flags, *, resamples: int, rng: np.random.Generator) -> LetThrough:
    """The abuse in the money of the approved claims (Hajek, with a bootstrap interval)."""
    counted = approved & truth.counted
    share = _share(truth, amount, counted, truth.abuse, resamples, rng)
    money = float(amount[approved].sum())
    unsure = counted | (approved & truth.open)
    worst = _share(truth, amount, unsure, truth.abuse | truth.open, 0, rng).value if truth.open.any() else share.value
    return LetThrough(
        share=share,
        money=Interval(money * share.value, money * share.low, money * share.high),
        pessimistic=worst,
        known=int(counted.sum()),
        abusive=int((counted & truth.abuse).sum()),
        open=int((approved & truth.open).sum()),
        true=None if truth.oracle is None or not money else float(amount[approved & truth.oracle].sum()) / money,
    )


def _share(
    truth: Truth, amount: Floats, chosen: Flags, abuse: Flags, resamples: int, rng: np.random.Generator
) -> Interval:
    if not chosen.any():
        return UNKNOWN
    claims = Labelled(amount[chosen], abuse[chosen], amount[chosen], truth.weight[chosen])
    drawn = money_share(claims, resamples=resamples, rng=rng)
    # With few abusive claims a bootstrap is too sure of itself: no narrower than as many equally weighted claims would be.
    number = effective(claims.weight * claims.amount)
    if not number or not math.isfinite(drawn.value):
        return drawn
    plain = clopper_pearson(drawn.value * number, number)
    return Interval(drawn.value, float(np.fmin(drawn.low, plain.low)), float(np.fmax(drawn.high, plain.high)))


@dataclass(frozen=True)
class Bound:
    """With the stated confidence at most `value` of the approved money is abuse; None where it cannot be said, and why.

    Exact where claims were drawn in proportion to their amounts, or are thinned to that: then a drawn one is abusive with
    the very chance that a unit of money is, and the binomial test on counts is one about money. Open claims count as abuse.
    """

    value: float | None
    confidence: float
    drawn: int
    abusive: int
    detail: str


def bound(truth: Truth, amount: Floats, approved: Flags, claim_id: Sequence[str], confidence: float) -> Bound:
    """The exact bound for approvals, of which every one has to have had a chance of being drawn."""
    # No money has no share of the money, and no chance in proportion to it.
    paid = approved & (amount > 0)
    drawn = paid & np.isfinite(truth.probability)
    if truth.design != "drawn":
        return Bound(None, confidence, 0, 0, "not every claim had a known chance to be drawn")
    if not drawn.any():
        return Bound(None, confidence, 0, 0, "no approved claim was drawn")
    if np.any(paid & ~(truth.chance > 0)):
        return Bound(None, confidence, 0, 0, "some approved claims had no chance to be drawn")
    rate = float((truth.chance[paid] / amount[paid]).min())
    places = np.flatnonzero(drawn & (rate * amount > 0))
    # The division may have rounded up.
    wanted = np.minimum(rate * amount[places], truth.probability[places])
    kept = places[kept_of([claim_id[place] for place in places], wanted=wanted, stored=truth.probability[places])]
    number, abusive = len(kept), int((truth.abuse | truth.open)[kept].sum())
    return Bound(upper_bound(abusive, number, confidence) if number else None, confidence, number, abusive, "exact, on drawn claims")


def together(parts: Sequence[tuple[float, Bound]], confidence: float) -> Bound:
    """One bound for the money of several segments; each part's has the confidence 1 - (1 - `confidence`) / parts.

    A part is its money and its bound. A part that nothing can be said of counts as abuse to the last coin.
    """
    whole = sum(money for money, _ in parts)
    drawn, abusive = sum(part.drawn for _, part in parts), sum(part.abusive for _, part in parts)
    if not whole:
        return Bound(None, confidence, drawn, abusive, "nothing is approved")
    if all(part.value is None for _, part in parts):
        return Bound(None, confidence, drawn, abusive, parts[0][1].detail)
    value = sum(money * (1.0 if part.value is None else part.value) for money, part in parts) / whole
    return Bound(value, confidence, drawn, abusive, "exact, from the bounds of all segments together")
