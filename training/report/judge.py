"""Scored claims in, figures out."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from risk.errors import HistoryError, Problem
from risk.reasons import load_reasons
from training.metrics import (
    UNKNOWN,
    Floats,
    Interval,
    Labelled,
    TopK,
    area,
    average_precision,
    effective,
    precision_at,
    ranking,
    rate,
    recall_at,
    roc_at,
    top_k,
)
from training.report.calibration import calibration
from training.report.claims import NEEDED, Stretch, read_stretch
from training.report.figures import (
    Discrimination,
    Figures,
    Gain,
    Judgement,
    Point,
    Population,
    Rate,
    Settings,
    Subject,
    Week,
)
from training.report.money import approvals, own_threshold, picture_thresholds, table_thresholds
from training.report.segments import segmentations
from training.report.words import summary, warnings

ROC_GRID = (np.arange(41) / 40.0) ** 2
"""Closer where false positives are few, which is where the service works."""
RECALL_GRID = np.arange(1, 41) / 40.0
UNWEIGHTED, WEIGHTED = (
    "each label counted once",
    "weighted by the inverse of the chance of having been labelled (Hajek)",
)
_USED = (*NEEDED, "audit_probability", "reason", "category_group", "account_age_hours")
_WEEK = 7


def judge(
    frame: pd.DataFrame,
    subject: Subject,
    gain: Sequence[Gain],
    settings: Settings,
    tell: Callable[[str], None] = lambda _: None,
) -> Figures:
    """All figures of a stretch of scored claims (columns: `training.dataset.scored_claims`).

    Raises HistoryError for a stretch without claims or without a known label, and for scores that are no probabilities.
    """
    if not len(frame):
        raise HistoryError([Problem("claims.submitted_at", f"no claim from {subject.start} to {subject.end}")])
    used = frame[[name for name in _USED if name in frame]].sort_values(["submitted_at", "claim_id"], kind="stable")
    stretch = read_stretch(used)
    if not stretch.known.any():
        detail = (
            f"of {len(stretch):,} claims from {subject.start} to {subject.end} none is known as abuse or legitimate"
        )
        raise HistoryError([Problem("labels.label", f"{detail}: there is nothing to judge the scores by")])
    population = _population(stretch)
    tell(f"judging {len(stretch):,} claims, {population.known:,} with a known label")
    unweighted = _judgement(stretch, used, subject, settings, UNWEIGHTED)
    weighted = None
    if stretch.drawn.any():
        tell("again, with weights for the labels that were drawn")
        weighted = _judgement(read_stretch(used, weighted=True), used, subject, settings, WEIGHTED)
    main = weighted if weighted and stretch.selective else unweighted
    top = _daily(stretch, settings)
    return Figures(
        subject=subject,
        settings=settings,
        population=population,
        summary=summary(subject, population, main, top),
        warnings=warnings(subject, population, main, top, settings),
        rates=_rates(unweighted, weighted),
        main=main,
        other=None if weighted is None else unweighted if main is weighted else weighted,
        top=top,
        weeks=_weeks(stretch, subject.threshold),
        gain=tuple(gain),
    )


def group_gain(names: Sequence[str], gains: Floats) -> tuple[Gain, ...]:
    """Split gain summed by reason group, largest first; the caller's own signals share a group."""
    table, whole = load_reasons(), float(np.sum(gains))
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        groups.setdefault(table.group_of(name), []).append(place)
    lines = [
        Gain(
            group=group,
            share=float(gains[places].sum()) / whole if whole > 0 else float("nan"),
            features=len(places),
            used=int(np.sum(gains[places] > 0)),
            strongest=tuple(
                names[place] for place in sorted(places, key=lambda place: -gains[place])[:3] if gains[place] > 0
            ),
        )
        for group, places in groups.items()
    ]
    return tuple(sorted(lines, key=lambda line: (-line.share, line.group)))


def _judgement(
    stretch: Stretch, frame: pd.DataFrame, subject: Subject, settings: Settings, weighting: str
) -> Judgement:
    claims, resamples = stretch.labelled, settings.resamples
    everything = (stretch.score, stretch.amount)
    return Judgement(
        weighting=weighting,
        abuse_share=rate(claims.abuse, claims.weight),
        discrimination=_discrimination(claims, settings) if claims.both_classes else None,
        calibration=calibration(claims, resamples=resamples, rng=_rng(settings, 2)),
        own=own_threshold(
            *everything, stretch.known, claims, subject.threshold, resamples=resamples, rng=_rng(settings, 3)
        ),
        table=approvals(*everything, claims, table_thresholds(stretch.score)),
        picture=approvals(*everything, claims, picture_thresholds(stretch.score)),
        segments=segmentations(stretch, frame, subject.threshold, resamples=resamples, seed=settings.seed),
    )


