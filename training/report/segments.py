"""The same figures by guarantee, category and age of the buyer's account."""

import zlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from training.metrics import UNKNOWN, Flags, Interval, Labelled, area, ranking, rate
from training.report.claims import Stretch
from training.report.money import money_share

GUARANTEE_OF_REASON = {
    "no_reason": "seven_day_return",
    "spoiled": "fresh_spoilage",
    "allergy": "beauty_allergy",
    "damaged": "damage_return",
    "not_received": "late_or_lost_delivery",
    "not_shipped": "late_or_lost_delivery",
    "counterfeit": "authenticity",
    "return_freight": "freight_insurance",
}
"""The guarantee that a reason calls upon. Whether it covers the claim is not judged here."""
OTHER_GUARANTEE, NOT_GIVEN, REST = "general quality", "not given", "others"
MOST = 20
"""Categories beyond the largest are summed up in one line."""
FEWEST = 10
"""Known claims of each class that an AUC needs."""
AGE_LIMITS = ((30 * 24.0, "under 30 days"), (365 * 24.0, "30 days to a year"), (np.inf, "over a year"))


@dataclass(frozen=True)
class Segment:
    """Figures of one group of claims. Shares of labels rest on claims whose label is known."""

    name: str
    claims: int
    known: int
    abuse: int
    abuse_share: Interval
    auc: Interval
    approved_share: float
    honest_approved: Interval
    let_through: Interval
    let_through_money: Interval


@dataclass(frozen=True)
class Segmentation:
    """One way to divide the claims."""

    title: str
    note: str
    rows: tuple[Segment, ...]


def segmentations(
    stretch: Stretch, frame: pd.DataFrame, threshold: float, *, resamples: int, seed: int
) -> tuple[Segmentation, ...]:
    """Each way to divide the claims; `frame` has `reason`, `category_group` and `account_age_hours` where known."""
    ways = (
        ("Guarantee", "What the claim's reason calls upon; whether it covers the claim is not judged here.",
         guarantee(_column(frame, "reason"))),
        ("Category", "The first part of the category's path.", largest(_column(frame, "category_group"))),
        ("Age of account", "From registration to the claim.", age_group(_column(frame, "account_age_hours"))),
    )  # fmt: skip
    return tuple(
        Segmentation(title, note, _rows(stretch, names, threshold, resamples=resamples, seed=seed))
        for title, note, names in ways
    )


def guarantee(reason: pd.Series) -> pd.Series:
    """The guarantee of each reason."""
    named = reason.map(GUARANTEE_OF_REASON).astype(object)
    return named.where(named.notna(), OTHER_GUARANTEE).where(reason.notna(), NOT_GIVEN)


def age_group(hours: pd.Series) -> pd.Series:
    """New, settled or old accounts; unknown where the registration is."""
    values = pd.to_numeric(hours, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    limits, names = zip(*AGE_LIMITS, strict=True)
    place = np.searchsorted(limits, values, side="right")
    return pd.Series(
        np.where(np.isnan(values), NOT_GIVEN, np.array(names)[np.minimum(place, len(names) - 1)]), dtype=object
    )


def largest(names: pd.Series) -> pd.Series:
    """Names, those beyond the `MOST` most frequent as one."""
    named = names.astype(object).where(names.notna(), NOT_GIVEN).astype(str)
    frequent = named.value_counts().index[:MOST]
    return named.where(named.isin(frequent), REST)


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    column = frame[name] if name in frame else pd.Series(np.full(len(frame), None, dtype=object))
    return column.reset_index(drop=True)


def _rows(stretch: Stretch, names: pd.Series, threshold: float, *, resamples: int, seed: int) -> tuple[Segment, ...]:
    codes, words = pd.factorize(names)
    segments = [
        # Each name has its own random numbers: a segment's interval does not depend on which others there are.
        _segment(
            str(word),
            stretch,
            codes == code,
            threshold,
            resamples,
            np.random.default_rng([seed, zlib.crc32(str(word).encode())]),
        )
        for code, word in enumerate(words)
    ]
    ages = [name for _, name in AGE_LIMITS]

    def place(segment: Segment) -> tuple[bool, int, str]:
        """Ages in their order, others largest first, what is left over last."""
        size = ages.index(segment.name) if segment.name in ages else -segment.claims
        return segment.name in (REST, NOT_GIVEN), size, segment.name

    return tuple(sorted(segments, key=place))


def _segment(
    name: str, stretch: Stretch, member: Flags, threshold: float, resamples: int, rng: np.random.Generator
) -> Segment:
    claims = stretch.labelled.where(member[stretch.counted])
    approved = claims.score <= threshold
    honest, passed = claims.where(~claims.abuse), claims.where(approved)
    return Segment(
        name=name,
        claims=int(member.sum()),
        known=len(claims),
        abuse=int(claims.abuse.sum()),
        abuse_share=rate(claims.abuse, claims.weight),
        auc=_auc(claims, resamples, rng),
        approved_share=float(np.mean(stretch.score[member] <= threshold)),
        honest_approved=rate(honest.score <= threshold, honest.weight),
        let_through=rate(passed.abuse, passed.weight),
        let_through_money=money_share(passed, resamples=resamples, rng=rng),
    )


def _auc(claims: Labelled, resamples: int, rng: np.random.Generator) -> Interval:
    """Unknown with fewer than `FEWEST` of a class: resampling two abusive claims gives a narrow and wrong interval."""
    if min(int(claims.abuse.sum()), int((~claims.abuse).sum())) < FEWEST:
        return UNKNOWN
    return ranking(claims, resamples=resamples, rng=rng).interval(area)
