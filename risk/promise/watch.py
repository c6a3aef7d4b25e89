"""The watch: between two certificates it reads the audits of a segment and raises an alarm when the promise is broken.

It may be looked at after every audit, or never; the chance of a false alarm stays what it was set to.

A bet on abuse wins when an audit finds it and loses when not, at odds that are fair if the promise just holds: then no way
of betting multiplies its stake by 1 / level but with a chance of `level` (Ville). Several stakes are played side by side,
from cautious to bold, and new ones enter every so many audits, so that a change after a long good stretch is found too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STAKES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
"""Parts of the largest stake 1 / alpha that are bet on each audit."""
EVERY = 250
"""A new run of bets enters after so many audits."""


@dataclass(frozen=True)
class Watched:
    """What the audits of a segment have shown so far.

    `value` is what 1 put on abuse has become, `highest` the most it ever was, `alarm_at` the number of audits after which
    it first reached 1 / level.
    """

    value: float
    highest: float
    alarm_at: int | None
    audits: int
    abusive: int


def watch(outcomes: Sequence[int] | NDArray[np.int8], alpha: float, level: float) -> Watched:
    """Read audits in the order of their decisions: 1 for abuse and for what is overdue, 0 for the rest, pending ones too.

    They have to be drawn in proportion to their amount. Raises ValueError for other outcomes, and for shares that are none.
    """
    if not (0 < alpha < 1 and 0 < level < 1):
        raise ValueError(f"shares between 0 and 1 are expected, not {alpha} and {level}")
    found = np.asarray(outcomes, dtype=np.int64)
    if found.ndim != 1 or not np.isin(found, (0, 1)).all():
        raise ValueError("outcomes are 0 or 1, one an audit")
    path = log_values(found, alpha)
    reached = np.flatnonzero(path >= -math.log(level))
    return Watched(
        value=_exp(path[-1]) if len(path) else 1.0,
        highest=_exp(max(0.0, float(path.max(initial=0.0)))),
        alarm_at=int(reached[0]) + 1 if len(reached) else None,
        audits=len(found),
        abusive=int(found.sum()),
    )


def log_values(outcomes: NDArray[np.int64], alpha: float) -> NDArray[np.float64]:
    """The logarithm of the value after each audit, shape (audits,).

    Run k = 1, 2, ... enters after (k - 1) * EVERY audits with the weight 6 / (pi k)^2; until then it is worth 1. All
    weights are 1 together, so the value begins at 1 and, if the promise holds, is not expected to grow.
    """
    count = len(outcomes)
    stakes = np.array(STAKES)[:, None] / alpha
    # After an audit each bet is worth what it was times one of two factors: 1 - s alpha, or 1 + s (1 - alpha).
    steps = np.where(outcomes == 1, np.log1p(stakes * (1.0 - alpha)), np.log1p(-stakes * alpha))
    total = np.concatenate([np.zeros((len(STAKES), 1)), np.cumsum(steps, axis=1)], axis=1)
    path = np.empty(count)
    weights = 6.0 / (math.pi * np.arange(1, count // EVERY + 2)) ** 2
    # log of sum over entered runs of w_k * exp(-total[s, start_k]), for each stake, grows run by run.
    held = np.full(len(STAKES), -np.inf)
    for run, weight in enumerate(weights):
        start = run * EVERY
        held = np.logaddexp(held, math.log(weight) - total[:, start])
        end = min(start + EVERY, count)
        if end == start:
            continue
        worth = _logsumexp(held[:, None] + total[:, start + 1 : end + 1]) - math.log(len(STAKES))
        waiting = 1.0 - float(weights[: run + 1].sum())
        path[start:end] = np.logaddexp(worth, math.log(waiting))
    return path


def _logsumexp(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.logaddexp.reduce(terms, axis=0))


def _exp(value: float) -> float:
    """Never infinite: what is beyond all bounds is an alarm anyway, and JSON has no infinity."""
    return math.exp(min(float(value), 700.0))
