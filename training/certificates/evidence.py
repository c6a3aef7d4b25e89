"""From drawn claims to what a certificate says of a segment, in figures and in a sentence."""

import math
from dataclasses import dataclass

import numpy as np

from risk.promise.appetite import Appetite, Segment
from risk.promise.certificate import Evidence, Point
from training.certificates.drawn import Drawn, Pool, drawn
from training.certificates.sequence import ASSUMED, POWER, Tested, fewest, fixed_sequence, needed


@dataclass(frozen=True)
class Judged:
    """One segment: its evidence, and what else a person has to know."""

    evidence: Evidence
    notes: tuple[str, ...] = ()
    refused: str | None = None
    """Why no evidence of this stretch could ever be tested, if that is so."""


def judged(pool: Pool, segment: Segment, appetite: Appetite) -> Judged:
    """Test the thresholds of one segment."""
    alpha, error = appetite.alpha_of(segment), appetite.error
    least = fewest(alpha, error)
    if pool.without_draw:
        said = (
            f"{pool.without_draw:,} of {len(pool):,} claims were approved without a chance of being drawn for an audit: "
            "nothing can be said of them"
        )
        return Judged(_untested(alpha, error, said), refused=f"{said}; certify a stretch in which every approval could be drawn")
    if pool.full < least:
        said = (
            f"even if all {len(pool):,} claims were audited in proportion to their amounts, only about {pool.full:,.0f} would "
            f"count, and {least:,} are needed without any abuse"
        )
        return Judged(_untested(alpha, error, said, missing=least), refused=f"{said}; a longer stretch, or a larger alpha or delta")
    sample = drawn(pool)
    notes = _notes(sample, pool)
    tested = fixed_sequence(sample.score, sample.bad, alpha=alpha, error=error)
    if not tested:
        return Judged(_short(sample, alpha, error, least), notes)
    last = next((one for one in reversed(tested) if one.passed), None)
    told = last or tested[0]
    shares = np.cumsum(pool.money[order := np.argsort(pool.score, kind="stable")]) / pool.full
    ranked = pool.score[order]

    def share(threshold: float) -> float:
        below = int(np.searchsorted(ranked, threshold, side="right"))
        return float(shares[below - 1]) if below else 0.0

    status, missing, detail = ("certified", 0, _held(last, share(last.threshold))) if last else _failed(tested[0], sample, alpha, error)
    evidence = Evidence(
        alpha=alpha,
        error=error,
        status=status,
        threshold=last.threshold if last else None,
        drawn=told.rows,
        abusive=told.abusive,
        unresolved=int(sample.unresolved[sample.score <= told.threshold].sum()),
        bound=told.bound,
        missing=missing,
        detail=detail,
        curve=tuple(Point(threshold=one.threshold, drawn=one.rows, abusive=one.abusive, bound=one.bound, money_share=share(one.threshold)) for one in tested),
    )
    return Judged(evidence, notes)


def _untested(alpha: float, error: float, detail: str, *, count: int = 0, missing: int = 0) -> Evidence:
    return Evidence(
        alpha=alpha, error=error, status="not_enough_evidence", threshold=None, drawn=count, abusive=0, unresolved=0,
        bound=None, missing=missing, detail=f"not enough evidence yet, approve nothing here: {detail}", curve=(),
    )  # fmt: skip


def _short(sample: Drawn, alpha: float, error: float, least: int) -> Evidence:
    """Too few were drawn for any test: nobody has looked at what they turned out to be, and no look is used up."""
    wanted = needed(alpha, error, ASSUMED * alpha) or least
    missing = wanted - len(sample)
    said = (
        f"{len(sample):,} drawn claims, {least:,} are needed without any abuse; about {missing:,} more for a chance of "
        f"{POWER:.0%}, if {ASSUMED * alpha:.2%} of the money at low scores is abuse"
    )
    return _untested(alpha, error, said, count=len(sample), missing=missing)


def _held(last: Tested, share: float) -> str:
    return (
        f"{last.abusive:,} of {last.rows:,} drawn claims at or below {last.threshold:.4f} are abusive, at most {last.bound:.2%} "
        f"of the money; {share:.1%} of the money lies there"
    )


def _failed(first: Tested, sample: Drawn, alpha: float, error: float) -> tuple[str, int, str]:
    """Status, missing claims and a sentence where not even the lowest threshold passed."""
    rate = first.abusive / first.rows
    seen = f"{first.abusive:,} of the {first.rows:,} drawn claims with the lowest scores are abusive ({rate:.2%} of the money)"
    lying = int(sample.unresolved[sample.score <= first.threshold].sum())
    if rate >= alpha and first.abusive - lying < alpha * first.rows:
        said = f"{seen}, tolerated are {alpha:.2%}; {lying:,} of them count as abuse because nobody decided them in time: decide what is drawn"
        return "above_alpha", 0, f"approve nothing here: {said}"
    if rate >= alpha:
        said = f"{seen}, tolerated are {alpha:.2%}: no number of audits helps, a better model or a larger alpha does"
        return "above_alpha", 0, f"approve nothing here: {said}"
    wanted = needed(alpha, error, rate)
    if wanted is None:
        return "not_enough_evidence", 0, f"not enough evidence yet, approve nothing here: {seen}, too close to {alpha:.2%} to be told apart"
    # So many are missing below the lowest threshold; of all that are drawn, the same share lies there.
    missing = math.ceil((wanted - first.rows) * len(sample) / first.rows)
    said = f"{seen}, which does not show less than {alpha:.2%}; about {missing:,} more drawn claims for a chance of {POWER:.0%} at that rate"
    return "not_enough_evidence", missing, f"not enough evidence yet, approve nothing here: {said}"


def _notes(sample: Drawn, pool: Pool) -> tuple[str, ...]:
    if not sample.collapsed:
        return ()
    said = (
        f"claim {sample.rarest} had so small a chance of being drawn that all draws are thinned to {sample.rate:.4f} of the "
        f"amount's share of the largest; without the rarest hundredth of the {len(pool):,} claims it were {sample.without:.4f}"
    )
    return (said,)
