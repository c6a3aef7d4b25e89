"""`python -m training evaluate` from a history folder and a signed bundle to the page and its JSON."""

import json
from datetime import UTC, datetime
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest

from risk.bundle import write_bundle
from risk.features import load_features
from training.__main__ import main
from training.dataset import build_matrix, labels_at
from training.history import open_history
from training.report.render import look_up
from training.report.words import FORMATS

KEY = b"a key for the tests of this file only"
DAYS, CLAIMS = 120, 1_500
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Claims whose amount and whose buyer's past say something about abuse; required columns and a few more."""
    folder = tmp_path_factory.mktemp("evaluate") / "history"
    folder.mkdir()
    rng = np.random.default_rng(1)
    at = pd.to_datetime(np.sort(rng.integers(0, DAYS * 86_400, CLAIMS)) * 1_000_000, unit="us", utc=True)
    at += START - datetime(1970, 1, 1, tzinfo=UTC)
    buyer, amount = rng.integers(0, 150, CLAIMS), rng.integers(500, 50_000, CLAIMS)
    abuse = rng.random(CLAIMS) < np.where(buyer < 15, 0.6, 0.02) + amount / 500_000
    claims = pd.DataFrame(
        {
            "claim_id": [f"k{number}" for number in range(CLAIMS)],
            "submitted_at": at,
            "buyer_id": [f"b{number}" for number in buyer],
            "merchant_id": "m1",
            "amount": amount,
            "reason": rng.choice(["spoiled", "damaged", "quality"], CLAIMS),
        }
    )
    claims.to_parquet(folder / "claims.parquet", index=False)
    orders = claims[["buyer_id", "merchant_id"]].assign(
        order_id=[f"o{number}" for number in range(CLAIMS)], paid_at=at, paid_amount=60_000
    )
    orders.to_parquet(folder / "orders.parquet", index=False)
    labels = pd.DataFrame(
        {
            "claim_id": claims["claim_id"],
            "known_at": at + pd.to_timedelta(rng.integers(1, 20, CLAIMS), unit="D"),
            "label": np.where(abuse, "abuse", "legitimate"),
        }
    )
    # Nothing is known of the last ten days.
    labels[at < at[-1] - pd.Timedelta(days=10)].to_parquet(folder / "labels.parquet", index=False)
    return folder


@pytest.fixture(scope="module")
def bundle(history: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of the first sixty days."""
    folder = tmp_path_factory.mktemp("evaluate") / "bundle"
    with open_history(history) as opened:
        matrix = build_matrix(opened, last=CLAIMS // 2)
        labels = labels_at(opened, None)
    words = matrix.vocabulary()
    values = matrix.encoded({name: {word: code for code, word in enumerate(known)} for name, known in words.items()})
    known = labels[labels["row"] < CLAIMS // 2]
    train = lightgbm.Dataset(values[known["row"]], (known["label"] == "abuse").astype(int))
    parameters = {"objective": "binary", "num_leaves": 7, "verbosity": -1, "num_threads": 1, "deterministic": True}
    booster = lightgbm.train(parameters, train, num_boost_round=30)
    manifest = {
        "trained_until": "2026-03-01T00:00:00+00:00",
        "threshold": 0.05,
        "calibrator": {"slope": 1.0, "intercept": 0.0},
        "features": {"fingerprint": load_features().fingerprint, "signals": [], "categories": words},
    }
    write_bundle(folder, booster.model_to_string(), manifest, KEY)
    return folder


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUNDLE_KEY", KEY.decode())


def evaluate(
    bundle: Path, history: Path, out: Path, *more: str, start: str = "2026-03-01", end: str = "2026-05-01"
) -> int:
    """The exit status of the command."""
    where = ["--bundle", str(bundle), "--history", str(history), "--from", start, "--to", end]
    files = ["--report", str(out / "report.html"), "--json", str(out / "report.json")]
    return main(["evaluate", *where, *files, "--bootstrap", "60", *more])


def test_a_bundle_is_judged_and_page_and_json_agree_and_again_byte_for_byte(
    bundle: Path, history: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(bundle, history, tmp_path, "--top-k", "5") == 0
    output = capsys.readouterr()
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    figures, page = json.loads(written["report.json"]), written["report.html"].decode()
    assert page.count("<svg") == 6
    shown = {"main.discrimination.auc.value": "number", "main.own.bound": "fine", "population.claims": "count"}
    for path, form in shown.items():
        assert f'data-figure="{path}" data-form="{form}">{FORMATS[form](look_up(figures, path))}<' in page
    auc = figures["main"]["discrimination"]["auc"]
    assert 0.6 < auc["low"] < auc["value"] < auc["high"] <= 1.0
    assert figures["population"]["unlabelled"] > 100
    assert {way["title"] for way in figures["main"]["segments"]} == {"Guarantee", "Category", "Age of account"}
    assert sum(line["share"] for line in figures["gain"]) == pytest.approx(1.0)
    assert f"AUC {auc['value']:.3f}" in output.out
    assert "judging" in output.err
    assert "is not known" in output.err
    assert evaluate(bundle, history, tmp_path, "--top-k", "5") == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == written


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        ("2026-05-01", "2026-03-01", "--from has to be before --to"),
        ("2027-05-01", "2027-06-01", "no claim"),
        ("2026-04-25", "2026-05-01", "none is known"),
    ],
)
def test_a_stretch_that_cannot_be_judged_is_refused_in_one_sentence(
    bundle: Path, history: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], start: str, end: str, said: str
) -> None:
    assert evaluate(bundle, history, tmp_path, start=start, end=end) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_everything_wrong_with_the_arguments_is_said_at_once(
    bundle: Path, history: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(bundle, history, tmp_path / "missing", "--top-k", "0", "--bootstrap", "1") == 1
    error = capsys.readouterr().err
    for name in ("--top-k", "--bootstrap", "--report", "--json"):
        assert name in error


def test_a_bundle_that_does_not_vouch_for_itself_is_refused(
    bundle: Path, history: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUNDLE_KEY", "another key " * 3)
    assert evaluate(bundle, history, tmp_path) == 1
    assert "signature" in capsys.readouterr().err
