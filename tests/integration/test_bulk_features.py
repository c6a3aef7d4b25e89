"""The bulk engine against the slow and obvious one."""

from pathlib import Path

import pytest

from risk.features import load_features
from tests import oracle
from tests.worlds import random_world, write
from training.features import feature_tables
from training.history import open_history


@pytest.mark.parametrize("seed", range(6))
def test_every_windowed_feature_equals_the_one_computed_by_looking_at_every_event(tmp_path: Path, seed: int) -> None:
    features, world = load_features(), random_world(seed)
    with open_history(write(world, tmp_path)) as history:
        ids = history.claims.order_by("row").claim_id.execute().tolist()
        tables = [table.order_by("row").execute() for table in feature_tables(history, features)]
    found: dict[str, dict[str, float | None]] = {claim_id: {} for claim_id in ids}
    for table in tables:
        for name in table.columns.drop("row"):
            for claim_id, value in zip(ids, table[name], strict=True):
                found[claim_id][name] = None if value != value else value
    expected = oracle.windowed(world, features)
    for claim, values in zip(world.claims, expected, strict=True):
        actual = {name: found[claim["claim_id"]][name] for name in values}
        assert actual == values
