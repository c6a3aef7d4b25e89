"""The report in sentences, and what a reader has to be warned of."""

import math
from collections.abc import Sequence
from datetime import datetime

from training.metrics import Interval, TopK
from training.report.figures import Judgement, Population, Settings, Subject

NOT_KNOWN_MUCH = 0.10
"""From this share of unknown labels on, the figures may still move: abuse takes longer to be known than honesty."""
FEW_ABUSE = 100
_CLOSE = 2.5
"""An interval whose ends are further apart than this factor says nothing about its middle."""
NOTHING = "–"


def number(value: float | None, digits: int = 3) -> str:
    """A figure with a fixed number of decimals."""
    return NOTHING if _missing(value) else f"{value:,.{digits}f}"


def small(value: float | None) -> str:
    """An error or a probability that may be small."""
    return number(value, 4)


def percent(value: float | None) -> str:
    """A share in per cent."""
    return NOTHING if value is None or _missing(value) else f"{100 * value:.1f} %"


def fine(value: float | None) -> str:
    """A share that is small and matters, such as abuse among the approved."""
    return NOTHING if value is None or _missing(value) else f"{100 * value:.2f} %"


def count(value: float | None) -> str:
    """A whole number."""
    return number(value, 0)


def money(value: float | None) -> str:
    """Minor units shown as whole major units."""
    return NOTHING if value is None or _missing(value) else f"{value / 100:,.0f}"


FORMATS = {"number": number, "small": small, "percent": percent, "fine": fine, "count": count, "money": money}


def day(moment: str) -> str:
    """A moment without what says nothing: seconds, the offset of UTC, midnight."""
    return moment[:16].replace("T", " ").removesuffix(" 00:00")


def _missing(value: float | None) -> bool:
    return value is None or math.isnan(value)


def _with_interval(interval: Interval, kind: str) -> str:
    shown = FORMATS[kind]
    if math.isnan(interval.low):
        return shown(interval.value)
    return f"{shown(interval.value)} ({shown(interval.low)} to {shown(interval.high)})"


def summary(subject: Subject, population: Population, main: Judgement, top: Sequence[TopK]) -> tuple[str, ...]:
    """The whole report in a few plain sentences."""
    share = fine(main.abuse_share.value)
    asked = (
        f"Bundle {subject.bundle} scored {count(population.claims)} claims submitted from {day(subject.start)} up to "
        f"{day(subject.end)}. Of {count(population.known)} of them ({percent(population.known_share)}) the truth is "
        "known; "
        + (f"by weight {share} of all claims are abuse." if population.selective else f"{share} of those are abuse.")
    )
    return (asked, _ranks(main, top), _approves(subject, main), _means(main))


def _ranks(main: Judgement, top: Sequence[TopK]) -> str:
    if main.discrimination is None:
        return "Only one kind of claim is among the known labels, so how well scores rank cannot be said."
    better = 100 * main.discrimination.auc.value
    return (
        f"Given one abusive and one honest claim, it scores the abusive one higher {better:.0f} times in 100. "
        f"Reviewers who look at the {top[len(top) // 2].k} highest scores of each day would find abuse in "
        f"{percent(top[len(top) // 2].precision.value)} of those whose truth is known."
    )


def _approves(subject: Subject, main: Judgement) -> str:
    own = main.own.approval
    if own.approved_share == 0.0:
        return f"At its plain threshold of {small(subject.threshold)} nothing would be approved at once."
    return (
        f"At its plain threshold of {small(subject.threshold)} it would approve {percent(own.approved_share)} of the claims and "
        f"{percent(own.approved_money_share)} of the money at once; "
        f"{_with_interval(main.own.let_through_share, 'fine')} of that money goes to abuse, "
        f"and {count(own.to_review)} claims are left for reviewers."
    )


def _means(main: Judgement) -> str:
    ratio = main.calibration.low_risk_ratio
    if math.isnan(ratio.value):
        return (
            "No abuse is known in the low-risk 60 % of the claims: how far its probabilities hold there cannot be said."
        )
    verdict = (
        "about right" if ratio.high < _CLOSE * ratio.low else "not clearly wrong, but there are too few labels to say"
    )
    if ratio.high < 1.0:
        verdict = "too low: it trusts these buyers more than it should"
    elif ratio.low > 1.0:
        verdict = "too high: it is more careful there than it needs to be"
    times = number(ratio.value, 2)
    return f"In the low-risk 60 % of the claims it predicts {times} times the true abuse, which is {verdict}."


def warnings(
    subject: Subject, population: Population, main: Judgement, top: Sequence[TopK], settings: Settings
) -> tuple[str, ...]:
    """What limits the figures, gravest first."""
    found = []
    if _overlaps(subject):
        found.append(
            f"The bundle was trained on claims until {day(subject.trained_until)}, and the stretch begins on "
            f"{day(subject.start)}: it is judged on claims that it has seen, or whose parties it has. "
            "These figures flatter."
        )
    if population.not_known_share > NOT_KNOWN_MUCH and not population.selective:
        found.append(
            f"The truth about {percent(population.not_known_share)} of the claims is not known. If that is for want of "
            "time, abuse shares are too low, for abuse is known later than honesty: end the stretch earlier, or wait. "
            "If labels never come for some claims, the figures speak only of those that got one."
        )
    if population.selective:
        found.append(
            f"{count(population.drawn)} labels come of audits drawn by chance; approved claims that were not drawn "
            f"have none. The figures are {main.weighting}; the labels are worth {count(population.effective)} equally "
            "weighted ones. Both versions stand side by side under “Two ways to count”."
        )
    elif population.audited:
        found.append(
            f"{count(population.drawn)} labels come of audits drawn by chance among all claims, the others from "
            "wherever labels came. The figures count each label once; what the drawn ones alone say, fewer "
            "but free of choice, stands beside it under “Two ways to count”."
        )
    if main.discrimination is None:
        kind = "abuse" if population.abuse else "legitimate"
        found.append(f"All known labels are “{kind}”: curves, AUC and recalls cannot be drawn.")
    elif population.abuse < FEW_ABUSE:
        found.append(
            f"Only {count(population.abuse)} claims are known to be abuse: intervals are wide, read them first."
        )
    if main.own.approval.approved_share == 0.0:
        found.append(
            "No claim of the stretch scores at or below the bundle's threshold: nothing would be approved at once."
        )
    middle = top[len(top) // 2]
    if middle.reviewed and middle.reviewed_known < 0.8 * middle.reviewed:
        found.append(
            f"Of the claims in the daily top {middle.k} only {percent(middle.reviewed_known / middle.reviewed)} have a "
            "known label; the precision counts these alone."
        )
    if settings.resamples < 100:
        found.append(f"Intervals rest on {settings.resamples} resamples only; 500 or more are steadier.")
    return tuple(found)


def _overlaps(subject: Subject) -> bool:
    try:
        until = datetime.fromisoformat(subject.trained_until)
        start = datetime.fromisoformat(subject.start)
    except ValueError:
        return False
    return (until if until.tzinfo else until.replace(tzinfo=start.tzinfo)) > start
