"""Thresholds tested in a fixed order with an exact test: arrays in, values out; nothing here knows of claims or money.

What goes in is a sample in which each row is abusive with the probability that is to be shown to be small: claims drawn in
proportion to their amount, so that the share of abusive rows is, in expectation, the share of abused money.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, betaincinv

ASSUMED = 0.5
"""The first threshold has so many rows below it that its test succeeds, with probability `POWER`, if so much of alpha is true."""
STEP = 0.05
"""Each next threshold has so many more rows below it, as a share."""
POWER = 0.8
"""The chance of success that a first threshold is chosen for, and missing evidence is counted for."""
_MOST = 10**5


@dataclass(frozen=True)
class Tested:
    """One threshold and what lies at or below it: rows, abusive ones, and the upper bound of their share at the error."""

    threshold: float
    rows: int
    abusive: int
    bound: float
    passed: bool


def fewest(alpha: float, error: float) -> int:
    """Rows without any abuse that are needed to show at most `alpha` at an `error`."""
    return math.ceil(round(math.log(error) / math.log1p(-alpha), 9))


def passes(abusive: int, rows: int, alpha: float, error: float) -> bool:
    """The exact test: so few abusive rows, were their share `alpha`, would be seen with at most the probability `error`."""
    return rows > 0 and float(bdtr(abusive, rows, alpha)) <= error


def upper_bound(abusive: int, rows: int, error: float) -> float:
    """Clopper and Pearson's one-sided upper bound: it is at most alpha exactly where `passes` says so."""
    return 1.0 if abusive >= rows else float(betaincinv(abusive + 1, rows - abusive, 1.0 - error))


def candidates(score: NDArray[np.float64], alpha: float, error: float) -> Iterator[tuple[float, int]]:
    """Thresholds in the order in which they are tested, each with the rows at or below it; none where rows are too few.

    They depend on `score` (shape (rows,), ascending, up to 1) and on nothing else. A threshold lies just below the score of
    a row, and that row is not counted: given its score, the rows below it are an ordinary sample of what scores below.
    Rows of one score are therefore on one side together. The last threshold is 1, with all rows.
    """
    total, least = len(score), fewest(alpha, error)
    if total < least:
        return
    place, before = _first(alpha, error, total), 0
    while place < total:
        rows = int(np.searchsorted(score, score[place], side="left"))
        if rows >= max(least, before + 1):
            yield float(np.nextafter(score[place], -np.inf)), rows
            before = rows
        place = max(place + 1, math.ceil(place * (1 + STEP)))
    if total > before:
        yield 1.0, total


def _first(alpha: float, error: float, total: int) -> int:
    """Rows below the first threshold: at most half of all where little was drawn, or else it would have to take all of it."""
    starts = _starts(alpha, error)
    return int(starts[starts <= max(int(starts[0]), total // 2)][-1])


@lru_cache(maxsize=64)
def _starts(alpha: float, error: float) -> NDArray[np.int64]:
    """Numbers of rows for which one abusive row more is allowed than for one row less, up to what a first threshold needs."""
    most = needed(alpha, error, ASSUMED * alpha) or fewest(alpha, error)
    counts = _rows_for(np.arange(max(1, math.ceil(most * alpha) + 1)), alpha, error)
    return counts[counts <= most]


def fixed_sequence(
    score: NDArray[np.float64], abusive: NDArray[np.bool_], *, alpha: float, error: float
) -> tuple[Tested, ...]:
    """Test thresholds from the lowest up, and none beyond the first that fails.

    The last one that passed holds what it says, whatever the number of tests, with probability 1 - `error`: to be wrong,
    the first threshold above which it is not true would have to pass its own test. Shapes (rows,), in any order.
    """
    order = np.argsort(score, kind="stable")
    ranked, found = score[order], np.concatenate([[0], np.cumsum(abusive[order])])
    tested = []
    for threshold, rows in candidates(ranked, alpha, error):
        count = int(found[rows])
        passed = passes(count, rows, alpha, error)
        tested.append(Tested(threshold, rows, count, upper_bound(count, rows, error), passed))
        if not passed:
            break
    return tuple(tested)


def needed(alpha: float, error: float, rate: float, power: float = POWER) -> int | None:
    """The fewest rows with which the test succeeds with probability `power` if `rate` is the truth; None beyond a hundred thousand."""
    if rate >= alpha:
        return None
    # The more abusive rows a test may see, the more rows it needs, and the likelier it succeeds: look for the first doubling
    # of them that is likely enough, and then in it.
    most = 1
    while bdtr(most, rows := int(_rows_for(np.array([most]), alpha, error)[0]), rate) < power:
        if rows > _MOST:
            return None
        most *= 2
    abusive = np.arange(most // 2 if most > 1 else 0, most + 1)
    counts = _rows_for(abusive, alpha, error)
    found = int(counts[np.flatnonzero(bdtr(abusive, counts, rate) >= power)[0]])
    return found if found <= _MOST else None


def _rows_for(abusive: NDArray[np.int64], alpha: float, error: float) -> NDArray[np.int64]:
    """The fewest rows that may contain so many abusive ones and pass, shape (counts,)."""
    low, high = abusive.copy(), abusive + 1
    while (failing := bdtr(abusive, high, alpha) > error).any():
        high[failing] *= 2
    while (open_ := high - low > 1).any():
        middle = (low + high) // 2
        good = bdtr(abusive, middle, alpha) <= error
        high, low = np.where(open_ & good, middle, high), np.where(open_ & ~good, middle, low)
    return high
