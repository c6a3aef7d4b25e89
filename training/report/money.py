"""What a threshold does with the money: approved at once, let through to abuse, kept for reviewers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.metrics import (
    CONFIDENCE,
    Flags,
    Floats,
    Interval,
    Labelled,
    clopper_pearson,
    rate,
    resampled_sums,
    upper_bound,
)

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Thresholds of the table: those that approve these shares of the claims."""
PICTURE_POINTS = 200


@dataclass(frozen=True)
class Approval:
    """What approving every score up to a threshold does. Money is in minor units.

    Approved and reviewed are counted over all claims; abuse over those whose label is known, by weight.
    `let_through_share` is abuse money over approved money of known label.
    """

    threshold: float
    approved_share: float
    approved_money: float
    approved_money_share: float
    to_review: int
    let_through_money: float
    let_through_share: float
    let_through_claims_share: float
    caught_money: float
    caught_share: float
    honest_approved_share: float


@dataclass(frozen=True)
class OwnThreshold:
    """The bundle's own threshold. Bounds are one-sided at 95 % and count claims; unweighted, so that they are exact.

    `bound_pessimistic` counts every approved claim without a label as abuse.
    """

    approval: Approval
    let_through_share: Interval
    approved_known: int
    approved_abuse: int
    approved_unknown: int
    bound: float
    bound_pessimistic: float
    interval: Interval
    confidence: float = CONFIDENCE


def approvals(score: Floats, amount: Floats, claims: Labelled, thresholds: Sequence[float]) -> tuple[Approval, ...]:
    """Figures of each threshold; `score` and `amount` are of all claims, `claims` are those whose label is known."""
    order = np.argsort(score, kind="stable")
    ranked, money = score[order], _running(amount[order])
    by_score = np.argsort(claims.score, kind="stable")
    labelled, abuse = claims.score[by_score], claims.abuse[by_score]
    weight, value = claims.weight[by_score], (claims.weight * claims.amount)[by_score]
    sums = [_running(part) for part in (value * abuse, value, weight * abuse, weight)]

    def figures(threshold: float) -> Approval:
        approved = int(np.searchsorted(ranked, threshold, side="right"))
        known = int(np.searchsorted(labelled, threshold, side="right"))
        abuse_money, known_money, abuse_weight, known_weight = (float(part[known]) for part in sums)
        caught = float(sums[0][-1]) - abuse_money
        honest = float(sums[3][-1] - sums[2][-1])
        return Approval(
            threshold=threshold,
            approved_share=approved / len(ranked),
            approved_money=float(money[approved]),
            approved_money_share=_share(float(money[approved]), float(money[-1])),
            to_review=len(ranked) - approved,
            let_through_money=abuse_money,
            let_through_share=_share(abuse_money, known_money),
            let_through_claims_share=_share(abuse_weight, known_weight),
            caught_money=caught,
            caught_share=_share(caught, float(sums[0][-1])),
            honest_approved_share=_share(known_weight - abuse_weight, honest),
        )

    return tuple(figures(float(threshold)) for threshold in thresholds)


def own_threshold(
    score: Floats, amount: Floats, known: Flags, claims: Labelled, threshold: float, *,
    resamples: int, rng: np.random.Generator,
) -> OwnThreshold:  # fmt: skip
    """The figures of the bundle's own threshold with their bounds."""
    approved = claims.where(claims.score <= threshold)
    abuse, number = int(approved.abuse.sum()), len(approved)
    unknown = int(np.sum((score <= threshold) & ~known))
    return OwnThreshold(
        approval=approvals(score, amount, claims, [threshold])[0],
        let_through_share=money_share(approved, resamples=resamples, rng=rng),
        approved_known=number,
        approved_abuse=abuse,
        approved_unknown=unknown,
        bound=upper_bound(abuse, number),
        bound_pessimistic=upper_bound(abuse + unknown, number + unknown),
        interval=clopper_pearson(abuse, number),
    )


def money_share(claims: Labelled, *, resamples: int, rng: np.random.Generator) -> Interval:
    """Abuse money over money, with a bootstrap interval; without any abuse seen, the binomial bound on claims."""
    money = claims.weight * claims.amount
    if not money.sum() > 0:
        return Interval(math.nan)
    value = float(money[claims.abuse].sum() / money.sum())
    if not claims.abuse.any():
        return rate(claims.abuse, claims.weight)
    blocks = resampled_sums(claims.abuse.astype(np.int64), money, 2, resamples=resamples, rng=rng)
    sums = np.concatenate([np.empty((0, 2)), *blocks])
    sums = sums[sums.sum(axis=1) > 0]
    if len(sums) < 2:
        return Interval(value)
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(sums[:, 1] / sums.sum(axis=1), (tail, 1.0 - tail))
    return Interval(value, min(float(low), value), max(float(high), value))


def table_thresholds(score: Floats) -> tuple[float, ...]:
    """Scores that approve the shares of the table; no threshold twice."""
    return tuple(dict.fromkeys(float(edge) for edge in np.quantile(score, SHARES, method="lower")))


def picture_thresholds(score: Floats) -> tuple[float, ...]:
    """Finer steps for the picture."""
    shares = np.linspace(0.0, 1.0, PICTURE_POINTS + 1)[1:]
    return tuple(dict.fromkeys(float(edge) for edge in np.quantile(score, shares, method="lower")))


def _running(values: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan
