"""One replay in, its figures out."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from risk.promise.certificate import Certificate, standing
from training.backtest.fairness import HALF_AND_MOST, fairness
from training.backtest.figures import (
    Buyers,
    Costs,
    Day,
    HourOfWeek,
    Load,
    Outcome,
    Payer,
    Platform,
    Reason,
    SegmentLine,
    Wait,
    Way,
)
from training.backtest.honest import Honest, honest_of
from training.backtest.replay import REASONS, Replay, Rules
from training.backtest.reviewers import HOUR
from training.backtest.stretch import DAY, local_hours
from training.backtest.truth import LetThrough, bound, let_through, together
from training.metrics import Floats, Integers


def outcome_of(
    way: Way,
    played: Replay,
    rules: Rules,
    gate: Integers,
    certificate: Certificate | None,
    *,
    plain: float | None,
    start: int,
    end: int,
    resamples: int,
    seed: int,
) -> Outcome:
    """All figures of a replay. `rules` give the segments and who would pay, also where the history itself decided."""
    stretch, approved, amount = played.stretch, played.approved, played.stretch.amount
    money = float(amount[approved].sum())
    segments = _segments(played, rules, gate, certificate, plain=plain, resamples=resamples, seed=seed)
    confidence = 1.0 - rules.appetite.promise.delta
    honest = honest_of(stretch.truth, rules.score)
    through = let_through(stretch.truth, amount, approved, resamples=resamples, rng=_rng(seed, 10))
    week = _week(played, start, end)
    bounds = [(line.approved_money, line.bound) for line in segments if line.approved_money]
    return Outcome(
        way=way,
        approved=int(approved.sum()),
        approved_share=float(approved.mean()),
        approved_money=money,
        approved_money_share=_ratio(money, float(amount.sum())),
        let_through=through,
        bound=together(bounds, confidence),
        buyers=buyers(played, honest),
        payers=_payers(played, rules, resamples=resamples, seed=seed),
        load=load(played, start, end, week),
        platform=_platform(played),
        costs=costs(played, honest, through),
        reasons=_reasons(played),
        segments=segments,
        week=week,
        days=_days(played, start, end),
        fairness=fairness(played, honest),
    )


def _rng(seed: int, *purpose: int) -> np.random.Generator:
    """Each purpose has its own random numbers: adding one leaves the others as they were."""
    return np.random.default_rng([seed, *purpose])


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _segments(
    played: Replay, rules: Rules, gate: Integers, certificate: Certificate | None, *, plain: float | None, resamples: int, seed: int
) -> tuple[SegmentLine, ...]:
    stretch, appetite = played.stretch, rules.appetite
    # The error is shared: the bounds hold for all segments together.
    confidence = 1.0 - appetite.promise.delta / max(1, len({*rules.segment[played.approved].tolist()}))
    lines = []
    for place, part in [*enumerate(appetite.segment), (-1, None)]:
        member = rules.segment == place
        chosen = member & played.approved
        if part is None and not chosen.any():
            continue
        moment = int(stretch.when[member].max()) if member.any() else int(stretch.when[-1])
        stands = standing(certificate, part, appetite, moment)
        # What the history approved beyond the appetite's segments has a line of its own.
        name = "none of the appetite's" if part is None else part.name
        lines.append(
            SegmentLine(
                name=name,
                claims=int(member.sum()),
                money=float(stretch.amount[member].sum()),
                eligible=int((member & (gate == 0)).sum()),
                threshold=float("nan") if part is None else _threshold(rules.threshold[member]),
                standing="no certificate asked for" if plain is not None else stands.detail,
                approved=int(chosen.sum()),
                approved_money=float(stretch.amount[chosen].sum()),
                alpha=appetite.promise.alpha if part is None else appetite.alpha_of(part),
                let_through=let_through(
                    stretch.truth, stretch.amount, chosen, resamples=resamples, rng=_rng(seed, 11, place + 1)
                ),
                bound=bound(stretch.truth, stretch.amount, chosen, stretch.facts["claim_id"], confidence),
            )
        )
    return tuple(lines)


def _threshold(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known[0]) if len(known) else float("nan")


def buyers(played: Replay, honest: Honest) -> Buyers:
    """What honest buyers see."""
    approved, hours, oracle = played.approved, played.waiting * 24.0, played.stretch.truth.oracle
    return Buyers(
        honest_claims=honest.total(np.ones(len(approved))),
        paid_at_once=honest.share(approved),
        true_paid_at_once=None if oracle is None or oracle.all() else float(approved[~oracle].mean()),
        wait=Wait(*honest.quantiles(hours, HALF_AND_MOST)),
        reviewed_wait=Wait(*honest.quantiles(hours, HALF_AND_MOST, ~approved)),
        lost=honest.total(_leaving(played)),
    )


def _leaving(played: Replay) -> Floats:
    """How much of a buyer leaves for having waited: each day the same share of those who are left."""
    return 1.0 - (1.0 - played.appetite.cost.leave_after_a_day) ** played.waiting


def costs(played: Replay, honest: Honest, through: LetThrough) -> Costs:
    """What the stretch costs: abuse paid for, reviewers' time, honest waiting, buyers who leave."""
    cost = played.appetite.cost
    money = float(played.stretch.amount[played.approved].sum())
    abuse = money * through.share.value if money else 0.0
    reviewing = len(played.arrivals) * cost.minutes_a_review * cost.reviewer_minute
    waiting = honest.total(played.waiting) * cost.honest_day_of_waiting
    lost = honest.total(_leaving(played)) * cost.lost_buyer
    return Costs(abuse, reviewing, waiting, lost, abuse + reviewing + waiting + lost, cost.currency)


