"""Whether a predicted probability means what it says."""

import math
from dataclasses import dataclass

import numpy as np

from training.metrics import UNKNOWN, Floats, Integers, Interval, Labelled, clopper_pearson, effective

BINS = 15
LOW_RISK = 0.6
"""Approval happens among the lowest scores: their predictions are judged apart (share of the claims)."""
_SMALLEST = 1e-15
_Z95 = 1.959963984540054


@dataclass(frozen=True)
class ReliabilityBin:
    """Claims of similar score: what was predicted and what came of it."""

    claims: int
    lowest: float
    highest: float
    predicted: float
    observed: Interval


@dataclass(frozen=True)
class Calibration:
    """Predicted against true abuse. `ece_of_chance` is the error that flawless predictions would show by chance alone.

    `low_risk_ratio` is predicted over true abuse among the lowest-scored `LOW_RISK` of the claims; 1 is right, below 1
    is too sure of the buyer.
    """

    bins: tuple[ReliabilityBin, ...]
    predicted: float
    ece: float
    ece_of_chance: float
    brier: Interval
    brier_of_base_rate: float
    log_loss: Interval
    low_risk_ratio: Interval
    low_risk_claims: int


def calibration(claims: Labelled, *, resamples: int, rng: np.random.Generator) -> Calibration:
    """Calibration of labelled claims, of one class or of both."""
    weight, truth = claims.weight / claims.weight.sum(), claims.abuse.astype(np.float64)
    place = equal_mass(claims.score, claims.weight, BINS)
    bins = tuple(_bin(claims.where(place == number)) for number in np.unique(place))
    mass = np.bincount(place, weight)
    mass = mass[mass > 0]
    sure = np.clip(claims.score, _SMALLEST, 1.0 - _SMALLEST)
    share = float(weight @ truth)
    low = claims.where(_lowest(claims, LOW_RISK))
    return Calibration(
        bins=bins,
        predicted=float(weight @ claims.score),
        ece=float(mass @ np.array([abs(line.predicted - line.observed.value) for line in bins])),
        ece_of_chance=_chance(claims, place, mass, bins, resamples, rng),
        brier=_mean((claims.score - truth) ** 2, weight),
        brier_of_base_rate=share * (1.0 - share),
        log_loss=_mean(-np.where(claims.abuse, np.log(sure), np.log1p(-sure)), weight),
        low_risk_ratio=_ratio(low),
        low_risk_claims=len(low),
    )


def equal_mass(score: Floats, weight: Floats, bins: int) -> Integers:
    """Number of the bin of each claim, lowest scores first; equal scores share a bin, so there may be fewer bins."""
    inverse = np.unique(score, return_inverse=True)[1]
    mass = np.bincount(inverse, weight)
    middle = (np.cumsum(mass) - mass / 2.0) / mass.sum()
    return np.minimum((middle * bins).astype(np.int64), bins - 1)[inverse]


def _bin(claims: Labelled) -> ReliabilityBin:
    number = effective(claims.weight)
    share = float(np.average(claims.abuse, weights=claims.weight))
    return ReliabilityBin(
        claims=len(claims),
        lowest=float(claims.score.min()),
        highest=float(claims.score.max()),
        predicted=float(np.average(claims.score, weights=claims.weight)),
        observed=clopper_pearson(share * number, number),
    )


def _chance(
    claims: Labelled,
    place: Integers,
    mass: Floats,
    bins: tuple[ReliabilityBin, ...],
    resamples: int,
    rng: np.random.Generator,
) -> float:
    if resamples < 1:
        return math.nan
    numbers = [max(1, round(effective(claims.weight[place == number]))) for number in np.unique(place)]
    predicted = np.clip([line.predicted for line in bins], 0.0, 1.0)
    observed = rng.binomial(numbers, predicted, (resamples, len(bins))) / numbers
    return float(np.mean(np.abs(observed - predicted) @ mass))


def _mean(losses: Floats, weight: Floats) -> Interval:
    """Mean of a loss with the normal interval of a weighted mean; `weight` sums to 1."""
    value = float(weight @ losses)
    if len(losses) < 2:
        return Interval(value)
    error = _Z95 * math.sqrt(float(np.sum((weight * (losses - value)) ** 2)))
    return Interval(value, max(0.0, value - error), value + error)


def _lowest(claims: Labelled, share: float) -> np.ndarray:
    """The lowest-scored claims that make up a share of the weight; equal scores stay together."""
    order = np.argsort(claims.score, kind="stable")
    reached = np.cumsum(claims.weight[order])
    edge = claims.score[order][min(np.searchsorted(reached, share * reached[-1]), len(order) - 1)]
    return claims.score <= edge


def _ratio(claims: Labelled) -> Interval:
    number = effective(claims.weight)
    if number <= 0:
        return UNKNOWN
    predicted = float(np.average(claims.score, weights=claims.weight))
    true = clopper_pearson(float(np.average(claims.abuse, weights=claims.weight)) * number, number)
    below = math.inf if true.value == 0 else predicted / true.value
    high = math.inf if true.low == 0 else predicted / true.low
    # Without any abuse among them the ratio has a lower limit only.
    return Interval(below if math.isfinite(below) else math.nan, predicted / true.high, high)
