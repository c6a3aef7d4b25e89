"""LightGBM's call for one row against its ordinary one."""

from concurrent.futures import ThreadPoolExecutor

import lightgbm
import numpy as np
import pytest

from risk.one_row import OneRow


def test_one_row_gives_the_bits_of_the_ordinary_call_on_any_thread() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(400, 12))
    rows[rng.random(rows.shape) < 0.2] = np.nan
    rows[:, 3] = rng.integers(0, 9, 400)
    data = lightgbm.Dataset(rows, rng.integers(0, 2, 400), categorical_feature=[3])
    booster = lightgbm.train({"objective": "binary", "verbosity": -1, "seed": 1}, data, 30)
    one, expected = OneRow(booster), booster.predict(rows, raw_score=True)
    parts = booster.predict(rows, pred_contrib=True)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda place: one.raw(rows[place : place + 1]), range(400)))
        explained = list(threads.map(lambda place: one.contributions(rows[place : place + 1]), range(400)))
    assert found == list(expected)
    assert np.array_equal(np.array(explained), parts)


@pytest.mark.parametrize("shape", [(1, 11), (1, 13), (2, 12), (12,)])
def test_a_row_of_another_shape_is_refused_before_the_library_reads_past_its_end(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    data = lightgbm.Dataset(rng.normal(size=(400, 12)), rng.integers(0, 2, 400))
    one = OneRow(lightgbm.train({"objective": "binary", "verbosity": -1, "seed": 1}, data, 2))
    with pytest.raises(ValueError, match="12 features"):
        one.raw(np.zeros(shape))