def _payers(played: Replay, rules: Rules, *, resamples: int, seed: int) -> tuple[Payer, ...]:
    stretch, payer = played.stretch, rules.judged.payer
    names = sorted({name or "" for name in payer[played.approved]}, key=lambda name: (not name, name))
    lines = []
    for place, name in enumerate(names):
        chosen = played.approved & (payer == (name or None))
        through = let_through(stretch.truth, stretch.amount, chosen, resamples=resamples, rng=_rng(seed, 14, place))
        money = float(stretch.amount[chosen].sum())
        lines.append(Payer(name or "not covered", int(chosen.sum()), money, through))
    return tuple(sorted(lines, key=lambda line: -line.money))


def load(played: Replay, start: int, end: int, week: Sequence[HourOfWeek]) -> Load:
    """The reviewers' work in [start, end), hour by hour."""
    hours = played.by_hour(start, end)
    queue = played.waiting_cases(np.unique(played.arrivals))
    top = int(np.argmax(hours))
    return Load(
        reviews=int((~played.approved).sum()),
        audits=int(played.audited.sum()),
        capacity=played.appetite.review.capacity_per_hour,
        mean=float(hours.mean()),
        p95=float(np.quantile(hours, 0.95)),
        most=int(hours[top]),
        busiest=_iso(start + top * HOUR),
        week_most=max(line.cases for line in week),
        longest_queue=int(queue.max()) if len(queue) else 0,
        left_over=int(np.sum(played.done > end)),
        hours_over=float(np.mean(hours > played.appetite.review.capacity_per_hour)),
    )


def _platform(played: Replay) -> Platform:
    most, moment = played.outstanding
    return Platform(len(played.arrivals) * played.appetite.cost.minutes_a_review / 60.0, most, _iso(moment))


def _reasons(played: Replay) -> tuple[Reason, ...]:
    numbers = np.bincount(played.reason, minlength=len(REASONS))
    money = np.bincount(played.reason, played.stretch.amount, minlength=len(REASONS))
    found = [
        Reason(name, int(numbers[place]), float(numbers[place]) / len(played.reason), float(money[place]))
        for place, name in enumerate(REASONS)
        if place and numbers[place]
    ]
    return tuple(sorted(found, key=lambda line: -line.claims))


def _week(played: Replay, start: int, end: int) -> tuple[HourOfWeek, ...]:
    """Over the hours of the week that the stretch has; those that it lacks are left out."""
    weekday, hour = local_hours(start + HOUR * np.arange(max(1, -(-(end - start) // HOUR))))
    there = np.bincount(weekday * 24 + hour, minlength=168)
    cases = np.bincount(weekday * 24 + hour, played.by_hour(start, end), minlength=168)
    return tuple(
        HourOfWeek(place // 24, place % 24, float(cases[place] / there[place])) for place in range(168) if there[place]
    )


def _days(played: Replay, start: int, end: int) -> tuple[Day, ...]:
    stretch = played.stretch
    first, number = start // DAY, stretch.when // DAY - start // DAY
    size = max(1, -(-end // DAY) - first)
    waits, hours = ~played.approved, played.waiting * 24.0
    counts = {
        "claims": np.bincount(number, minlength=size),
        "money": np.bincount(number[played.approved], stretch.amount[played.approved], minlength=size),
        "reviews": np.bincount(number[waits], minlength=size),
        "audits": np.bincount(number[played.audited], minlength=size),
    }
    moments = np.unique(played.arrivals)
    queue = np.zeros(size, dtype=np.int64)
    np.maximum.at(queue, moments // DAY - first, played.waiting_cases(moments))
    # A queue that only shrinks is longest when its day begins.
    morning = played.waiting_cases(np.maximum(start, (first + np.arange(size)) * DAY))
    queue = np.maximum(queue, morning)
    order = np.argsort(number[waits], kind="stable")
    parts = np.split(hours[waits][order], np.cumsum(counts["reviews"])[:-1])
    return tuple(
        Day(
            day=str(np.datetime64(int(first + place), "D")),
            claims=int(counts["claims"][place]),
            approved_money=float(counts["money"][place]),
            reviews=int(counts["reviews"][place]),
            audits=int(counts["audits"][place]),
            queue=int(queue[place]),
            wait_p90=float(np.quantile(part, 0.9)) if len(part) else float("nan"),
        )
        for place, part in enumerate(parts)
    )


def _iso(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1_000_000, UTC).isoformat()
