"""The window engine against reference values that others computed: the Fraud Detection Handbook's simulated cards.

Customer stands for buyer, terminal for merchant, transaction for claim. The reference looks at (t - w, t], the current
transaction included, and learns of a fraud seven days later; here a window is [t - w, t) and a label has its own moment
of becoming known. So the looking is done one tick of the reference's clock (a second) after t, and each label is
recorded seven days after its transaction.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from ibis import _
from ibis.expr.types import Table

from risk.features import FeatureSet, parse_features
from risk.features.definition import HOUR
from training.features import entity_features, event_log, own_features
from training.history import History, open_history

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SHARED_DATA", ROOT / ".." / "shared" / "data")).resolve() / "handbook_sim_dev"
RAW = DATA / "transactions_raw_20180401_20180630.parquet"
GOLDEN = DATA / "golden_pit_features_20180610_20180616.parquet"
TICK = HOUR // 3600
DELAY_DAYS = 7

pytestmark = pytest.mark.skipif(not GOLDEN.exists(), reason=f"reference data absent: {DATA} (set SHARED_DATA)")

TABLE = """
utc_offset_hours = 0
[entities]
buyer = { column = "buyer_id" }
shop = { column = "merchant_id", long = true }
[measures]
claims = { event = "claim" }
paid = { event = "claim", value = "amount" }
abuse = { event = "label", value = "abuse" }
legitimate = { event = "label", value = "legitimate" }
[own]
hour = { hour_of = "submitted_at" }
weekday = { weekday_of = "submitted_at" }
[windowed]
""" + "\n".join(
    f"""
CUSTOMER_ID_NB_TX_{days}DAY_WINDOW = {{ entity = "buyer", sum = "claims", window = "{window}" }}
CUSTOMER_ID_AVG_AMOUNT_{days}DAY_WINDOW = {{ entity = "buyer", ratio = ["paid", "claims"], window = "{window}" }}
known_fraud_{days} = {{ entity = "shop", sum = "abuse", window = "{window}" }}
known_honest_{days} = {{ entity = "shop", sum = "legitimate", window = "{window}" }}
TERMINAL_ID_RISK_{days}DAY_WINDOW = {{ entity = "shop", window = "{window}", ratio = ["abuse", "abuse+legitimate"] }}
"""
    for days, window in ((1, "24h"), (7, "7d"), (30, "30d"))
)


@pytest.fixture(scope="module")
def features() -> FeatureSet:
    return parse_features(TABLE)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    folder = tmp_path_factory.mktemp("handbook")
    moment = "TX_DATETIME::TIMESTAMP AT TIME ZONE 'UTC'"
    tables = {
        "claims": f"""SELECT TRANSACTION_ID::VARCHAR AS claim_id, {moment} AS submitted_at, CUSTOMER_ID AS buyer_id,
            TERMINAL_ID AS merchant_id, round(TX_AMOUNT * 100)::BIGINT AS amount FROM '{RAW}'""",
        "labels": f"""SELECT TRANSACTION_ID::VARCHAR AS claim_id, {moment} + INTERVAL {DELAY_DAYS} DAY AS known_at,
            if(TX_FRAUD = 1, 'abuse', 'legitimate') AS label FROM '{RAW}'""",
        # Nothing was ordered apart from the transactions themselves.
        "orders": """SELECT '' AS order_id, '' AS buyer_id, '' AS merchant_id, now() AS paid_at, 0 AS paid_amount
            WHERE false""",
    }
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for table, rows in tables.items():
            connection.execute(f"COPY ({rows}) TO '{folder / table}.parquet'")
    with open_history(folder, threads=2) as opened:
        yield opened


@pytest.fixture(scope="module")
def golden() -> pd.DataFrame:
    return pd.read_parquet(GOLDEN).set_index("TRANSACTION_ID").sort_index()


def computed(history: History, features: FeatureSet, golden: pd.DataFrame, *, tick: int = TICK) -> pd.DataFrame:
    """The reference's columns out of the engine, one row a reference transaction."""
    log = history.connection.create_table("handbook_log", event_log(history, features), temp=True, overwrite=True)
    wanted = history.connection.create_table(
        "wanted", golden.index.to_frame(name="claim_id").astype(str), temp=True, overwrite=True
    )
    spine = history.claims.semi_join(wanted, "claim_id").mutate(as_of=_.as_of + tick)
    tables: list[Table] = [entity_features(log, spine, entity, features) for entity in features.entities]
    result = spine.select("row", TRANSACTION_ID=_.claim_id.cast("int64"))
    for table in (*tables, own_features(spine, features)):
        result = result.join(table, "row")
    return _in_words_of_the_reference(result.execute().set_index("TRANSACTION_ID").sort_index())


def _in_words_of_the_reference(found: pd.DataFrame) -> pd.DataFrame:
    found["TX_DURING_WEEKEND"] = found.weekday >= 5
    found["TX_DURING_NIGHT"] = found.hour <= 6
    for days in (1, 7, 30):
        found[f"CUSTOMER_ID_AVG_AMOUNT_{days}DAY_WINDOW"] /= 100
        found[f"TERMINAL_ID_NB_TX_{days}DAY_WINDOW"] = found[f"known_fraud_{days}"] + found[f"known_honest_{days}"]
        # The reference writes 0 where there was nothing; here a rate of nothing is missing.
        found[f"TERMINAL_ID_RISK_{days}DAY_WINDOW"] = found[f"TERMINAL_ID_RISK_{days}DAY_WINDOW"].fillna(0)
    return found


def mismatches(found: pd.DataFrame, golden: pd.DataFrame) -> dict[str, int]:
    """Rows that differ, by reference column; sums of the reference are in doubles, so a billionth is allowed."""
    assert found.index.equals(golden.index)
    return {name: int(((found[name].astype(float) - golden[name]).abs() > 1e-9).sum()) for name in golden}


def test_the_engine_reproduces_every_reference_value(
    history: History, features: FeatureSet, golden: pd.DataFrame
) -> None:
    assert golden.shape == (67_174, 14)
    assert mismatches(computed(history, features, golden), golden) == dict.fromkeys(golden, 0)


@pytest.mark.parametrize("tick", [0, 2 * TICK])
def test_a_window_that_is_off_by_one_second_would_be_noticed(
    history: History, features: FeatureSet, golden: pd.DataFrame, tick: int
) -> None:
    wrong = mismatches(computed(history, features, golden, tick=tick), golden)
    customer = [name for name in golden if name.startswith("CUSTOMER")]
    # A second rarely changes what a terminal is known for, so its counts have to show the slip together.
    assert all(wrong[name] for name in customer), wrong
    assert sum(many for name, many in wrong.items() if name.startswith("TERMINAL")), wrong
