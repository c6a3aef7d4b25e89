"""A back-test of 100,000 claims, from the command's start to its page: features, cover, replays, trade-off, pictures."""

import re
from pathlib import Path
from typing import Any

from tests.benchmarks.bulk import measured
from tests.benchmarks.marketplace import Place

CLAIMS = 130_000
FROM, TO = "2025-10-15", "2026-11-15"
"""About 100,000 of the claims; the model learns from those before."""


def run(root: Path) -> dict[str, Any]:
    """Claims a minute and peak memory."""
    place = Place(root)
    root.mkdir(parents=True, exist_ok=True)
    where = ("--history", str(place.history))
    if not place.history.exists():
        measured(place, "-m", "training", "simulate", "--out", str(place.history), "--claims", str(CLAIMS), "--seed", "7")
    if not (root / "bundle").exists():
        measured(place, "-m", "training", "train", *where, "--until", FROM, "--out", str(root / "bundle"))
    files = ("--report", str(root / "report.html"), "--json", str(root / "report.json"))
    command = (
        "-m", "training", "backtest", "--bundle", str(root / "bundle"), *where, "--from", FROM, "--to", TO, "--uncertified", *files,
    )  # fmt: skip
    row = measured(place, *command)
    said = (root / "report.html").read_text(encoding="utf-8")
    found = re.search(r'data-figure="subject.claims" data-form="count">([\d,]+)<', said)
    assert found is not None
    claims = int(found[1].replace(",", ""))
    return {"claims": claims, **row, "claims_a_minute": round(60 * claims / row["seconds"])}

