"""Honest claims of new buyers, small merchants, regions and categories beside those of all: approval at once, and waiting."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from risk.promise.appetite import Fairness as Allowed
from training.backtest.figures import Fairness, Group, Wait
from training.backtest.honest import Honest, difference
from training.backtest.replay import Replay
from training.backtest.stretch import REGION, Stretch
from training.metrics import Flags
from training.report.segments import NOT_GIVEN, largest

HALF_AND_MOST = (0.5, 0.9)
"""Points of waiting."""


def fairness(played: Replay, honest: Honest) -> tuple[Fairness, ...]:
    """Each way to look; gaps are to all honest claims, of which those of the group are a part."""
    return tuple(
        Fairness(title, note, () if names is None else _groups(played, honest, names))
        for title, note, names in _ways(played.stretch, played.appetite.fairness)
    )


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


def _groups(played: Replay, honest: Honest, names: np.ndarray) -> tuple[Group, ...]:
    words, codes = np.unique(names.astype(str), return_inverse=True)
    groups = [_group(played, honest, str(word), codes == place) for place, word in enumerate(words)]
    return tuple(sorted(groups, key=lambda group: (group.name == NOT_GIVEN, -group.claims, group.name)))


def _group(played: Replay, honest: Honest, name: str, member: Flags) -> Group:
    allowed, approved, hours = played.appetite.fairness, played.approved, played.waiting * 24.0
    labelled = int((honest.labelled & member).sum())
    gap = honest.gap(approved, member)
    wait = honest.quantiles(hours, HALF_AND_MOST, member)
    longer = difference(wait[1], honest.quantiles(hours, HALF_AND_MOST)[1])
    judged = labelled >= allowed.fewest
    oracle = played.stretch.truth.oracle
    return Group(
        name=name,
        claims=int(member.sum()),
        honest=labelled,
        judged=judged,
        paid_at_once=honest.share(approved, member),
        wait=Wait(*wait),
        gap=gap,
        longer=longer,
        warned=_warned(gap.low > allowed.gap, longer.low > allowed.hours) if judged else (),
        true_paid_at_once=None if oracle is None else _mean(approved[member & ~oracle]),
    )


def _warned(rarely: bool, long: bool) -> tuple[str, ...]:
    return (("approval",) if rarely else ()) + (("waiting",) if long else ())


def _mean(flags: Flags) -> float:
    return float(flags.mean()) if len(flags) else float("nan")
