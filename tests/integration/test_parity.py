"""A feature computed online equals the same feature computed in bulk as of the same moment, bit for bit."""

import json
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ibis import _

from risk.bundle import Bundle, signing_key
from risk.claim import Claim, facts, item_ids, parties
from risk.decision import Decider, Past
from risk.features import Calculator, load_features
from risk.gates import load_rules
from risk.order import UNKNOWN, OrderAccount
from risk.policy.definition import load_policies
from risk.promise.appetite import load_appetite
from serving.commands.load import load_log
from serving.store.database import Database, Prepared
from serving.store.lookup import Lookup
from tests.replay import body
from tests.service import promise_up_to
from tests.worlds import random_world, with_facts, write
from training.__main__ import main as training
from training.dataset import build_matrix, rows_until, scored_claims
from training.history import History, open_history
from training.score import decided_claims

DAY = 24 * 3_600_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LOOKUP = Lookup(load_features())
STATEMENT = Prepared(b"look_up", LOOKUP.statement.encode())


@pytest.fixture
def database(fresh_url: str) -> Iterator[Database]:
    """A store that was just migrated."""
    database = Database(fresh_url, statement_timeout_ms=10_000)
    yield database
    database.close()


def _load(database: Database, history: Path, log: Path) -> None:
    assert training(["log", "--history", str(history), "--out", str(log)]) == 0
    with database.patient() as connection:
        load_log(connection, log)


def _move_watermark(database: Database, moment: int) -> None:
    """Back to where the roll-up would have stood: what came later is read event by event."""
    with database.patient() as connection:
        connection.execute("DELETE FROM totals WHERE known_at >= %s", (moment,))
        connection.execute("UPDATE watermark SET moment = %s", (moment,))


def _aggregates(database: Database, keys: dict[str, str | None], as_of: int) -> Sequence[int | None]:
    _decided, past = LOOKUP.read(database.fetch(STATEMENT, LOOKUP.parameters(keys, as_of, "", "")))
    return past.aggregates or ()


def _claims(history: History, first: int, last: int) -> list[dict[str, Any]]:
    return history.claims.filter((_.row >= first) & (_.row < last)).order_by("row").to_pyarrow().to_pylist()


def _same(online: Any, bulk: Any) -> bool:
    if online is None:
        return bulk is None or (isinstance(bulk, float) and math.isnan(bulk))
    return bool(online == bulk)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0], ids=["no totals", "half totals", "all totals"])
def test_windows_with_ties_reversed_labels_and_missing_ids_agree(
    tmp_path: Path, database: Database, seed: int, share: float
) -> None:
    features = load_features()
    folder = write(with_facts(random_world(seed, claims=200), seed), tmp_path / "history")
    _load(database, folder, tmp_path / "log.parquet")
    with open_history(folder) as history:
        rows = _claims(history, 0, rows_until(history, None))
        built = build_matrix(history, signals=())
    matrix: list[list[Any]] = built.values.tolist()
    for name, words in built.words.items():
        for place, word in enumerate(words.to_pylist()):
            matrix[place][built.columns.index(name)] = word
    _move_watermark(database, int(np.quantile([row["submitted_at"] for row in rows], share)))
    calculator, columns = Calculator(features), features.names
    seen: dict[str, set[Any]] = {name: set() for name in columns if name.startswith("cover_")}
    for place, row in enumerate(rows):
        keys = {entity.name: row[entity.column] for entity in features.entities}
        online = calculator.values(_aggregates(database, keys, row["as_of"]), row, row["as_of"])
        wrong = [
            (name, value, bulk)
            for name, value, bulk in zip(columns, online, matrix[place], strict=True)
            if not _same(value, bulk)
        ]
        assert not wrong
        for name, values in seen.items():
            values.add(online[columns.index(name)])
    assert {"covered", "not_covered", "unproven", "none"} <= seen["cover_status"]
    assert all(len(values) > 2 for values in seen.values())


@pytest.fixture(scope="module")
def marketplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("market")
    assert training(["simulate", "--out", str(folder / "history"), "--claims", "12000", "--seed", "11"]) == 0
    assert training(["train", "--history", str(folder / "history"), "--out", str(folder / "bundle")]) == 0
    promise_up_to(folder / "bundle", Bundle.load(folder / "bundle", signing_key()).threshold)
    yield folder / "history", folder / "bundle"


def test_a_replayed_day_gives_the_features_scores_and_decisions_of_the_bulk_path(
    tmp_path: Path, database: Database, marketplace: tuple[Path, Path]
) -> None:
    folder, bundle_folder = marketplace
    features, bundle = load_features(), Bundle.load(bundle_folder, signing_key())
    _load(database, folder, tmp_path / "log.parquet")
    with open_history(folder) as history:
        end = max(row["submitted_at"] for row in _claims(history, 0, rows_until(history, None)))
        start = end - 60 * DAY
        rows = _claims(history, rows_until(history, start), rows_until(history, start + DAY))
        scored = scored_claims(history, bundle, start, start + DAY)
        decided = decided_claims(history, bundle, start, start + DAY, load_appetite())
    assert len(rows) > 10
    assert {*decided["decision"]} == {"approve", "review"}
    _move_watermark(database, start + DAY // 2)
    decider = Decider(features=features, rules=load_rules(), policies=load_policies(), appetite=load_appetite(), audit_secret=b"secret")
    orders: dict[str, OrderAccount] = {}
    seen: set[Any] = set()
    for row, bulk, decision in zip(rows, scored.to_dict("records"), decided["decision"], strict=True):
        claim = Claim.model_validate_json(json.dumps(body(row, bundle.signals)))
        order = orders.get(claim.order.order_id, UNKNOWN)
        past = Past(_aggregates(database, parties(claim), row["as_of"]), order)
        online = decider.decide(claim, past, bundle, EPOCH + timedelta(microseconds=row["as_of"]))
        wrong = [
            (name, value, bulk[name])
            for name, value in zip(bundle.columns, online.values or (), strict=True)
            if not _same(value, bulk[name])
        ]
        assert not wrong
        assert (online.raw, online.score, online.decision) == (bulk["raw"], bulk["score"], decision)
        seen.add(bulk["cover_status"])
        orders[claim.order.order_id] = order.after(facts(claim), item_ids(claim), approved=decision == "approve")
    assert {"covered", "unproven", "not_covered"} <= seen
