"""The page of a back-test: it shows nothing that the JSON does not hold."""

from collections.abc import Mapping
from typing import Any

from training.backtest.pictures import pictures
from training.backtest.words import FORMATS, REASON_WORDS, marks, row_label
from training.report.render import render_page


def render_html(figures: Mapping[str, Any]) -> str:
    """One file that asks for no other, from the figures as JSON values."""
    words = {"reason": REASON_WORDS, "row_label": row_label, "marks": marks}
    return render_page(figures, pictures(figures), "training.backtest", FORMATS, words)
