"""Tables as plain dictionaries of arrays, and the few operations on them that every other module needs."""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Columns = dict[str, Array]

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
WEEK = 7 * DAY
NEVER = np.iinfo(np.int64).max  # a time that has not come; written as null


def length(columns: Columns) -> int:
    """Rows in a table."""
    return len(next(iter(columns.values())))


def take(columns: Columns, index: Array) -> Columns:
    """The rows at `index` (positions or a mask), in that order."""
    return {name: values[index] for name, values in columns.items()}


def stack(parts: Sequence[Columns]) -> Columns:
    """Tables with the same columns, one under the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def pick(rng: np.random.Generator, cumulative: Array, count: int) -> Array:
    """Draw positions in proportion to weights whose running sum is `cumulative`."""
    drawn = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
    return np.minimum(drawn, len(cumulative) - 1)


def choose(rng: np.random.Generator, weights: Sequence[float] | Array, count: int) -> Array:
    """Draw positions in proportion to `weights`."""
    return pick(rng, np.cumsum(np.asarray(weights, dtype=float)), count)


def lognormal(rng: np.random.Generator, median: float | Array, spread: float | Array, count: int) -> Array:
    """Positive numbers around a median; `spread` is the deviation of the logarithm."""
    return np.asarray(median) * np.exp(np.asarray(spread) * rng.standard_normal(count))


def whole_seconds(times: Array) -> Array:
    """One precision for every time, so that no digit tells who wrote the row. `NEVER` stays."""
    return np.where(times == NEVER, NEVER, times // SECOND * SECOND)


def scramble(numbers: Array, kind: str, seed: int) -> npt.NDArray[np.uint64]:
    """Turn running numbers into ids that tell nothing: a bijection on 64 bits (the finaliser of SplitMix64)."""
    salt = (zlib.crc32(kind.encode()) * 0x9E3779B97F4A7C15 + seed * 0xD1342543DE82EF95) % 2**64
    mixed = numbers.astype(np.int64).view(np.uint64) ^ np.uint64(salt)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    result: npt.NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return result


def in_order(times: Array, ids: npt.NDArray[np.uint64]) -> Array:
    """Positions sorted by time, then id."""
    return np.lexsort((ids, times))
