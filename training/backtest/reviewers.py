"""The reviewers as one desk that begins so many cases an hour: reviews in order of arrival, audits when no review waits."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
HOUR = 3_600_000_000
_NEVER = 2**62


@dataclass(frozen=True)
class Served:
    """When each review and each audit was finished (microseconds), in order of arrival."""

    reviews: Integers
    audits: Integers


def serve(reviews: Sequence[int], audits: Sequence[int], *, apart: int, takes: int) -> Served:
    """What arrived when (microseconds, ascending) is begun in turn, at least `apart` after the one before, and takes so long.

    Of what waits the reviews come first: their buyers wait, those of audits have their money.
    """
    free, i, j = 0, 0, 0
    done_reviews, done_audits = [0] * len(reviews), [0] * len(audits)
    while i < len(reviews) or j < len(audits):
        review = reviews[i] if i < len(reviews) else _NEVER
        audit = audits[j] if j < len(audits) else _NEVER
        begun = max(free, min(review, audit))
        free = begun + apart
        if review <= begun:
            done_reviews[i] = begun + takes
            i += 1
        else:
            done_audits[j] = begun + takes
            j += 1
    return Served(np.array(done_reviews, dtype=np.int64), np.array(done_audits, dtype=np.int64))


def backlog(arrived: Integers, finished: Integers, moments: Integers) -> Integers:
    """How many cases wait or are being looked at, at each moment."""
    return np.searchsorted(np.sort(arrived), moments, side="right") - np.searchsorted(
        np.sort(finished), moments, side="right"
    )
