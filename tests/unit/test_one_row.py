"""LightGBM's call for one row against its ordinary one."""

from concurrent.futures import ThreadPoolExecutor

import lightgbm
import numpy as np

from risk.one_row import OneRow


def test_one_row_gives_the_bits_of_the_ordinary_call_on_any_thread() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(400, 12))
    rows[rng.random(rows.shape) < 0.2] = np.nan
    rows[:, 3] = rng.integers(0, 9, 400)
    data = lightgbm.Dataset(rows, rng.integers(0, 2, 400), categorical_feature=[3])
    booster = lightgbm.train({"objective": "binary", "verbosity": -1, "seed": 1}, data, 30)
    one, expected = OneRow(booster), booster.predict(rows, raw_score=True)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda place: one.raw(rows[place : place + 1]), range(400)))
    assert found == list(expected)
