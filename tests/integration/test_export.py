"""What the service has seen, as a history: the same features as online, and enough for a certificate."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from risk.bundle import Bundle, signing_key
from risk.errors import InputError
from serving.export import TABLES, export
from tests.conftest import Service, run_service
from tests.service import (
    ROOT,
    SIGNAL,
    a_claim,
    a_label,
    an_order,
    new_database,
    promise_up_to,
    rows,
    small_bundle,
    unique,
)
from training.__main__ import main as training
from training.dataset import scored_claims
from training.history import open_history
from training.promote import promote


@pytest.fixture(scope="module")
def lived(postgres: str, template: str, promoted: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that a few buyers, devices and shops meet at."""
    service = run_service(new_database(postgres, template=template), promoted, tmp_path_factory.mktemp("lived"))
    parts = next(service)
    for number in range(120):
        buyer, device = {"buyer_id": f"b{number % 7}"}, {"device_id": f"d{number % 5}"}
        merchant = {"merchant_id": f"m{number % 3}"}
        order = an_order(order_id=f"o{number}", buyer_id=f"b{number % 7}", merchant_id=f"m{number % 3}", item_id=f"i{number % 4}")
        parts.api.tell(order)
        claim = a_claim(
            claim_id=f"k{number}", buyer=buyer, device=device, merchant=merchant, extra={"x_trust": number / 120, "seen": number % 2 == 0},
            order={"order_id": f"o{number}", "paid_at": order["occurred_at"], "delivered_at": order["occurred_at"], "shipped_at": None},
        )  # fmt: skip
        parts.api.decide(claim)
        if number % 4 == 0:
            parts.api.tell(a_label(f"k{number // 2}", "abuse" if number % 8 else "legitimate"))
    yield parts
    next(service, None)


def exported(service: Service, out: Path, onto: Path | None = None) -> dict[str, pd.DataFrame]:
    with service.parts.database.patient() as connection:
        export(connection, out, onto)
    return {table: pd.read_parquet(out / f"{table}.parquet") for table in TABLES}


def test_features_of_an_exported_history_are_those_that_the_decisions_were_made_on(lived: Service, tmp_path: Path) -> None:
    exported(lived, tmp_path / "history")
    bundle, _ = lived.parts.champion.current()
    assert bundle is not None
    with open_history(tmp_path / "history") as history:
        bulk = scored_claims(history, bundle, 0, 2**60).set_index("claim_id")
    frozen = rows(lived.url, "SELECT claim_id, features, raw, score FROM decision")
    assert len(frozen) == len(bulk) == 120
    for claim_id, features, raw, score in frozen:
        row = bulk.loc[claim_id]
        wrong = [
            (name, value, row[name])
            for name, value in zip(bundle.columns, json.loads(features), strict=True)
            if not (row[name] == value or (value is None and pd.isna(row[name])))
        ]
        assert not wrong
        assert (row["raw"], row["score"]) == (raw, score)


