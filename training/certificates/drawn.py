"""The claims that a certificate rests on: of each segment those that were drawn in proportion to their amount.

Every eligible claim of the stretch has a probability with which its label had to become known. A claim that was drawn for an
audit has the probability of that draw, whatever was decided; one that a person looked at without a draw has 1; one that was
approved without a draw has none, and where such claims are, nothing can be said. Thinning (`risk.promise.thin`) turns these
probabilities into c * amount / largest, with the largest c that all of them allow.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from ibis import _
from ibis.expr.types import Table
from numpy.typing import NDArray

from risk.promise.appetite import Segment
from risk.promise.thin import kept_of
from training.dataset import latest_labels
from training.history import History

Floats = NDArray[np.float64]
_COLLAPSED = 0.5
"""A claim is named where without it, and others like it, c would be larger than this many times it."""


@dataclass(frozen=True)
class Pool:
    """The eligible claims of one segment: `money` is the amount as a share of the segment's largest; all of shape (claims,).

    `probability` is NaN where a claim had no chance of being drawn. `bad` holds abuse and what nobody decided.
    """

    claim_id: NDArray[np.object_]
    score: Floats
    money: Floats
    probability: Floats
    selected: NDArray[np.bool_]
    bad: NDArray[np.bool_]
    unresolved: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.score)

    @property
    def without_draw(self) -> int:
        """Claims that had no chance of being drawn."""
        return int(np.isnan(self.probability).sum())

    @property
    def full(self) -> float:
        """How many claims would be drawn in expectation if every amount were drawn with its share of the largest."""
        return float(self.money.sum())


@dataclass(frozen=True)
class Drawn:
    """What thinning left: every claim was drawn with probability `rate` times its share of the largest amount.

    `rarest` is the claim that keeps `rate` from being larger, where one does, and `without` what the rate would be without
    the hundredth part of the claims that keep it lowest.
    """

    score: Floats
    bad: NDArray[np.bool_]
    unresolved: NDArray[np.bool_]
    rate: float
    rarest: str | None
    without: float

    def __len__(self) -> int:
        return len(self.score)

    @property
    def collapsed(self) -> bool:
        """Whether a few claims with a tiny chance of being drawn make the rest of the draws nearly worthless."""
        return self.rate < _COLLAPSED * self.without


def drawn(pool: Pool) -> Drawn:
    """Thin the draws of a pool to c * money; every claim of it has to have had a chance of being drawn."""
    with np.errstate(divide="ignore", over="ignore"):
        ratio = pool.probability / pool.money
    rate = min(1.0, float(ratio.min()))
    wanted = rate * pool.money
    # No money has no chance, nor has what is smaller than a float can be.
    places = np.flatnonzero(pool.selected & (wanted > 0.0))
    # The division above may have rounded up.
    least = np.minimum(wanted[places], pool.probability[places])
    kept = places[kept_of(pool.claim_id[places].tolist(), wanted=least, stored=pool.probability[places])]
    without = min(1.0, float(np.quantile(ratio, 0.01)))
    rarest = str(pool.claim_id[int(ratio.argmin())]) if rate < 1.0 else None
    return Drawn(pool.score[kept], pool.bad[kept], pool.unresolved[kept], rate, rarest, without)


def claims_of(history: History, scores: Table, start: int, end: int, labels_until: int) -> pd.DataFrame:
    """A row for each eligible claim submitted in [start, end) (microseconds), in order of submission.

    `scores` has claim_id, score and segment of the eligible ones. Columns: claim_id, score, segment, amount, currency,
    decision, audit_probability, audit_selected, label (the latest known before `labels_until`, or missing).
    """
    eligible = scores.select("claim_id", "score", "segment")
    claims = history.claims.filter((_.submitted_at >= start) & (_.submitted_at < end))
    decisions = history.decisions.select("claim_id", "decision", "audit_probability", "audit_selected")
    labels = latest_labels(history, labels_until).select("claim_id", "label")
    chosen = (
        "row", "claim_id", "score", "segment", "amount", "currency", "decision", "audit_probability", "audit_selected", "label",
    )  # fmt: skip
    joined = (
        claims.select("row", "claim_id", "amount", "currency")
        .inner_join(eligible, "claim_id")
        .left_join(decisions, "claim_id")
        .left_join(labels, "claim_id")
    )
    frame: pd.DataFrame = (
        joined.select(*chosen).order_by("row").drop("row").to_pyarrow().to_pandas()
    )
    return frame


def pool_of(claims: pd.DataFrame, segment: Segment) -> Pool:
    """The claims of one segment out of those of `claims_of`."""
    own = claims[claims["segment"] == segment.name]
    currency = own["currency"].astype(object).where(own["currency"].notna(), None)
    largest = {name: segment.largest_in(name) for name in currency.unique()}
    money = own["amount"].to_numpy(np.float64) / currency.map(largest).to_numpy(np.float64)
    stored = own["audit_probability"].to_numpy(np.float64, na_value=np.nan)
    approved = (own["decision"] == "approve").to_numpy(bool, na_value=False)
    # A claim that a person decided without a draw was looked at for certain.
    probability = np.where(stored > 0, stored, np.where(approved, np.nan, 1.0))
    selected = np.where(stored > 0, own["audit_selected"].fillna(False).to_numpy(bool), ~approved)
    resolved = own["label"].isin(("abuse", "legitimate")).to_numpy(bool)
    return Pool(
        claim_id=own["claim_id"].to_numpy(object),
        score=own["score"].to_numpy(np.float64),
        money=money,
        probability=probability,
        selected=selected,
        bad=~resolved | (own["label"] == "abuse").to_numpy(bool, na_value=False),
        unresolved=~resolved,
    )
