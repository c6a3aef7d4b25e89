"""The claims of a stretch as arrays: all of them, and those whose label is known."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from risk.errors import HistoryError, Problem
from risk.features import load_features
from training.metrics import Flags, Floats, Integers, Labelled

NEEDED = ("claim_id", "submitted_at", "amount", "score", "label")
_DAY = 86_400_000_000
_TOLERANCE = 1.1
"""The claims that audits stand for are themselves an estimate."""
_SMALLEST = 0.05
"""Weights below this say that audits alone stand for nearly everything."""


@dataclass(frozen=True)
class Stretch:
    """All claims of a stretch, shape (claims,) each; `at` in microseconds, `amount` in minor units."""

    at: Integers
    score: Floats
    amount: Floats
    known: Flags
    undecided: Flags
    abuse: Flags
    audit_probability: Floats
    weighted: bool = False

    def __len__(self) -> int:
        return len(self.score)

    @cached_property
    def drawn(self) -> Flags:
        """Claims whose label came of an audit that was drawn by chance."""
        return self.known & (self.audit_probability < 1.0)

    @cached_property
    def selective(self) -> bool:
        """Whether audits are what there is to know of some claims (those approved at once).

        Audits stand for the claims that they were drawn from. Where these and the claims with other labels are together
        more than all claims, audits were drawn among claims that other labels cover as well, and nothing is hidden.
        """
        others = int(np.sum(self.known & ~self.drawn))
        return bool(self.drawn.any()) and self._stood_for + others <= _TOLERANCE * len(self)

    @cached_property
    def _stood_for(self) -> float:
        return float(np.sum(1.0 / self.audit_probability[self.drawn]))

    @cached_property
    def inverse_weights(self) -> Floats:
        """Weights of all claims: an audited one stands for 1 / probability, other labels evenly for what remains."""
        others = self.known & ~self.drawn
        even = max(0.0, len(self) - self._stood_for) / max(1, int(others.sum()))
        weight = np.where(others, even if even > _SMALLEST else 0.0, 0.0)
        weight[self.drawn] = 1.0 / self.audit_probability[self.drawn]
        return weight

    @cached_property
    def labelled(self) -> Labelled:
        """The claims that count: those whose label is known, and where weighted, those with any weight."""
        weight = self.inverse_weights if self.weighted else np.ones(len(self))
        chosen = self.counted
        return Labelled(self.score[chosen], self.abuse[chosen], self.amount[chosen], weight[chosen])

    @cached_property
    def counted(self) -> Flags:
        """Which of all claims `labelled` holds."""
        return self.known & (self.inverse_weights > 0.0) if self.weighted else self.known

    @cached_property
    def day(self) -> Integers:
        """Days since 1970 on the marketplace's own clock."""
        return (self.at + load_features().utc_offset) // _DAY


def read_stretch(frame: pd.DataFrame, *, weighted: bool = False) -> Stretch:
    """The arrays of a frame of scored claims, in its order; HistoryError lists what cannot be used."""
    problems = [Problem(f"scored claims.{name}", "column is missing") for name in NEEDED if name not in frame]
    if problems:
        raise HistoryError(problems)
    label = frame["label"].astype(object)
    known = label.isin(["abuse", "legitimate"]).to_numpy(bool)
    audit = (
        pd.to_numeric(frame["audit_probability"], errors="coerce").to_numpy(np.float64, na_value=np.nan)
        if "audit_probability" in frame else np.full(len(frame), np.nan)
    )  # fmt: skip
    stretch = Stretch(
        at=frame["submitted_at"].astype("datetime64[us, UTC]").astype("int64").to_numpy(),
        score=frame["score"].to_numpy(np.float64, na_value=np.nan),
        amount=frame["amount"].to_numpy(np.float64, na_value=np.nan),
        known=known,
        undecided=(label == "undecided").to_numpy(bool),
        abuse=(label == "abuse").to_numpy(bool),
        audit_probability=audit,
        weighted=weighted,
    )
    _refuse_unusable(stretch, audit)
    return stretch


def _refuse_unusable(stretch: Stretch, audit: Floats) -> None:
    with np.errstate(invalid="ignore"):
        causes = (
            ("score", "not a probability", ~((stretch.score >= 0.0) & (stretch.score <= 1.0))),
            ("amount", "missing or negative", ~(stretch.amount >= 0.0)),
            ("audit_probability", "not above 0 and up to 1", ~np.isnan(audit) & ~((audit > 0.0) & (audit <= 1.0))),
        )
    problems = [
        Problem(f"scored claims.{name}", f"{what} in {int(bad.sum()):,} of {len(stretch):,} claims")
        for name, what, bad in causes if bad.any()
    ]  # fmt: skip
    if problems:
        raise HistoryError(problems)
