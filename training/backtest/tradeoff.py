"""The trade-off that an owner picks from: approve more, let more through, review less; every row a replay of its own."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from training.backtest.figures import Row
from training.backtest.honest import honest_of
from training.backtest.outcome import costs
from training.backtest.replay import Prepared, Replay, Rules, replay, tolerated
from training.backtest.stretch import Stretch
from training.backtest.truth import let_through

QUANTILES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Shares of the claims that pass every other gate; 0 approves nothing, 1 all that the other gates allow."""


def tradeoff(
    stretch: Stretch,
    rules: Rules,
    prepared: Prepared,
    own: Replay,
    *,
    start: int,
    end: int,
    resamples: int,
    seed: int,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[Row, ...]:
    """Rows in order of the money that they approve, what the back-test is about (`own`) among them."""
    eligible = (prepared.gate == 0) & (rules.segment >= 0)
    scores = np.sort(rules.score[eligible])
    rows: list[Row] = []
    same: list[bool] = []
    for place, share in enumerate(QUANTILES):
        threshold = _threshold(scores, share)
        tell(f"trade-off {place + 1} of {len(QUANTILES)}")
        played = replay(stretch, rules.with_threshold(threshold), prepared)
        if not rows or threshold != rows[-1].threshold:
            rows.append(_row(played, share, threshold, rules, start, end, resamples, seed))
            same.append(bool((played.approved == own.approved).all()))
    if any(same):
        # What was asked is a row of the table already.
        rows = [replace(row, own=place == same.index(True)) for place, row in enumerate(rows)]
        return _marked(rows, None)
    mine = replace(_row(own, float("nan"), float("nan"), rules, start, end, resamples, seed), name="own", own=True)
    return _marked(rows, mine)


def _threshold(scores: np.ndarray, share: float) -> float:
    """The largest score of the lowest `share` of them; below all of them for none."""
    if share <= 0.0 or not len(scores):
        return -1.0
    return 1.0 if share >= 1.0 else float(scores[max(0, int(np.ceil(share * len(scores))) - 1)])


def _row(
    played: Replay, quantile: float, threshold: float, rules: Rules, start: int, end: int, resamples: int, seed: int
) -> Row:
    stretch, truth, approved = played.stretch, played.stretch.truth, played.approved
    # The same random numbers in every row: rows differ by what they approve and not by luck.
    through = let_through(truth, stretch.amount, approved, resamples=resamples, rng=np.random.default_rng([seed, 10]))
    hours, honest = played.by_hour(start, end), honest_of(truth, rules.score)
    money = float(stretch.amount[approved].sum())
    high = through.share.high
    within = True if not approved.any() else None if np.isnan(high) else bool(high <= tolerated(rules, stretch.amount, approved))
    return Row(
        name="nothing" if quantile == 0.0 else "all" if quantile == 1.0 else "part",
        quantile=quantile,
        threshold=threshold,
        approved_share=float(approved.mean()),
        approved_money=money,
        approved_money_share=money / float(stretch.amount.sum()) if stretch.amount.sum() else float("nan"),
        let_through=through.share,
        let_through_money=money * through.share.value if money else 0.0,
        true_let_through=through.true,
        reviews_per_hour=float(hours.mean()),
        reviews_per_hour_p95=float(np.quantile(hours, 0.95)),
        honest_paid_at_once=honest.share(approved).value,
        honest_wait_p90=honest.quantiles(played.waiting * 24.0, (0.9,))[0].value,
        costs=costs(played, honest, through),
        within=within,
    )


def _marked(rows: list[Row], own: Row | None) -> tuple[Row, ...]:
    if own is not None:
        near = min(range(len(rows)), key=lambda place: abs(rows[place].approved_money - own.approved_money))
        rows = [*(replace(row, nearest=place == near) for place, row in enumerate(rows)), own]
    rows = sorted(rows, key=lambda row: row.approved_money)
    totals = [row.costs.total for row in rows]
    if np.isfinite(totals).any():
        best = int(np.nanargmin(totals))
        rows[best] = replace(rows[best], cheapest=True)
    return tuple(rows)
