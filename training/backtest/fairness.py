"""Honest claims of new buyers, small merchants, regions and categories beside those of all: approval at once, and waiting."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from risk.promise.appetite import Fairness as Allowed
from training.backtest.figures import Fairness, Group, Wait
from training.backtest.replay import Replay
from training.backtest.stretch import REGION, Stretch
from training.backtest.truth import quantiles
from training.metrics import CONFIDENCE, Flags, Floats, Interval, rate
from training.report.segments import NOT_GIVEN, largest

_BLOCK = 2_000_000
"""Random numbers drawn at a time."""
_SHARES = (0.5, 0.9)


def fairness(played: Replay, *, resamples: int, seed: int) -> tuple[Fairness, ...]:
    """Each way to look; gaps are to all honest claims, of which those of the group are a part."""
    found = []
    for place, (title, note, names) in enumerate(_ways(played.stretch, played.appetite.fairness)):
        rng = np.random.default_rng([seed, 20, place])
        found.append(Fairness(title, note, () if names is None else _groups(played, names, resamples, rng)))
    return tuple(found)


def _ways(stretch: Stretch, allowed: Allowed) -> Iterator[tuple[str, str, np.ndarray | None]]:
    days, few = allowed.new_buyer_days, allowed.small_merchant_orders
    age = stretch.account_days
    new = np.where(np.isnan(age), "no order before", np.where(age < days, f"under {days:g} days", f"{days:g} days or more"))
    yield "Age of the buyer", "Since the account was opened; where that is not told, since the first order of the last year.", new
    small = np.where(stretch.merchant_orders < few, f"fewer than {few:,} orders", f"{few:,} orders or more")
    yield "Size of the merchant", "Orders in the 365 days before the claim.", small
    if stretch.region is None:
        yield "Region", f"No region in this history: a column {REGION} of its claims would be one.", None
    else:
        yield "Region", f"The history's own column {REGION}.", _named(stretch.region)
    category = np.array([None if path is None else path.split(".")[0] for path in stretch.facts["category"]], dtype=object)
    yield "Category", "The first part of the category's path.", _named(category)


def _named(words: np.ndarray) -> np.ndarray:
    return largest(pd.Series(words, dtype=object)).to_numpy(object)


def _groups(played: Replay, names: np.ndarray, resamples: int, rng: np.random.Generator) -> tuple[Group, ...]:
    truth, allowed = played.stretch.truth, played.appetite.fairness
    words, codes = np.unique(names.astype(str), return_inverse=True)
    honest = truth.honest
    drawn = _resampled(played, codes[honest], len(words), resamples, rng)
    groups = [_group(played, str(word), codes == place, drawn, place, allowed) for place, word in enumerate(words)]
    return tuple(sorted(groups, key=lambda group: (group.name == NOT_GIVEN, -group.claims, group.name)))


class _Drawn:
    """Figures of all honest claims (last place) and of each group in resamples: shapes (resamples, groups + 1, ...)."""

    def __init__(self, approved: Floats, waits: Floats) -> None:
        self.approved, self.waits = approved, waits

    def interval(self, value: float, drawn: Floats) -> Interval:
        drawn = drawn[np.isfinite(drawn)]
        if len(drawn) < 2 or not np.isfinite(value):
            return Interval(value)
        tail = (1.0 - CONFIDENCE) / 2.0
        low, high = np.quantile(drawn, (tail, 1.0 - tail))
        return Interval(value, min(float(low), value), max(float(high), value))


def _resampled(played: Replay, codes: np.ndarray, size: int, resamples: int, rng: np.random.Generator) -> _Drawn:
    """The same resample of claims gives the figures of a group and those of all, so that their gap has an interval."""
    truth = played.stretch.truth
    honest = truth.honest
    hours = played.waiting[honest] * 24.0
    order = np.argsort(hours, kind="stable")
    hours, codes = hours[order], codes[order]
    weight, approved = truth.weight[honest][order], played.approved[honest][order]
    member = [np.flatnonzero(codes == place) for place in range(size)] + [np.arange(len(codes))]
    rates, waits = np.full((resamples, size + 1), np.nan), np.full((resamples, size + 1, len(_SHARES)), np.nan)
    block = max(1, _BLOCK // max(1, len(codes)))
    for start in range(0, resamples, block):
        rows = slice(start, min(start + block, resamples))
        times = weight * rng.poisson(1.0, (rows.stop - rows.start, len(codes)))
        for place, chosen in enumerate(member):
            if len(chosen):
                rates[rows, place], waits[rows, place] = _figures(times[:, chosen], approved[chosen], hours[chosen])
    return _Drawn(rates, waits)


def _figures(weight: Floats, approved: Flags, hours: Floats) -> tuple[Floats, Floats]:
    """Share approved and quantiles of waiting for each row of weights; `hours` ascending."""
    reached = np.cumsum(weight, axis=1)
    whole = reached[:, -1]
    some = whole > 0
    share = np.divide(weight[:, approved].sum(axis=1), whole, out=np.full(len(whole), np.nan), where=some)
    waits = np.full((len(whole), len(_SHARES)), np.nan)
    for row in np.flatnonzero(some):
        places = np.searchsorted(reached[row], np.array(_SHARES) * whole[row] * (1 - 1e-12))
        waits[row] = hours[np.minimum(places, len(hours) - 1)]
    return share, waits


def _group(played: Replay, name: str, member: Flags, drawn: _Drawn, place: int, allowed: Allowed) -> Group:
    truth, hours = played.stretch.truth, played.waiting * 24.0
    all_, own = truth.honest, truth.honest & member
    every, mine = rate(played.approved[all_], truth.weight[all_]), rate(played.approved[own], truth.weight[own])
    wait_all = quantiles(hours[all_], truth.weight[all_], _SHARES)
    wait = quantiles(hours[own], truth.weight[own], _SHARES)
    gap = drawn.interval(every.value - mine.value, drawn.approved[:, -1] - drawn.approved[:, place])
    longer = drawn.interval(float(wait[1] - wait_all[1]), drawn.waits[:, place, 1] - drawn.waits[:, -1, 1])
    judged = int(own.sum()) >= allowed.fewest
    warned = []
    if judged and gap.low > allowed.gap:
        warned.append("approval")
    if judged and longer.low > allowed.hours:
        warned.append("waiting")
    oracle = truth.oracle
    true = None if oracle is None else played.approved[member & ~oracle]
    return Group(
        name=name,
        claims=int(member.sum()),
        honest=int(own.sum()),
        judged=judged,
        paid_at_once=mine,
        wait=Wait(*(drawn.interval(float(wait[part]), drawn.waits[:, place, part]) for part in range(len(_SHARES)))),
        gap=gap,
        longer=longer,
        warned=tuple(warned),
        true_paid_at_once=None if true is None else float(true.mean()) if len(true) else float("nan"),
    )
