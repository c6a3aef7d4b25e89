"""How well scores rank: curves, areas and recalls with bootstrap intervals, exact binomial bounds, the daily top k.

Arrays in, frozen values out; nothing here knows of bundles, histories or reports. Oracles: tests/unit/test_metrics.py.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Integers = NDArray[np.int64]

CONFIDENCE = 0.95
BINS = 2_000
"""Score bins of the bootstrap. Resampling counts of bins costs the same for a thousand claims and for a million."""
_WEIGHT_STEPS = 8
"""Steps a factor of two in which the bootstrap tells weights apart; the exact mean of each step is kept."""
_BLOCK = 4_000_000
"""Random numbers drawn at a time: bounds the memory of a bootstrap with many distinct weights."""


@dataclass(frozen=True)
class Interval:
    """A figure and where it lies with 95 % confidence; NaN is what cannot be said."""

    value: float
    low: float = math.nan
    high: float = math.nan


UNKNOWN = Interval(math.nan)


@dataclass(frozen=True)
class Labelled:
    """Claims whose label is known: score, whether abuse, amount in minor units, and weight; all of shape (claims,).

    A weight of 1 counts a claim once; 1 / (probability of having been labelled) lets it stand for those that were not.
    """

    score: Floats
    abuse: Flags
    amount: Floats
    weight: Floats

    def __len__(self) -> int:
        return len(self.score)

    def where(self, chosen: Flags) -> "Labelled":
        """Only the chosen claims."""
        return Labelled(self.score[chosen], self.abuse[chosen], self.amount[chosen], self.weight[chosen])

    @cached_property
    def both_classes(self) -> bool:
        """Whether there is anything to rank."""
        return bool(self.abuse.any() and not self.abuse.all())


@dataclass(frozen=True)
class Curve:
    """Weight of abusive and of honest claims at or above each threshold, highest first: shape (..., thresholds).

    A leading dimension holds resamples, so that a figure and its interval come from the same lines of code.
    """

    caught: Floats
    disturbed: Floats

    @property
    def recall(self) -> Floats:
        """Share of abuse at or above each threshold."""
        return self.caught / self.caught[..., -1:]

    @property
    def false_positives(self) -> Floats:
        """Share of honest claims at or above each threshold."""
        return self.disturbed / self.disturbed[..., -1:]

    @property
    def precision(self) -> Floats:
        """Share of abuse among the claims at or above each threshold."""
        marked = self.caught + self.disturbed
        return np.divide(self.caught, marked, out=np.ones_like(marked), where=marked > 0)


def curve(score: Floats, abuse: Flags, weight: Floats) -> Curve:
    """The exact curve, one threshold a distinct score."""
    order = np.argsort(-score, kind="stable")
    ranked, positive = score[order], np.where(abuse, weight, 0.0)[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    return Curve(np.cumsum(positive)[last], np.cumsum(weight[order] - positive)[last])


def area(line: Curve) -> Floats:
    """Area under the ROC curve: the chance that an abusive claim scores above an honest one, ties counting half."""
    steps = np.diff(line.false_positives, prepend=0.0, axis=-1)
    recall = line.recall
    before = np.concatenate([np.zeros_like(recall[..., :1]), recall[..., :-1]], axis=-1)
    return np.sum(steps * (recall + before) / 2.0, axis=-1)


def average_precision(line: Curve) -> Floats:
    """Precision averaged over the steps of recall, without interpolation."""
    return np.sum(np.diff(line.recall, prepend=0.0, axis=-1) * line.precision, axis=-1)


def recall_at(line: Curve, allowed: float) -> Floats:
    """The largest recall at no more than the allowed share of false positives; no interpolation between thresholds."""
    # The tolerance keeps a share that is allowed exactly from being lost to rounding.
    reached = np.where(line.false_positives <= allowed * (1 + 1e-12), line.recall, 0.0)
    return np.max(reached, axis=-1)


def roc_at(line: Curve, grid: Floats) -> Floats:
    """Recall at a grid of shares of false positives, joined by straight lines: shape (..., grid)."""
    recall, wrong = np.atleast_2d(line.recall), np.atleast_2d(line.false_positives)
    rows = [np.interp(grid, np.append(0.0, x), np.append(0.0, y)) for x, y in zip(wrong, recall, strict=True)]
    return np.array(rows).reshape(*line.recall.shape[:-1], len(grid))


def precision_at(line: Curve, grid: Floats) -> Floats:
    """Precision at the first threshold that reaches each recall of the grid: shape (..., grid)."""
    recall, precision = np.atleast_2d(line.recall), np.atleast_2d(line.precision)
    wanted = grid * (1 - 1e-12)
    rows = [p[np.minimum(np.searchsorted(r, wanted), len(r) - 1)] for r, p in zip(recall, precision, strict=True)]
    return np.array(rows).reshape(*line.recall.shape[:-1], len(grid))


@dataclass(frozen=True)
class Ranking:
    """How well scores rank a set of claims, exactly, and in resamples of it.

    Poisson bootstrap on counts: claims are counted by score bin, class and weight, and a resample draws each count from
    a Poisson distribution of that mean, which is what drawing each claim Poisson(1) times comes to. At most `BINS` bins
    of equal mass; fewer distinct scores than that are not binned at all.
    """

    exact: Curve
    binned: Curve
    resamples: Curve

    def interval(self, figure: Callable[[Curve], Floats]) -> Interval:
        """A figure of the curve with its percentile interval; what binning shifts is put right."""
        value = float(figure(self.exact))
        low, high = self.band(lambda line: np.atleast_1d(figure(line))[..., None])
        return Interval(value, float(np.clip(low[0], 0.0, value)), float(np.clip(high[0], value, 1.0)))

    def band(self, figure: Callable[[Curve], Floats]) -> tuple[Floats, Floats]:
        """Percentile intervals of several figures at once, of shape (figures,) each."""
        drawn = figure(self.resamples)
        drawn = drawn[np.isfinite(drawn).all(axis=-1)]
        exact, binned = figure(self.exact).reshape(-1), figure(self.binned).reshape(-1)
        if len(drawn) < 2:
            return np.full_like(exact, math.nan), np.full_like(exact, math.nan)
        tail = (1.0 - CONFIDENCE) / 2.0
        low, high = np.quantile(drawn, (tail, 1.0 - tail), axis=0)
        shift = exact - binned
        return np.clip(low + shift, 0.0, 1.0), np.clip(high + shift, 0.0, 1.0)


def ranking(claims: Labelled, *, resamples: int, rng: np.random.Generator) -> Ranking:
    """The exact curve of claims of both classes, and resampled ones for intervals."""
    bins = _score_bins(claims.score)
    size = int(bins.max()) + 1
    binned = Curve(
        np.cumsum(np.bincount(bins, np.where(claims.abuse, claims.weight, 0.0), size)),
        np.cumsum(np.bincount(bins, np.where(claims.abuse, 0.0, claims.weight), size)),
    )
    place = np.where(claims.abuse, bins, bins + size)
    blocks = list(resampled_sums(place, claims.weight, 2 * size, resamples=resamples, rng=rng))
    drawn = np.concatenate(blocks) if blocks else np.empty((0, 2 * size))
    # A resample without one of the classes has no curve.
    drawn = drawn[(drawn[:, :size].sum(axis=1) > 0) & (drawn[:, size:].sum(axis=1) > 0)]
    resampled = Curve(np.cumsum(drawn[:, :size], axis=1), np.cumsum(drawn[:, size:], axis=1))
    return Ranking(curve(claims.score, claims.abuse, claims.weight), binned, resampled)


def _score_bins(score: Floats) -> Integers:
    """Number of the bin of each score, the highest score in bin 0."""
    distinct, place = np.unique(-score, return_inverse=True)
    if len(distinct) <= BINS:
        return place.astype(np.int64)
    edges = np.unique(np.quantile(distinct[place], np.linspace(0.0, 1.0, BINS + 1)[1:-1]))
    return np.searchsorted(edges, -score, side="left").astype(np.int64)


def resampled_sums(
    place: Integers, value: Floats, size: int, *, resamples: int, rng: np.random.Generator
) -> Iterator[Floats]:
    """Sums of positive values by place in Poisson resamples, in blocks of shape (some resamples, size).

    Values of one place within a step of 2^(1/8) of each other are drawn together, at their mean.
    """
    kept = value > 0
    place, value = place[kept], value[kept]
    level = np.round(np.log2(value) * _WEIGHT_STEPS).astype(np.int64)
    level -= level.min(initial=0)
    cell, inverse, count = np.unique(
        place * (level.max(initial=0) + 1) + level, return_inverse=True, return_counts=True
    )
    mean = np.bincount(inverse, value, len(cell)) / count
    target = cell // (level.max(initial=0) + 1)
    starts = np.flatnonzero(np.diff(target, prepend=-1))
    block = max(1, _BLOCK // max(1, len(cell)))
    for first in range(0, resamples, block):
        rows = min(block, resamples - first)
        sums = np.zeros((rows, size))
        if len(cell):
            sums[:, target[starts]] = np.add.reduceat(rng.poisson(count, (rows, len(cell))) * mean, starts, axis=1)
        yield sums


def effective(weight: Floats) -> float:
    """How many equally weighted claims would be worth as much."""
    squares = float(np.sum(weight**2))
    return float(np.sum(weight)) ** 2 / squares if squares else 0.0


def clopper_pearson(successes: float, trials: float, confidence: float = CONFIDENCE) -> Interval:
    """Exact two-sided binomial interval; with effective (fractional) counts an approximation of it."""
    if trials <= 0:
        return UNKNOWN
    tail = (1.0 - confidence) / 2.0
    low = float(betaincinv(successes, trials - successes + 1, tail)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, trials - successes, 1.0 - tail)) if successes < trials else 1.0
    return Interval(successes / trials, low, high)


def upper_bound(successes: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """Exact one-sided upper bound of a binomial rate (Clopper-Pearson)."""
    if trials <= 0:
        return math.nan
    return 1.0 if successes >= trials else float(betaincinv(successes + 1, trials - successes, confidence))


def rate(hit: Flags, weight: Floats) -> Interval:
    """Weighted share of hits (Hajek) with a binomial interval at the effective number of claims."""
    if not len(weight):
        return UNKNOWN
    share = float(np.sum(weight[hit]) / np.sum(weight))
    number = effective(weight)
    return clopper_pearson(share * number, number)


@dataclass(frozen=True)
class TopK:
    """What reviewers would find who look at the k highest scores of each day; means over days.

    `precision` counts claims whose label is known; `at_least` counts the others as honest.
    """

    k: int
    days: int
    reviewed: int
    reviewed_known: int
    precision: Interval
    at_least: Interval
    recall: Interval


def top_k(
    score: Floats, day: Integers, known: Flags, abuse: Flags, *, k: int, resamples: int, rng: np.random.Generator
) -> TopK:
    """The daily top k; days are resampled whole. Equal scores: the earlier row first."""
    order = np.lexsort((np.arange(len(score)), -score, day))
    _, start, size = np.unique(day[order], return_index=True, return_counts=True)
    chosen = np.zeros(len(score), dtype=bool)
    chosen[order] = np.arange(len(score)) - np.repeat(start, size) < k
    number = np.unique(day, return_inverse=True)[1]

    def by_day(mask: Flags) -> Floats:
        return np.bincount(number[mask], minlength=len(size)).astype(np.float64)

    looked, judged, found, all_abuse = by_day(chosen), by_day(chosen & known), by_day(chosen & abuse), by_day(abuse)
    return TopK(
        k=k,
        days=len(size),
        reviewed=int(looked.sum()),
        reviewed_known=int(judged.sum()),
        precision=_mean_of_days(found, judged, resamples, rng),
        at_least=_mean_of_days(found, looked, resamples, rng),
        recall=_mean_of_days(found, all_abuse, resamples, rng),
    )


def _mean_of_days(top: Floats, bottom: Floats, resamples: int, rng: np.random.Generator) -> Interval:
    """Mean of the days' ratios, over the days that have one."""
    ratios = top[bottom > 0] / bottom[bottom > 0]
    if len(ratios) < 2 or resamples < 2:
        return Interval(float(ratios.mean()) if len(ratios) else math.nan)
    means = rng.multinomial(len(ratios), np.full(len(ratios), 1.0 / len(ratios)), resamples) @ ratios / len(ratios)
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(means, (tail, 1.0 - tail))
    return Interval(float(ratios.mean()), float(low), float(high))
