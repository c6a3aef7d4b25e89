"""From a history to a bundle: what it learns from, what it refuses, what it leaves behind."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from risk.bundle import Bundle, signing_key
from training.__main__ import main as training
from training.arguments import moment
from training.dataset import build_matrix, labels_at, scored_claims
from training.history import open_history
from training.train import Slice, plain_threshold

UNTIL = "2026-02-01"


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("history") / "history"
    assert training(["simulate", "--out", str(folder), "--claims", "9000", "--seed", "5"]) == 0
    return folder


@pytest.fixture(scope="module")
def bundle(history: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "candidate"
    assert training(["train", "--history", str(history), "--until", UNTIL, "--out", str(folder)]) == 0
    return folder


def _read(folder: Path) -> dict[str, pd.DataFrame]:
    return {table: pd.read_parquet(folder / f"{table}.parquet") for table in ("orders", "claims", "labels")}


def _write(folder: Path, tables: dict[str, pd.DataFrame]) -> Path:
    folder.mkdir()
    for table, frame in tables.items():
        frame.to_parquet(folder / f"{table}.parquet", index=False)
    return folder


def test_the_same_history_and_seed_give_the_same_bytes(history: Path, bundle: Path, tmp_path: Path) -> None:
    assert training(["train", "--history", str(history), "--until", UNTIL, "--out", str(tmp_path / "again")]) == 0
    for name in ("model.txt", "manifest.json", "manifest.sig"):
        assert (tmp_path / "again" / name).read_bytes() == (bundle / name).read_bytes()


def test_nothing_that_became_known_after_until_changes_the_bundle(history: Path, bundle: Path, tmp_path: Path) -> None:
    tables, cut = _read(history), pd.Timestamp(UNTIL, tz="UTC")
    tables["labels"].loc[tables["labels"]["known_at"] >= cut, "label"] = "abuse"
    tables["claims"].loc[tables["claims"]["submitted_at"] >= cut, "amount"] = 1
    changed = _write(tmp_path / "changed", tables)
    assert training(["train", "--history", str(changed), "--until", UNTIL, "--out", str(tmp_path / "bundle")]) == 0
    assert (tmp_path / "bundle" / "model.txt").read_bytes() == (bundle / "model.txt").read_bytes()


def test_slices_follow_each_other_and_leave_the_label_delay_between_learning_and_judging(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    times = {name: (pd.Timestamp(part["from"]), pd.Timestamp(part["to"])) for name, part in manifest["slices"].items()}
    gap = pd.Timedelta(days=manifest["gap_days"])
    slack = pd.Timedelta(seconds=1)
    assert times["fit"][1] + gap <= times["stop"][0] + slack
    assert times["stop"][1] <= times["calibrate"][0] + slack
    assert times["refit"][1] + gap <= times["calibrate"][0] + slack
    assert times["calibrate"][1] + gap <= pd.Timestamp(UNTIL, tz="UTC") + slack


def test_a_history_with_only_the_required_columns_trains_evaluates_and_scores(history: Path, tmp_path: Path) -> None:
    tables = _read(history)
    required = {
        "orders": ["order_id", "buyer_id", "merchant_id", "paid_at", "paid_amount"],
        "claims": ["claim_id", "submitted_at", "buyer_id", "merchant_id", "amount"],
        "labels": ["claim_id", "known_at", "label"],
    }
    plain = _write(tmp_path / "plain", {table: tables[table][columns] for table, columns in required.items()})
    bundle, stretch = str(tmp_path / "bundle"), ["--from", UNTIL, "--to", "2026-04-01"]
    common = ["--history", str(plain)]
    assert training(["train", *common, "--until", UNTIL, "--out", bundle]) == 0
    report = str(tmp_path / "report.html")
    assert training(["evaluate", *common, "--bundle", bundle, *stretch, "--report", report, "--bootstrap", "20"]) == 0
    assert training(["score", *common, "--bundle", bundle, *stretch, "--out", str(tmp_path / "scores.parquet")]) == 0
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    assert list(scores.columns) == ["claim_id", "submitted_at", "score", "decision", "eligible", "guarantee", "segment"]
    # Nobody knows why the buyer claims: that is for a person.
    assert set(scores["decision"]) == {"review"}
    assert not scores["eligible"].any()
    assert scores["score"].between(0, 1).all()


def test_a_bad_history_is_refused_with_every_problem_and_no_bundle_is_left(
    history: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = _read(history)
    tables["claims"].loc[0, "amount"] = -5
    tables["labels"] = pd.concat([tables["labels"], tables["labels"].head(1).assign(claim_id="nobody")])
    bad = _write(tmp_path / "bad", {**tables, "orders": tables["orders"].drop(columns="paid_at")})
    assert training(["train", "--history", str(bad), "--out", str(tmp_path / "bundle")]) == 1
    told = capsys.readouterr().err
    assert all(part in told for part in ("orders.paid_at", "claims.amount", "labels.claim_id"))
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("days", ["-3", "nan", "inf", "-inf", "1e300"])
def test_a_gap_that_is_no_stretch_of_time_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], days: str
) -> None:
    options = ["--history", str(tmp_path / "none"), "--out", str(tmp_path / "bundle"), f"--gap-days={days}", "--alpha", "2"]
    assert training(["train", *options]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: --alpha: a share between 0 and 1 is expected",
        "--gap-days: a number of days from 0 to 3650 is expected",
    ]


def test_a_history_that_begins_after_until_is_refused_in_one_sentence(
    history: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert training(["train", "--history", str(history), "--until", "2020-01-01", "--out", str(tmp_path / "bundle")]) == 1
    assert "no claim before --until (2020-01-01)" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


def test_a_day_that_is_none_is_answered_with_an_example(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        training(["train", "--history", str(tmp_path), "--until", "yesterday", "--out", str(tmp_path / "bundle")])
    assert "argument --until: 'yesterday': a day such as 2026-03-01 is expected" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["log", "score"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_slow_begins(
    history: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    options = ["--bundle", str(bundle), "--from", UNTIL, "--to", "2026-04-01"] if command == "score" else []
    for out, said in ((tmp_path / "nodir" / "x", f"there is no folder {tmp_path / 'nodir'}"), (tmp_path, f"{tmp_path} is a folder")):
        assert training([command, "--history", str(history), *options, "--out", str(out)]) == 1
        assert capsys.readouterr().err == f"error: --out: {said}\n"


def test_a_folder_that_is_no_bundle_is_not_written_over(history: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert training(["train", "--history", str(history), "--until", UNTIL, "--out", str(tmp_path / "mine")]) == 1
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_scores_rank_abuse_on_later_claims_and_neither_column_order_nor_rows_left_out_change_them(
    history: Path, bundle: Path, tmp_path: Path
) -> None:
    tables, model = _read(history), Bundle.load(bundle, signing_key())
    shuffled = {name: frame[frame.columns[::-1]].sample(frac=1, random_state=3) for name, frame in tables.items()}
    start, end = moment(UNTIL), moment("2026-03-01")
    with open_history(history) as plain, open_history(_write(tmp_path / "shuffled", shuffled)) as mixed:
        first, second = scored_claims(plain, model, start, end), scored_claims(mixed, model, start, end)
        part = scored_claims(plain, model, start, moment("2026-02-10"))
    pd.testing.assert_frame_equal(first, second)
    pd.testing.assert_series_equal(part["score"], first["score"].head(len(part)))
    known = first[first["label"].isin(("abuse", "legitimate"))]
    abuse = known["label"] == "abuse"
    assert known.loc[abuse, "score"].mean() > 1.5 * known.loc[~abuse, "score"].mean()


def test_more_confirmed_abuse_never_lowers_a_score(history: Path, bundle: Path) -> None:
    model = Bundle.load(bundle, signing_key())
    with open_history(history) as opened:
        rows = build_matrix(opened, first=0, last=300, signals=model.signals).encoded(model.codes)
    for name in ("buyer_abuse_365d", "device_abuse_365d", "payment_abuse_rate_365d"):
        place, before = model.columns.index(name), None
        for value in (0.0, 0.2, 1.0, 3.0, 10.0):
            rows[:, place] = value
            scores = model.raw(rows)
            assert before is None or np.all(scores >= before)
            before = scores


def test_an_audit_keeps_its_probability_when_an_appeal_turns_its_label(history: Path, tmp_path: Path) -> None:
    tables = _read(history)
    claim = tables["claims"].iloc[0]
    day = pd.Timedelta(days=1)
    tables["labels"] = pd.DataFrame(
        {
            "claim_id": [claim["claim_id"]] * 2,
            "known_at": [claim["submitted_at"] + day, claim["submitted_at"] + 2 * day],
            "label": ["abuse", "legitimate"],
            "source": ["audit", "appeal"],
            "audit_probability": [0.25, None],
        }
    )
    with open_history(_write(tmp_path / "turned", tables)) as opened:
        (row,) = labels_at(opened, None).to_dict("records")
    assert (row["label"], row["audit_probability"]) == ("legitimate", 0.25)


def test_the_threshold_never_splits_claims_of_one_score_and_holds_the_share_of_money() -> None:
    score = np.array([0.1, 0.2, 0.2, 0.3, 0.9])
    part = Slice(0, 1, np.arange(5), np.array([0, 0, 1, 0, 1]), np.ones(5), np.array([60, 20, 20, 900, 5]))
    assert plain_threshold(score, part, alpha=0.02) == 0.3
    assert plain_threshold(score, part, alpha=0.001) == 0.1
    assert plain_threshold(score, part, alpha=0.03) == 0.9
    nothing = Slice(0, 1, np.arange(5), np.ones(5, dtype=int), np.ones(5), np.ones(5, dtype=int))
    assert plain_threshold(score, nothing, alpha=0.5) == 0.0


def test_a_share_that_is_exceeded_on_enough_labels_is_not_taken_back_by_a_large_honest_amount_beyond() -> None:
    count = 1_000
    score = np.arange(count) / count
    abuse, amount = np.zeros(count, dtype=np.int64), np.full(count, 100)
    abuse[500:560] = 1
    amount[999] = 10_000_000
    part = Slice(0, 1, np.arange(count), abuse, np.ones(count), amount)
    assert plain_threshold(score, part, alpha=0.02) == 0.509
    abuse[500:560], abuse[100:105] = 0, 1
    assert plain_threshold(score, part, alpha=0.02) == 0.999


def test_a_promoted_bundle_is_a_copy_that_later_training_does_not_touch(bundle: Path, tmp_path: Path) -> None:
    assert training(["promote", str(bundle), "--to", str(tmp_path)]) == 0
    version = Bundle.load(bundle, signing_key()).version
    assert (tmp_path / "champion").resolve() == tmp_path / "versions" / version
    assert training(["promote", str(bundle), "--to", str(tmp_path)]) == 0
    assert [path.name for path in (tmp_path / "versions").iterdir()] == [version]
    assert Bundle.load(tmp_path / "champion", signing_key()).version == version


def test_promoting_a_kept_version_takes_the_champion_back_to_it(candidates: dict[str, Path], tmp_path: Path) -> None:
    for name in ("first", "second"):
        assert training(["promote", str(candidates[name]), "--to", str(tmp_path)]) == 0
    first = Bundle.load(candidates["first"], signing_key()).version
    assert Bundle.load(tmp_path / "champion", signing_key()).version != first
    assert training(["promote", str(tmp_path / "versions" / first)]) == 0
    assert Bundle.load(tmp_path / "champion", signing_key()).version == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["champion", "versions"]
    assert len(list((tmp_path / "versions").iterdir())) == 2


def test_promoting_the_champion_itself_leaves_it_where_it_is(candidates: dict[str, Path], tmp_path: Path) -> None:
    assert training(["promote", str(candidates["first"]), "--to", str(tmp_path)]) == 0
    before = (tmp_path / "champion").resolve()
    assert training(["promote", str(tmp_path / "champion")]) == 0
    assert (tmp_path / "champion").resolve() == before


def test_promoting_a_bundle_that_may_approve_nothing_says_so(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert training(["promote", str(bundle), "--to", str(tmp_path)]) == 0
    assert "no certificate: every claim will go to a person" in capsys.readouterr().err


def test_a_bundle_that_was_altered_is_not_promoted(bundle: Path, tmp_path: Path) -> None:
    altered = tmp_path / "altered"
    altered.mkdir()
    for file in bundle.iterdir():
        (altered / file.name).write_bytes(file.read_bytes())
    (altered / "manifest.json").write_text((altered / "manifest.json").read_text().replace('"alpha": 0.03', '"alpha": 0.9'))
    assert training(["promote", str(altered)]) == 1
    assert not (tmp_path / "champion").exists()
