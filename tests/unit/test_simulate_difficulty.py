"""How hard the simulated world is: neither a toy that a column gives away nor noise that nothing explains."""

from pathlib import Path

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from risk.vocabulary import GUARANTEES
from training.simulate.engine import Settings
from training.simulate.history import write_history

ENTITIES = ("buyer_id", "merchant_id", "device_id", "address_id", "payment_id", "item_id", "creator_id")
WORDS = ("reason", "remedy", "category", "channel", "carrier", "return_method")
Matrix = npt.NDArray[np.float64]


class Case:
    """Claims with labels as known at the split, and as known in the end."""

    def __init__(self, folder: Path) -> None:
        write_history(Settings(claims=20_000, seed=7), folder / "h", folder / "h.oracle.parquet")
        self.claims = pq.read_table(folder / "h" / "claims.parquet").to_pandas()
        self.orders = pq.read_table(folder / "h" / "orders.parquet").to_pandas()
        self.labels = pq.read_table(folder / "h" / "labels.parquet").to_pandas()
        self.split = self.claims["submitted_at"].quantile(0.7)
        early = self._latest(self.labels[self.labels["known_at"] < self.split])
        self.train = (self.claims["submitted_at"] < self.split).to_numpy() & np.isin(early, ["abuse", "legitimate"])
        final = self._latest(self.labels)
        self.test = (self.claims["submitted_at"] >= self.split).to_numpy() & np.isin(final, ["abuse", "legitimate"])
        self.y_train, self.y_test = early[self.train] == "abuse", final[self.test] == "abuse"

    def _latest(self, labels: pd.DataFrame) -> npt.NDArray[np.object_]:
        latest = labels.sort_values("known_at").groupby("claim_id")["label"].last()
        return self.claims["claim_id"].map(latest).to_numpy(dtype=object)

    def auc(self, matrix: Matrix) -> float:
        settings = {
            "objective": "binary", "learning_rate": 0.04, "num_leaves": 15, "min_data_in_leaf": 40, "seed": 1,
            "feature_fraction": 0.5, "lambda_l2": 5.0, "verbose": -1, "num_threads": 1, "deterministic": True,
        }  # fmt: skip
        data = lgb.Dataset(matrix[self.train], self.y_train.astype(int))
        model = lgb.train(settings, data, num_boost_round=80)
        return float(roc_auc_score(self.y_test, model.predict(matrix[self.test])))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("difficulty"))


def _own_columns(claims: pd.DataFrame) -> Matrix:
    """All that the row itself holds, without ids."""
    columns = [claims[name].astype("category").cat.codes.to_numpy(dtype=float) for name in WORDS]
    numbers = [*claims.select_dtypes("number"), "opened", "no_return_confirmed", "verified", "guest"]
    columns += [claims[name].astype(float).to_numpy() for name in numbers]
    moments = ("paid_at", "shipped_at", "promised_by", "delivered_at", "registered_at", "intercepted_at", "lost_at")
    for name in (*moments, "return_shipped_at", "return_picked_up_at", "return_received_at"):
        columns.append((claims["submitted_at"] - claims[name]).dt.total_seconds().to_numpy())
    for name in ("merchant_guarantees", "item_guarantees"):
        said = claims[name].fillna("")
        columns += [said.str.contains(code).to_numpy(dtype=float) for code in GUARANTEES]
        columns.append(claims[name].isna().to_numpy(dtype=float))
    columns += [claims[name].notna().to_numpy(dtype=float) for name in ("device_id", "tracking_number", "address_id")]
    columns.append(claims["description"].str.len().to_numpy(dtype=float))
    columns.append(claims["submitted_at"].dt.hour.to_numpy(dtype=float))
    columns.append((claims["amount"] / claims["paid_amount"]).to_numpy(dtype=float))
    return np.column_stack(columns)


def _earlier(events: pd.Series, when: pd.Series, keys: pd.Series, now: pd.Series) -> Matrix:
    """How many events of the same key came strictly before, a row a claim; missing keys have none."""
    codes, _names = pd.factorize(pd.concat([events, keys], ignore_index=True))
    start = min(when.min(), now.min())

    def place(part: npt.NDArray[np.intp], times: pd.Series) -> npt.NDArray[np.int64]:
        return part.astype(np.int64) * (1 << 46) + ((times - start).dt.total_seconds()).to_numpy().astype(np.int64)

    happened = np.sort(place(codes[: len(events)], when))
    mine = codes[len(events) :]
    before = np.searchsorted(happened, place(mine, now)) - np.searchsorted(happened, mine.astype(np.int64) * (1 << 46))
    return np.where(mine < 0, 0, before).astype(float)


def _histories(case: Case) -> Matrix:
    """Earlier claims, orders and known abuse of each thing in the claim, as of its submission."""
    claims, now, columns = case.claims, case.claims["submitted_at"], []
    labels = case.labels.merge(claims, on="claim_id")
    abuse = labels[labels["label"] == "abuse"]
    for name in ENTITIES:
        claimed = _earlier(claims[name], now, claims[name], now)
        judged = _earlier(labels[name], labels["known_at"], claims[name], now)
        confirmed = _earlier(abuse[name], abuse["known_at"], claims[name], now)
        columns += [claimed, judged, confirmed, (confirmed + 0.05) / (judged + 1)]
        if name in case.orders:
            ordered = _earlier(case.orders[name], case.orders["paid_at"], claims[name], now)
            columns += [ordered, claimed / (ordered + 1)]
    return np.column_stack(columns)


def test_the_claims_own_columns_reach_no_more_than_three_quarters(case: Case) -> None:
    assert 0.62 <= case.auc(_own_columns(case.claims)) <= 0.75


def test_history_adds_much_and_never_everything(case: Case) -> None:
    own = _own_columns(case.claims)
    with_history = case.auc(np.column_stack([own, _histories(case)]))
    assert case.auc(own) + 0.06 <= with_history <= 0.93


def test_there_are_labels_enough_to_train_on(case: Case) -> None:
    assert case.y_train.sum() > 250
    assert case.y_test.sum() > 90
