"""The back-test in sentences: its outcome, what a reader has to be warned of, and the plain table for a terminal."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from risk.promise.appetite import Appetite
from training.backtest.figures import Fairness, Figures, Outcome, Row, Subject
from training.metrics import Interval
from training.report.words import FORMATS as REPORT_FORMATS
from training.report.words import NOTHING, count, day, fine, money, number, percent, small

DESIGNS = {
    "drawn": "Every claim had a known chance to be drawn for a look; the drawn ones speak for all, each for 1 / its chance",
    "mixed": "Of the claims that were approved in the history the drawn ones speak, each for 1 / its chance; of the reviewed "
    "ones those with a label stand evenly for those without",
    "labels": "No chances of being drawn are known: each label counts once, whoever gave it",
    "nothing": "No label is known",
}
REASON_WORDS = {
    "facts": "facts of the claim contradict each other",
    "order": "the order is known otherwise",
    "order_amount": "more than is left of the order, or than may be approved at once",
    "cover": "no guarantee covers the claim",
    "remedy": "the guarantee gives another remedy",
    "cover_amount": "more than the guarantee covers",
    "express": "may not be paid before the goods are back or a person has looked",
    "segment": "fits no segment of the appetite",
    "certificate": "no certificate allows a threshold",
    "score": "score above the threshold",
    "history": "so decided by the history",
    **{f"quota_{kind}": f"no room in the quota of the {kind}" for kind in ("buyer", "device", "merchant", "guarantee", "hour", "day")},
    "quota_address": "no room in the quota of the address",
    "quota_payment": "no room in the quota of the payment instrument",
}
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAYS = 72.0
_OPEN_MUCH = 0.05
_MOST_WITHOUT_POLICY = 0.01
_FEW_LABELS = 300


def hours(value: float | None) -> str:
    """A length of time: minutes below an hour, days from 72 hours on."""
    if value is None or math.isnan(value):
        return NOTHING
    if abs(value) < 1.0:
        return f"{60 * value:.0f} min"
    return f"{value:.1f} h" if abs(value) < _DAYS else f"{value / 24.0:.1f} days"


def one(value: float | None) -> str:
    """A figure with one decimal."""
    return number(value, 1)


def points(value: float | None) -> str:
    """A difference of shares, with its sign."""
    return NOTHING if value is None or math.isnan(value) else f"{100 * value:+.1f} %"


def later(value: float | None) -> str:
    """A difference of lengths of time, with its sign."""
    text = hours(value)
    return text if value is None or text == NOTHING or value < 0 else f"+{text}"


def whole_percent(value: float | None) -> str:
    """A share in whole per cent."""
    return NOTHING if value is None or math.isnan(value) else f"{100 * value:.0f} %"


FORMATS = REPORT_FORMATS | {"hours": hours, "one": one, "points": points, "later": later, "whole_percent": whole_percent}


def between(interval: Interval, form: str) -> str:
    """A figure with its interval in brackets."""
    shown = FORMATS[form]
    if math.isnan(interval.low):
        return shown(interval.value)
    return f"{shown(interval.value)} ({shown(interval.low)} to {shown(interval.high)})"


def loud(outcomes: Sequence[Outcome]) -> str:
    """What a reader must not miss."""
    own = outcomes[0]
    if own.way.kind == "uncertified":
        return "Uncertified: these approvals rest on a plain threshold. The service would approve none of them."
    if not own.approved and own.way.kind == "nothing":
        return "Nothing is approved at once: the bundle has no certificate. Every claim goes to a person."
    if not own.approved:
        return "Nothing is approved at once: every claim goes to a person."
    if any(outcome.way.kind == "uncertified" for outcome in outcomes):
        return "Uncertified: the approvals of the comparison rest on a plain threshold. The service would approve none of them."
    return ""


def summary(subject: Subject, outcomes: Sequence[Outcome], alpha: float) -> tuple[str, ...]:
    """The outcome in five sentences."""
    own = outcomes[0]
    return (
        _approves(subject, own, outcomes[1:]),
        _lets_through(subject, own, alpha),
        _buyers(own),
        _reviewers(own),
        _costs(own, outcomes[1:]),
    )


def _approves(subject: Subject, own: Outcome, others: Sequence[Outcome]) -> str:
    said = (
        f"Of {count(subject.claims)} claims {percent(own.approved_share)} would have been approved at once, "
        f"{money(own.approved_money)} of {money(subject.money)} ({percent(own.approved_money_share)} of the money)"
    )
    return said + "".join(f"; {other.way.name}: {percent(other.approved_share)}, {money(other.approved_money)}" for other in others) + "."


def _lets_through(subject: Subject, own: Outcome, alpha: float) -> str:
    if not own.approved:
        return "Nothing is let through, for nothing is approved."
    through = own.let_through
    if math.isnan(through.share.value):
        return "How much of the approved money is abuse cannot be said: no label is known among the approved claims."
    exact = ""
    if own.bound.value is not None:
        exact = f", with {whole_percent(own.bound.confidence)} confidence at most {fine(own.bound.value)} by {count(own.bound.drawn)} drawn claims"
    true = "" if through.true is None else f" (truly {fine(through.true)})"
    return (
        f"Of that money an estimated {between(through.share, 'fine')} is abuse{exact}{true}; the appetite tolerates "
        f"{fine(alpha)}."
    )


def _buyers(own: Outcome) -> str:
    if math.isnan(own.buyers.paid_at_once.value):
        return "What honest buyers see cannot be said: no claim is known to be honest."
    return (
        f"{between(own.buyers.paid_at_once, 'percent')} of the honest claims are paid at once; of those that a person looks "
        f"at, half are decided within {hours(own.buyers.reviewed_wait.median.value)} and nine of ten within "
        f"{hours(own.buyers.reviewed_wait.p90.value)}."
    )


def _reviewers(own: Outcome) -> str:
    load = own.load
    over = f", more than they can do in {percent(load.hours_over)} of the hours" if load.hours_over else ""
    return (
        f"{one(load.mean)} cases an hour reach the reviewers ({one(load.p95)} in one hour of twenty or more), who can do "
        f"{one(load.capacity)}{over}; at the worst moment {count(load.longest_queue)} are waiting."
    )


def _costs(own: Outcome, others: Sequence[Outcome]) -> str:
    if math.isnan(own.costs.total):
        return "What it costs all together cannot be said."

    def of(outcome: Outcome) -> str:
        return NOTHING if math.isnan(outcome.costs.total) else f"{money(outcome.costs.total)} {outcome.costs.currency}"

    return f"All together it costs {of(own)}" + "".join(f"; {other.way.name}: {of(other)}" for other in others) + "."


def warnings(subject: Subject, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """What limits these very figures, and groups that are treated worse than the appetite allows."""
    found = [line for outcome in outcomes for line in _of_outcome(subject, outcome)]
    found += [line for look in outcomes[0].fairness for line in _unfair(look)]
    if subject.design == "nothing":
        found.append("No label is known in this stretch: abuse, honest buyers and costs cannot be said.")
    elif subject.design == "labels":
        found.append(
            "The history does not say with which chance claims were looked at. Each label counts once, and claims without "
            "one are taken to be like those with one: where reviewers chose what they looked at, this is wrong."
        )
    elif subject.design == "mixed":
        found.append(
            f"{count(subject.unlabelled_reviews)} claims that the history handed to a person have no label; those with one stand "
            "for them."
        )
    if subject.drawn and subject.open > _OPEN_MUCH * subject.drawn:
        found.append(
            f"{count(subject.open)} of {count(subject.drawn)} drawn claims have no label yet. Estimates leave them out, exact "
            "bounds count them as abuse. End the stretch earlier, or wait."
        )
    if 0 < subject.effective < _FEW_LABELS:
        found.append(f"The labels are worth {count(subject.effective)} equally weighted ones only: intervals are wide, read them first.")
    if len(subject.currencies) > 1:
        found.append(f"Amounts in {', '.join(subject.currencies)} are added up as they are, without rates.")
    return tuple(dict.fromkeys(found))


def caveats(subject: Subject, appetite: Appetite) -> tuple[str, ...]:
    """What the figures take for granted."""
    cost, review, allowed = appetite.cost, appetite.review, appetite.fairness
    return (
        f"{DESIGNS[subject.design]}. Undecided and missing labels are left out of estimates.",
        ("Intervals of shares of money are bootstrap intervals over claims: meant to hold the truth 95 times in 100, such "
        "intervals hold it about 86 to 92 times; here they are no narrower than an exact one on as many equally weighted "
        "claims. The exact bound holds as often as it says, for the rule as it was fixed "
        "beforehand; it needs claims drawn in proportion to their amounts, and counts drawn claims without a label as abuse. "
        "Rows of the trade-off have no such bound: whoever picks the best of many rows picks luck as well."),
        (f"Quotas begin empty, and money settles when the goods are back, or after {appetite.quota.settle_days:g} days. Early in "
        "the stretch quotas leave more room than they would have. An approval counts as lost from the moment at which the "
        "history's label says abuse, or its goods are overdue where the history tells of returns at all."),
        (f"Reviewers are one desk that begins {review.capacity_per_hour:g} cases an hour, day and night, in order of arrival, audits "
        f"when no review waits; a case takes {cost.minutes_a_review:g} minutes. What arrives before the stretch is not known."),
        (f"Costs are the appetite's: {money(cost.reviewer_minute)} {cost.currency} a reviewer's minute, "
        f"{money(cost.honest_day_of_waiting)} a day of an honest buyer's waiting, {money(cost.lost_buyer)} a lost buyer, of whom "
        f"{percent(cost.leave_after_a_day)} leave with each day of waiting. Reviewers are taken to let no abuse through."),
        ("Figures of honest claims take 1 - score as a guess for every claim and put it right by the labels, each for as many "
        "claims as it stands for; what was decided is known of all claims."),
        ("Values are those as of each claim, and labels known by then. In the history some labels came only because a person "
        "looked; had the claim been approved, some would not have come."),
        (f"A group is warned of where the 95 % interval of its gap to all honest claims lies beyond what the appetite allows "
        f"({percent(allowed.gap)} fewer approved at once, {hours(allowed.hours)} longer at the 90 % point of waiting) and it has "
        f"{allowed.fewest} labelled honest claims or more."),
        "Calls that fail and parts that are slow are not replayed; the service hands those claims to a person.",
    )


def _of_outcome(subject: Subject, outcome: Outcome) -> list[str]:
    way, found = outcome.way, []
    if way.kind != "history" and way.trained_until > subject.start:
        found.append(
            f"{way.bundle} was trained on claims until {day(way.trained_until)}, and the stretch begins on {day(subject.start)}: it "
            "is judged on claims that it has seen, or whose parties it has. These figures flatter."
        )
    if way.certified_on and way.certified_on > subject.start:
        found.append(
            f"{way.certificate} rests on claims until {day(way.certified_on)}: the stretch is in part what it was tested on, and "
            "its bounds are no fresh evidence."
        )
    if way.kind != "history" and way.without_policy > _MOST_WITHOUT_POLICY:
        found.append(
            f"No policy held, or it is not known when the order was paid, for {percent(way.without_policy)} of the claims ({way.name}): those go to a person."
        )
    return found


def _unfair(look: Fairness) -> list[str]:
    found = []
    for group in look.groups:
        if "approval" in group.warned:
            found.append(
                f"Honest claims of “{look.title}: {group.name}” are approved at once more rarely than all by "
                f"{between(group.gap, 'percent')}: more than the appetite allows."
            )
        if "waiting" in group.warned:
            found.append(
                f"Honest claims of “{look.title}: {group.name}” wait longer than all by {between(group.longer, 'hours')} at "
                "the 90 % point: more than the appetite allows."
            )
    return found


HEADINGS = ("approve", "claims", "money", "abuse let through", "of it", "reviews/h", "p95", "honest wait p90", "total cost", "")


def table(figures: Figures) -> str:
    """The trade-off as plain text."""
    lines = [HEADINGS, *(_cells(row) for row in figures.tradeoff)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) if place in (0, len(widths) - 1) else cell.rjust(width) for place, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    said = dataclasses.asdict(row)
    return (
        row_label(said),
        percent(row.approved_share),
        percent(row.approved_money_share),
        money(row.let_through_money),
        between(row.let_through, "fine"),
        one(row.reviews_per_hour),
        one(row.reviews_per_hour_p95),
        hours(row.honest_wait_p90),
        money(row.costs.total),
        marks(said),
    )


def row_label(row: Mapping[str, Any]) -> str:
    """What a line of the trade-off approves."""
    if row["name"] == "own":
        return "as asked"
    return {"nothing": "nothing", "all": "all that gates allow"}.get(row["name"], f"score to {small(row['threshold'])}")


def marks(row: Mapping[str, Any]) -> str:
    """What is special about a line."""
    said = [
        "this back-test" if row["own"] else "",
        "nearest to it" if row["nearest"] else "",
        "cheapest" if row["cheapest"] else "",
        "may exceed alpha" if row["within"] is False else "",
    ]
    return ", ".join(word for word in said if word)
