"""A row of a history, sent as a claim, gives the facts that the row holds."""

import json
from pathlib import Path

from risk.claim import Claim, facts
from tests.replay import body
from training.history import open_history
from training.simulate.engine import Settings
from training.simulate.history import write_history


def test_a_replayed_claim_gives_the_facts_of_its_row(tmp_path: Path) -> None:
    write_history(Settings(claims=2000, seed=5), tmp_path / "history", tmp_path / "oracle.parquet")
    with open_history(tmp_path / "history") as history:
        rows = history.claims.to_pyarrow().to_pylist()
        signals = history.signals
    assert len(rows) > 1500
    for row in rows:
        known = facts(Claim.model_validate_json(json.dumps(body(row, signals))))
        assert known == {name: row[name] for name in known}
    for name in ("merchant_guarantees", "item_guarantees", "intercepted_at", "lost_at", "return_shipped_at",
                 "return_picked_up_at", "return_received_at"):  # fmt: skip
        assert {row[name] is None for row in rows} == {True, False}, name