def test_an_exported_history_passes_the_check(lived: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exported(lived, tmp_path / "history")
    assert training(["check", "--history", str(tmp_path / "history")]) == 0
    assert "not used" not in capsys.readouterr().out


def test_tables_hold_what_was_decided_with_its_draw_and_signals(lived: Service, tmp_path: Path) -> None:
    tables = exported(lived, tmp_path / "history")
    decided = tables["decisions"].set_index("claim_id")
    assert set(decided["decision"]) == {"approve", "review"}
    assert (decided["audit_probability"] == 0.2 * 4_900 / 30_000).all()
    assert set(decided["certificate_id"]) == {"cert-test"}
    assert tables["claims"].set_index("claim_id").loc["k60", [SIGNAL, "x_seen", "device_id"]].tolist() == [0.5, 1.0, "d0"]
    assert len(tables["orders"]) == 120
    assert set(tables["labels"]["label"]) == {"abuse", "legitimate"}


def test_going_on_from_an_earlier_export_gives_what_a_whole_one_gives(lived: Service, tmp_path: Path) -> None:
    whole = exported(lived, tmp_path / "whole")
    for table in TABLES:
        (tmp_path / "older").mkdir(exist_ok=True)
        whole[table].iloc[:40].to_parquet(tmp_path / "older" / f"{table}.parquet", index=False)
    together = exported(lived, tmp_path / "together", tmp_path / "older")
    for table in TABLES:
        keys = ["claim_id", "known_at"] if table == "labels" else ["order_id" if table == "orders" else "claim_id"]
        one, two = (tables[table].sort_values(keys).reset_index(drop=True) for tables in (whole, together))
        pd.testing.assert_frame_equal(one, two[list(one.columns)], check_dtype=False)


def test_an_older_history_that_was_not_exported_is_gone_on_with(lived: Service, tmp_path: Path) -> None:
    older = tmp_path / "older"
    older.mkdir()
    moment = pd.Timestamp("2026-01-01", tz="UTC")
    plain = {"order_id": ["old-o"], "buyer_id": ["b1"], "merchant_id": ["m1"], "paid_at": [moment], "paid_amount": [100]}
    pd.DataFrame(plain).to_parquet(older / "orders.parquet")
    claim = {"claim_id": ["old-k"], "submitted_at": [moment], "buyer_id": ["b1"], "merchant_id": ["m1"], "amount": [50], "x_new": ["word"]}
    pd.DataFrame(claim).to_parquet(older / "claims.parquet")
    pd.DataFrame({"claim_id": ["old-k"], "known_at": [moment + timedelta(1)], "label": ["abuse"]}).to_parquet(older / "labels.parquet")
    found = exported(lived, tmp_path / "together", older)
    assert len(found["claims"]) == 121
    assert found["claims"].set_index("claim_id").loc["old-k", "x_new"] == "word"
    assert "old-k" in set(found["labels"]["claim_id"])
    assert training(["check", "--history", str(tmp_path / "together")]) == 0


def test_what_cannot_be_exported_is_named_and_nothing_is_left(lived: Service, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="exists already"):
        exported(lived, tmp_path / "there")
    with pytest.raises(InputError, match=r"orders\.parquet: is not there") as caught:
        exported(lived, tmp_path / "new", tmp_path / "there")
    assert len(caught.value.problems) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_the_command_says_how_much_and_sets_aside_what_it_cannot_place(own_service: Service, tmp_path: Path) -> None:
    claim = a_claim()
    own_service.api.decide(claim)
    own_service.api.tell(a_label(claim["claim_id"]))
    # A label of a claim that came with an older history's log.
    rows(own_service.url, "INSERT INTO event SELECT 'other', type, occurred_at, known_at, 'stranger', order_id, digest, body FROM event")
    environment = {"DATABASE_URL": own_service.url, "PATH": "/usr/bin:/bin", "DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "serving", "export", "--out", str(tmp_path / "out")], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert "set aside: 1 labels" in done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()[:4]] == [["orders", "0"], ["claims", "1"], ["labels", "1"], ["decisions", "1"]]


def test_a_running_service_gives_the_evidence_for_its_next_certificate(
    fresh_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From live decisions and the labels of their draws, approved or reviewed, to a certificate that is served."""
    appetite = tmp_path / "appetite.toml"
    shipped = (ROOT / "risk" / "promise" / "appetite.toml").read_text()
    text = shipped.replace("rate = 0.2", "rate = 1.0").replace("mature_days = 30", "mature_days = 0.00001").replace("alpha = 0.03", "alpha = 0.1")
    appetite.write_text(text)
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    small_bundle(tmp_path / "first", slices={"calibrate": {"from": yesterday}}, certificate=None)
    promise_up_to(tmp_path / "first", 0.4)
    promote(tmp_path / "first", tmp_path / "bundles")
    service = run_service(fresh_url, tmp_path / "bundles" / "champion", tmp_path / "data", appetite=appetite)
    live = next(service)
    claims = [a_claim(amount=30_000, order={"paid_amount": 30_000}, buyer={"buyer_id": unique("b")}) for _ in range(80)]
    answers = live.api.post("/v1/claims:batch", {"claims": claims}).json["answers"]
    assert {(answer["decision"], answer["audit"]["selected"]) for answer in answers} == {("approve", True)}
    live.api.tell(*(a_label(claim["claim_id"], "legitimate", source="audit") for claim in claims))
    exported(live, tmp_path / "history")
    small_bundle(tmp_path / "next", slices={"calibrate": {"from": yesterday}}, certificate=None)
    command = ["certify", "--history", str(tmp_path / "history"), "--bundle", str(tmp_path / "next"), "--appetite", str(appetite)]
    assert training(command) == 0
    assert "certified" in capsys.readouterr().out
    certificate = Bundle.load(tmp_path / "next", signing_key()).certificate
    assert certificate is not None
    assert (certificate.segments["small"].drawn, certificate.segments["small"].abusive) == (80, 0)
    promote(tmp_path / "next", tmp_path / "bundles")
    live.parts.champion.refresh()
    answer: dict[str, Any] = live.api.decide(a_claim())
    assert (answer["decision"], answer["risk"]["certificate_id"]) == ("approve", certificate.certificate_id)
    next(service, None)