def _rng(settings: Settings, purpose: int) -> np.random.Generator:
    """Each purpose has its own random numbers: adding one leaves the others as they were."""
    return np.random.default_rng([settings.seed, purpose])


def _discrimination(claims: Labelled, settings: Settings) -> Discrimination:
    ranked = ranking(claims, resamples=settings.resamples, rng=_rng(settings, 1))

    def points(grid: Floats, figure: Callable[..., Floats]) -> tuple[Point, ...]:
        low, high = ranked.band(lambda line: figure(line, grid))
        lines = zip(grid, figure(ranked.exact, grid), low, high, strict=True)
        return tuple(
            Point(float(x), Interval(float(y), min(float(a), float(y)), max(float(b), float(y))))
            for x, y, a, b in lines
        )

    return Discrimination(
        auc=ranked.interval(area),
        average_precision=ranked.interval(average_precision),
        recall_at_1_percent=ranked.interval(lambda line: recall_at(line, 0.01)),
        recall_at_5_percent=ranked.interval(lambda line: recall_at(line, 0.05)),
        roc=points(ROC_GRID, roc_at),
        precision_recall=points(RECALL_GRID, precision_at),
    )


def _population(stretch: Stretch) -> Population:
    known, undecided = int(stretch.known.sum()), int(stretch.undecided.sum())
    return Population(
        claims=len(stretch),
        money=float(stretch.amount.sum()),
        days=len(np.unique(stretch.day)),
        known=known,
        known_share=known / len(stretch),
        abuse=int(stretch.abuse.sum()),
        undecided=undecided,
        unlabelled=len(stretch) - known - undecided,
        not_known_share=1.0 - known / len(stretch),
        audited=bool(stretch.drawn.any()),
        selective=stretch.selective,
        drawn=int(stretch.drawn.sum()),
        effective=effective(stretch.inverse_weights),
    )


def _daily(stretch: Stretch, settings: Settings) -> tuple[TopK, ...]:
    capacities = sorted(
        {
            max(1, settings.top_k // 5),
            max(1, settings.top_k // 2),
            settings.top_k,
            2 * settings.top_k,
            5 * settings.top_k,
        }
    )
    return tuple(
        top_k(
            stretch.score,
            stretch.day,
            stretch.known,
            stretch.abuse,
            k=k,
            resamples=settings.resamples,
            rng=_rng(settings, 4),
        )
        for k in capacities
    )


def _rates(unweighted: Judgement, weighted: Judgement | None) -> tuple[Rate, ...]:
    def figures(version: Judgement) -> list[tuple[str, str, Interval]]:
        found = version.discrimination
        return [
            ("AUC", "number", found.auc if found else UNKNOWN),
            ("Average precision", "number", found.average_precision if found else UNKNOWN),
            ("Recall at 1 % false positives", "percent", found.recall_at_1_percent if found else UNKNOWN),
            ("Recall at 5 % false positives", "percent", found.recall_at_5_percent if found else UNKNOWN),
            ("Abuse among all claims", "fine", version.abuse_share),
            ("Abuse in the money approved at the threshold", "fine", version.own.let_through_share),
            (
                "Abuse among the claims approved at the threshold",
                "fine",
                Interval(version.own.approval.let_through_claims_share),
            ),
            (
                "Honest claims approved at the threshold",
                "percent",
                Interval(version.own.approval.honest_approved_share),
            ),
            ("Calibration error (ECE)", "small", Interval(version.calibration.ece)),
            ("Brier score", "small", version.calibration.brier),
            ("Log loss", "small", version.calibration.log_loss),
            ("Predicted over true, low-risk 60 %", "number", version.calibration.low_risk_ratio),
        ]

    other = [interval for *_, interval in figures(weighted)] if weighted else None
    return tuple(
        Rate(name, kind, interval, other[place] if other else None)
        for place, (name, kind, interval) in enumerate(figures(unweighted))
    )


def _weeks(stretch: Stretch, threshold: float) -> tuple[Week, ...]:
    number = (stretch.day - stretch.day.min()) // _WEEK
    return tuple(_week(stretch, number == week, threshold) for week in np.unique(number))


def _week(stretch: Stretch, member: np.ndarray, threshold: float) -> Week:
    known = stretch.known[member]
    return Week(
        first_day=str(np.datetime64(int(stretch.day[member].min()), "D")),
        claims=int(member.sum()),
        known_share=float(known.mean()),
        abuse_share=float(stretch.abuse[member].sum() / known.sum()) if known.any() else float("nan"),
        mean_score=float(stretch.score[member].mean()),
        approved_share=float(np.mean(stretch.score[member] <= threshold)),
    )
