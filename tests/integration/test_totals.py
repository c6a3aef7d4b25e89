"""Running totals: settled behind whoever still writes, and equal however often they were rolled up."""

import random
import time
from pathlib import Path

import psycopg
import pytest

from risk.errors import InputError
from risk.features import load_features
from serving.commands.load import load_log
from serving.store.database import Database
from serving.store.totals import STALEST, add_up, rebuild, roll_up
from tests.worlds import random_world, write
from training.__main__ import main as training

FEATURES = load_features()


def _insert(connection: psycopg.Connection, moment: int) -> None:
    connection.execute(
        "INSERT INTO past (known_at, event, merchant_id, item_id, orders, order_amount) VALUES (%s, 'o', 'm', 'i', 1, 100)",
        (moment,),
    )


def _now() -> int:
    return time.time_ns() // 1000


def _watermark(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT moment FROM watermark").fetchone()
    assert row is not None
    return int(row[0])


def test_the_watermark_stays_behind_the_oldest_transaction_that_still_writes(fresh_url: str) -> None:
    with psycopg.connect(fresh_url) as writer, psycopg.connect(fresh_url) as keeper:
        began = _now()
        _insert(writer, began)
        time.sleep(0.2)
        roll_up(keeper, FEATURES)
        keeper.commit()
        assert _watermark(fresh_url) <= began - STALEST + 50_000
        writer.commit()
        time.sleep(0.1)
        roll_up(keeper, FEATURES)
        keeper.commit()
        assert _watermark(fresh_url) > began - STALEST + 100_000


def test_totals_that_were_rolled_up_bit_by_bit_equal_those_added_up_at_once(fresh_url: str) -> None:
    rng = random.Random(5)
    moments = sorted(rng.randrange(1_000) for _turn in range(80))
    select = "SELECT * FROM totals ORDER BY entity, key, known_at, seq"
    with psycopg.connect(fresh_url) as connection:
        for moment in rng.sample(moments, len(moments)):
            _insert(connection, moment)
        start = 0
        for end in (1, 40, 41, 300, 300, 777, 1_000):
            add_up(connection, FEATURES, start, end)
            start = end
        bit_by_bit = connection.execute(select).fetchall()
        rebuild(connection, FEATURES)
        assert len(bit_by_bit) == 2 * len(moments)
        assert connection.execute(select).fetchall() == bit_by_bit


def test_two_roll_ups_at_once_add_nothing_twice(fresh_url: str) -> None:
    with psycopg.connect(fresh_url) as first, psycopg.connect(fresh_url) as second:
        _insert(first, _now() - STALEST - 10_000_000)
        first.commit()
        assert roll_up(first, FEATURES) == 2
        second.execute("SET lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            roll_up(second, FEATURES)
        second.rollback()
        first.commit()
        assert roll_up(second, FEATURES) == 0


def test_a_history_is_loaded_once_and_a_file_that_is_none_is_refused(fresh_url: str, tmp_path: Path) -> None:
    folder = write(random_world(1), tmp_path / "history")
    assert training(["log", "--history", str(folder), "--out", str(tmp_path / "log.parquet")]) == 0
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    database = Database(fresh_url)
    with pytest.raises(InputError, match="cannot be read"), database.patient() as connection:
        load_log(connection, tmp_path / "bad.parquet")
    with database.patient() as connection:
        events, totals = load_log(connection, tmp_path / "log.parquet")
    assert events > 150
    assert totals > events
    with pytest.raises(InputError, match="has a past already"), database.patient() as connection:
        load_log(connection, tmp_path / "log.parquet")
