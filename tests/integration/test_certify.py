"""`certify` on a simulated history: what it counts, what it refuses, what it leaves behind."""

import errno
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binom

from risk.bundle import Bundle, signing_key, write_bundle
from risk.errors import BundleError
from risk.promise.appetite import parse_appetite
from risk.promise.certificate import Certificate, standing
from risk.promise.thin import uniform
from training.__main__ import main as training
from training.certificates.write import put_in, signature_of

DAY = 86_400_000_000
FROM, TO = "2026-04-01", "2026-10-31"
SHIPPED = (Path(__file__).resolve().parents[2] / "risk" / "promise" / "appetite.toml").read_text(encoding="utf-8").replace(
    "looks = 1", "looks = 2"
)
LENIENT = SHIPPED.replace("alpha = 0.03", "alpha = 0.06")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history in which a champion approved most claims, a bundle of its first part, scores of the rest, an appetite."""
    folder = tmp_path_factory.mktemp("certify")
    history, bundle = ["--history", str(folder / "history")], ["--bundle", str(folder / "bundle")]
    assert training(["simulate", "--out", history[1], "--claims", "16000", "--seed", "5", "--hide-approved"]) == 0
    assert training(["train", *history, "--until", "2026-06-01", "--out", bundle[1]]) == 0
    assert training(["score", *history, *bundle, "--from", FROM, "--to", TO, "--out", str(folder / "scores.parquet")]) == 0
    (folder / "lenient.toml").write_text(LENIENT, encoding="utf-8")
    return folder


@pytest.fixture
def bundle(place: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may change."""
    return Path(shutil.copytree(place / "bundle", tmp_path / "bundles" / "candidate"))


Certify = Callable[..., int]


@pytest.fixture
def certify(place: Path, bundle: Path) -> Certify:
    """Run the command on the copy; options given replace those of the same name, None takes one away."""

    def run(**options: object) -> int:
        given = {
            "history": place / "history", "bundle": bundle, "scores": place / "scores.parquet", "appetite": place / "lenient.toml",
        } | options  # fmt: skip
        words = [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
        return training(["certify", *words])

    return run


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _certificate(bundle: Path) -> Certificate:
    found = Bundle.load(bundle, signing_key()).certificate
    assert found is not None
    return found


def _copy(place: Path, tmp_path: Path, **tables: pd.DataFrame | None) -> Path:
    """The history with other tables; None leaves one out."""
    folder = tmp_path / "history"
    shutil.copytree(place / "history", folder)
    for name, frame in tables.items():
        (folder / f"{name}.parquet").unlink()
        if frame is not None:
            frame.to_parquet(folder / f"{name}.parquet", index=False)
    return folder


def test_what_is_certified_is_what_counting_by_hand_gives(place: Path, bundle: Path, certify: Certify) -> None:
    before = _bytes(bundle)
    assert certify() == 0
    certificate, appetite = _certificate(bundle), parse_appetite(LENIENT)
    evidence = certificate.segments["small"]
    assert evidence.status == "certified"
    assert evidence.threshold is not None

    tables = {name: pd.read_parquet(place / "history" / f"{name}.parquet") for name in ("claims", "labels", "decisions")}
    scores = pd.read_parquet(place / "scores.parquet")
    latest = tables["labels"].sort_values("known_at").groupby("claim_id")["label"].last()
    rows = scores.merge(tables["claims"][["claim_id", "amount"]]).merge(tables["decisions"][["claim_id", "audit_selected"]])
    assert (tables["decisions"]["decision"] == "approve").mean() > 0.6
    eligible = rows[rows["eligible"]]
    small = eligible[eligible["segment"] == "small"]
    assert (small["amount"] <= 30_000).all()
    # The simulated platform draws with exactly the amount's share of the largest: nothing has to be thinned.
    label = small["claim_id"].map(latest)
    counted = small["audit_selected"] & (small["score"] <= evidence.threshold)
    assert evidence.drawn == counted.sum()
    assert evidence.abusive == (label != "legitimate")[counted].sum()
    assert evidence.unresolved == (~label.isin(("abuse", "legitimate")))[counted].sum()
    assert evidence.error == pytest.approx(0.10 / 2 / 2)
    assert binom.cdf(evidence.abusive, evidence.drawn, 0.06) <= evidence.error
    assert binom.cdf(evidence.abusive, evidence.drawn, evidence.bound) == pytest.approx(evidence.error, rel=1e-6)
    below = small["score"] <= evidence.threshold
    passed = [point for point in evidence.curve if point.bound <= 0.06]
    assert passed[-1].threshold == evidence.threshold
    assert passed[-1].money_share == pytest.approx(small["amount"][below].sum() / small["amount"].sum())
    assert (certificate.data.claims, certificate.data.eligible) == (len(scores), len(eligible))
    assert certificate.valid_until - certificate.issued_at == 90 * DAY

    after = _bytes(bundle)
    assert before["model.txt"] == after["model.txt"]
    manifest = {name: json.loads(state["manifest.json"]) for name, state in (("before", before), ("after", after))}
    manifest["after"].pop("certificate")
    assert manifest["before"] == manifest["after"]
    allowed = standing(certificate, appetite.segment[0], appetite, certificate.issued_at)
    assert allowed.threshold == evidence.threshold
    lapsed = standing(certificate, appetite.segment[0], appetite, certificate.valid_until + 1)
    assert lapsed.threshold is None


def test_scoring_by_itself_gives_the_same_evidence_as_a_file_of_scores(bundle: Path, certify: Certify) -> None:
    assert certify() == 0
    first = _certificate(bundle)
    assert certify(scores=None, **{"from": FROM, "to": TO}) == 0
    second = _certificate(bundle)
    assert first.segments == second.segments
    assert (first.data, first.look, second.look) == (second.data, 1, 2)
    assert first.certificate_id != second.certificate_id


def test_it_says_what_it_found_in_a_table_in_sentences_and_as_json(
    bundle: Path, certify: Certify, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert certify(json=tmp_path / "certificate.json") == 0
    said, certificate = capsys.readouterr().out, _certificate(bundle)
    assert Certificate.model_validate_json((tmp_path / "certificate.json").read_text()) == certificate
    assert certificate.certificate_id in said
    assert "look 1 of 2" in said
    assert "large: not enough evidence yet, approve nothing here" in said
    for evidence in certificate.segments.values():
        assert evidence.detail in said


def test_a_scored_file_tells_which_claims_a_certificate_is_about(place: Path) -> None:
    scores = pd.read_parquet(place / "scores.parquet")
    assert list(scores.columns) == ["claim_id", "submitted_at", "score", "decision", "eligible", "guarantee", "segment"]
    # Nothing is certified yet.
    assert set(scores["decision"]) == {"review"}
    assert 0.4 < scores["eligible"].mean() < 0.7
    assert scores.loc[scores["eligible"], ["guarantee", "segment"]].notna().all(axis=None)


def test_a_tight_appetite_gets_a_certificate_that_approves_nothing_and_the_look_is_spent(
    place: Path, bundle: Path, certify: Certify, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tight = tmp_path / "tight.toml"
    tight.write_text(SHIPPED.replace("alpha = 0.03", "alpha = 0.012"), encoding="utf-8")
    assert certify(appetite=tight) == 0
    evidence = _certificate(bundle).segments["small"]
    assert evidence.status in {"not_enough_evidence", "above_alpha"}
    assert evidence.threshold is None
    assert "approve nothing here" in capsys.readouterr().out
    assert certify() == 0
    assert _certificate(bundle).look == 2
    before = _bytes(bundle)
    capsys.readouterr()
    assert certify() == 1
    assert "was tested 2 times, as often as the appetite allows: train a new bundle" in capsys.readouterr().err
    assert _bytes(bundle) == before


def test_looks_that_were_planned_cannot_be_changed_after_the_first(
    bundle: Path, certify: Certify, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert certify() == 0
    more = tmp_path / "more.toml"
    more.write_text(LENIENT.replace("looks = 2", "looks = 20"), encoding="utf-8")
    before = _bytes(bundle)
    assert certify(appetite=more) == 1
    assert "was to be tested 2 times" in capsys.readouterr().err
    assert _bytes(bundle) == before


def test_where_nothing_could_be_tested_no_look_is_spent_and_a_certificate_stays(
    place: Path, bundle: Path, certify: Certify, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decisions = pd.read_parquet(place / "history" / "decisions.parquet")
    decisions["audit_probability"] *= 0.3
    decisions["audit_selected"] &= np.random.default_rng(3).random(len(decisions)) < 0.3
    labels = pd.read_parquet(place / "history" / "labels.parquet")
    drawn = set(decisions.loc[decisions["audit_selected"].fillna(False), "claim_id"])
    labels["audit_probability"] = (labels["audit_probability"] * 0.3).where(labels["claim_id"].isin(drawn))
    history = _copy(place, tmp_path, decisions=decisions, labels=labels)
    short = {"from": "2026-06-01", "to": "2026-07-01", "history": history}
    assert certify(**short) == 0
    first = _certificate(bundle)
    assert first.segments["small"].status == "not_enough_evidence"
    assert first.segments["small"].missing > 0
    assert not any(evidence.curve for evidence in first.segments.values())
    assert certify() == 0
    assert _certificate(bundle).look == 1
    before = _bytes(bundle)
    capsys.readouterr()
    assert certify(**short) == 1
    assert "segment small: not enough evidence yet" in capsys.readouterr().err
    assert _bytes(bundle) == before


def test_an_appetite_that_cannot_be_met_is_refused_by_segment_and_nothing_is_left(
    bundle: Path, certify: Certify, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    impossible = tmp_path / "impossible.toml"
    impossible.write_text(SHIPPED.replace("alpha = 0.03", "alpha = 0.0005"), encoding="utf-8")
    before = _bytes(bundle)
    assert certify(appetite=impossible, json=tmp_path / "c.json") == 1
    said = capsys.readouterr().err
    for segment in ("small", "large"):
        assert f"segment {segment}: even if all" in said
    # log(0.025) / log(1 - 0.0005), by hand.
    assert "7,376 are needed without any abuse" in said
    assert _bytes(bundle) == before
    assert [path.name for path in bundle.parent.iterdir()] == ["candidate"]
    assert not (tmp_path / "c.json").exists()


def test_claims_that_the_model_learnt_from_and_claims_too_young_are_no_evidence(
    bundle: Path, certify: Certify, capsys: pytest.CaptureFixture[str]
) -> None:
    first = json.loads((bundle / "manifest.json").read_text())["slices"]["calibrate"]["from"][:10]
    assert certify(scores=None, **{"from": "2026-01-01", "to": "2026-11-20"}) == 1
    said = capsys.readouterr().err
    assert f"--from: the model has learnt from claims before {first}" in said
    assert "--to: claims count from 30 days of age on, and labels are known until 2026-11-30: at most 2026-10-31" in said
    assert certify(**{"from": "2026-07-01", "to": "2026-07-01"}) == 1
    assert "there is nothing" in capsys.readouterr().err
    assert certify(until="2026-06-15", to="2026-05-17") == 1
    assert "labels are known until 2026-06-15: at most 2026-05-16" in capsys.readouterr().err


def test_labels_known_after_until_do_not_exist_and_what_is_unknown_then_counts_as_abuse(
    place: Path, bundle: Path, certify: Certify
) -> None:
    assert certify(until="2026-08-01", to="2026-07-02") == 0
    certificate = _certificate(bundle)
    labels = pd.read_parquet(place / "history" / "labels.parquet")
    scores = pd.read_parquet(place / "scores.parquet")
    drawn = pd.read_parquet(place / "history" / "decisions.parquet").set_index("claim_id")["audit_selected"]
    known = labels[labels["known_at"] < pd.Timestamp("2026-08-01", tz="UTC")]
    latest = known.sort_values("known_at").groupby("claim_id")["label"].last()
    part = scores[scores["eligible"] & (scores["segment"] == "small") & (scores["submitted_at"] < pd.Timestamp("2026-07-02", tz="UTC"))]
    evidence = certificate.segments["small"]
    last = evidence.threshold if evidence.threshold is not None else evidence.curve[0].threshold
    rows = part[part["claim_id"].map(drawn) & (part["score"] <= last)]
    assert evidence.drawn == len(rows)
    assert evidence.abusive == (rows["claim_id"].map(latest) != "legitimate").sum()


def test_scores_of_another_bundle_another_appetite_or_a_shorter_stretch_are_refused(
    place: Path, bundle: Path, certify: Certify, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _bytes(bundle)
    first, other = Bundle.load(bundle, signing_key()), tmp_path / "bundles" / "other"
    manifest = {name: part for name, part in first.manifest.items() if name not in {"version", "files"}}
    version = write_bundle(other, (bundle / "model.txt").read_text() + "\n", manifest, signing_key())
    assert certify(bundle=other) == 1
    assert f"--scores: scores of another bundle, {first.version}, not of {version}" in capsys.readouterr().err
    wider = tmp_path / "wider.toml"
    wider.write_text(LENIENT.replace("largest = { CNY = 30000 }", "largest = { CNY = 40000 }"), encoding="utf-8")
    assert certify(appetite=wider, **{"from": "2026-03-30"}) == 1
    said = capsys.readouterr().err
    assert "--scores: scores of other segments than the appetite's" in said
    assert "--scores: scores from 2026-04-01 to 2026-10-31, wanted are those from 2026-03-30" in said
    plain = tmp_path / "plain.parquet"
    pd.read_parquet(place / "scores.parquet").to_parquet(plain)
    assert certify(scores=plain) == 1
    assert "does not say what it comes from" in capsys.readouterr().err
    assert certify(scores=tmp_path / "none.parquet") == 1
    assert "cannot be read" in capsys.readouterr().err
    assert _bytes(bundle) == before


def test_scores_of_another_history_are_refused(
    place: Path, certify: Certify, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    claims = pd.read_parquet(place / "history" / "claims.parquet")
    newer = claims["submitted_at"] > pd.Timestamp("2026-08-01", tz="UTC")
    names = dict(zip(claims[newer]["claim_id"].iloc[:3], ["new-1", "new-2", "new-3"], strict=True))
    labels = pd.read_parquet(place / "history" / "labels.parquet")
    tables = {name: frame.assign(claim_id=frame["claim_id"].replace(names)) for name, frame in (("claims", claims), ("labels", labels))}
    folder = _copy(place, tmp_path, **tables)
    assert certify(history=folder) == 1
    assert "3 claims of the history have no score" in capsys.readouterr().err


def test_approvals_that_could_not_be_drawn_make_a_segment_unusable_and_are_counted(
    place: Path, bundle: Path, certify: Certify, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decisions = pd.read_parquet(place / "history" / "decisions.parquet")
    scores = pd.read_parquet(place / "scores.parquet")
    small = scores[scores["eligible"] & (scores["segment"] == "small")]["claim_id"]
    chosen = decisions["claim_id"].isin(small.head(40))
    decisions["decision"] = decisions["decision"].mask(chosen, "approve")
    decisions["audit_probability"] = decisions["audit_probability"].mask(chosen)
    decisions["audit_selected"] = decisions["audit_selected"].astype("boolean").mask(chosen)
    before = _bytes(bundle)
    assert certify(history=_copy(place, tmp_path, decisions=decisions)) == 0
    evidence = _certificate(bundle).segments["small"]
    assert (evidence.status, evidence.curve) == ("not_enough_evidence", ())
    assert f"40 of {len(small):,} claims were approved without a chance of being drawn" in evidence.detail
    assert evidence.detail in capsys.readouterr().out
    assert _bytes(bundle) != before
    # Where no segment is usable nothing is written.
    (tmp_path / "history" / "decisions.parquet").unlink()
    decisions["decision"] = "approve"
    decisions[["claim_id", "decision"]].to_parquet(tmp_path / "history" / "decisions.parquet", index=False)
    state = _bytes(bundle)
    assert certify(history=tmp_path / "history") == 1
    said = capsys.readouterr().err
    assert "segment small" in said
    assert "segment large" in said
    assert _bytes(bundle) == state


def test_a_history_without_decisions_counts_everything_as_reviewed_and_thins_it(
    place: Path, bundle: Path, certify: Certify, tmp_path: Path
) -> None:
    # A world in which every claim has a label.
    claims = pd.read_parquet(place / "history" / "claims.parquet")
    truth = pd.read_parquet(place / "history.oracle.parquet").set_index("claim_id")["abuse"]
    labels = pd.DataFrame(
        {
            "claim_id": claims["claim_id"],
            "known_at": claims["submitted_at"] + pd.Timedelta(hours=1),
            "label": np.where(claims["claim_id"].map(truth), "abuse", "legitimate"),
        }
    )
    assert certify(history=_copy(place, tmp_path, decisions=None, labels=labels)) == 0
    evidence = _certificate(bundle).segments["small"]
    scores = pd.read_parquet(place / "scores.parquet").merge(claims[["claim_id", "amount"]])
    small = scores[scores["eligible"] & (scores["segment"] == "small")]
    kept = small[small["claim_id"].map(uniform) < small["amount"] / 30_000]
    last = evidence.threshold if evidence.threshold is not None else evidence.curve[0].threshold
    counted = kept[kept["score"] <= last]
    assert (evidence.drawn, evidence.abusive) == (len(counted), counted["claim_id"].map(truth).sum())
    assert evidence.unresolved == 0


def test_a_claim_with_a_tiny_chance_is_named_with_what_it_costs(
    place: Path, certify: Certify, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decisions = pd.read_parquet(place / "history" / "decisions.parquet")
    scores = pd.read_parquet(place / "scores.parquet")
    rare = scores[scores["eligible"] & (scores["segment"] == "small")]["claim_id"].iloc[0]
    decisions.loc[decisions["claim_id"] == rare, ["audit_probability", "audit_selected"]] = [1e-7, False]
    assert certify(history=_copy(place, tmp_path, decisions=decisions)) == 0
    assert f"warning: small: claim {rare} had so small a chance of being drawn" in capsys.readouterr().err


def test_decisions_that_make_no_sense_are_refused_with_all_that_is_wrong(
    place: Path, bundle: Path, certify: Certify, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decisions = pd.read_parquet(place / "history" / "decisions.parquet")
    decisions["audit_selected"] = decisions["audit_selected"].astype("boolean")
    decisions.loc[0, "audit_probability"] = 1.5
    decisions.loc[1:2, "audit_selected"] = None
    decisions.loc[3, ["audit_selected", "audit_probability"]] = [True, 0.0]
    decisions.loc[4:7, "decision"] = "deny"
    decisions.loc[8, "claim_id"] = decisions.loc[9, "claim_id"]
    before = _bytes(bundle)
    assert certify(history=_copy(place, tmp_path, decisions=decisions)) == 1
    said = capsys.readouterr().err
    for problem in (
        "decisions.claim_id: 1 claims are decided more than once",
        "decisions.decision: 4 decisions are neither approve nor review",
        "decisions.audit_probability: 1 probabilities are below 0 or above 1",
        "decisions.audit_selected: 2 claims have a probability of an audit, and nothing says whether they were drawn",
        "decisions.audit_selected: 1 claims were drawn with no probability",
    ):
        assert problem in said
    decisions["audit_probability"] = decisions["audit_probability"].astype(str).replace("1.5", "often")
    shutil.rmtree(tmp_path / "history")
    assert certify(history=_copy(place, tmp_path, decisions=decisions)) == 1
    assert "decisions.audit_probability: 1 values of another type" in capsys.readouterr().err
    assert _bytes(bundle) == before


def test_claims_that_occur_twice_are_no_evidence_twice(
    place: Path, bundle: Path, certify: Certify, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, claims = _bytes(bundle), pd.read_parquet(place / "history" / "claims.parquet")
    assert certify(history=_copy(place, tmp_path, claims=pd.concat([claims] * 5))) == 1
    assert "claims.claim_id: " in (said := capsys.readouterr().err)
    assert "ids occur more than once" in said
    scores = pq.read_table(place / "scores.parquet")
    pq.write_table(pa.concat_tables([scores, scores]), tmp_path / "twice.parquet")
    assert certify(scores=tmp_path / "twice.parquet") == 1
    assert f"--scores: {len(scores):,} rows are about a claim that has a score already" in capsys.readouterr().err
    assert _bytes(bundle) == before


def test_draws_that_their_probabilities_do_not_explain_are_refused(
    place: Path, bundle: Path, certify: Certify, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decisions = pd.read_parquet(place / "history" / "decisions.parquet")
    before = _bytes(bundle)
    sure = decisions.assign(audit_probability=1.0)
    assert certify(history=_copy(place, tmp_path, decisions=sure)) == 1
    assert "claims were not drawn although that was certain" in capsys.readouterr().err
    # Somebody keeps what turned out to be abuse out of what was drawn.
    labels = pd.read_parquet(place / "history" / "labels.parquet")
    bad = set(labels[labels["label"] == "abuse"]["claim_id"])
    kind = decisions.assign(audit_selected=decisions["audit_selected"] & ~decisions["claim_id"].isin(bad))
    shutil.rmtree(tmp_path / "history")
    assert certify(history=_copy(place, tmp_path, decisions=kind)) == 1
    assert "claims were not drawn, and a label says that they were" in capsys.readouterr().err
    # A third of what was drawn got lost.
    lost = decisions.assign(audit_selected=decisions["audit_selected"] & (np.arange(len(decisions)) % 3 > 0))
    shutil.rmtree(tmp_path / "history")
    assert certify(history=_copy(place, tmp_path, decisions=lost)) == 1
    assert re.search(r"decisions.audit_selected: [\d,]+ claims were drawn, by their probabilities about [\d,]+ would", capsys.readouterr().err)
    assert _bytes(bundle) == before


def test_claims_about_no_money_and_chances_below_every_number_do_no_harm(place: Path, certify: Certify, tmp_path: Path) -> None:
    decisions = pd.read_parquet(place / "history" / "decisions.parquet")
    scores = pd.read_parquet(place / "scores.parquet")
    rare = scores[scores["eligible"] & (scores["segment"] == "small")]["claim_id"].iloc[0]
    decisions.loc[decisions["claim_id"] == rare, "audit_probability"] = 5e-324
    claims = pd.read_parquet(place / "history" / "claims.parquet")
    claims.loc[claims["claim_id"] == decisions[decisions["audit_selected"]]["claim_id"].iloc[-1], "amount"] = 0
    assert certify(history=_copy(place, tmp_path, decisions=decisions, claims=claims)) == 0


def test_a_day_beyond_the_history_does_not_make_claims_older(place: Path, bundle: Path, certify: Certify) -> None:
    assert certify() == 0
    data = _certificate(bundle).data
    assert certify(until="2099-01-01", bundle=bundle) == 0
    assert _certificate(bundle).data == data


def test_an_appetite_with_a_mistake_is_refused_at_once(
    bundle: Path, certify: Certify, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _bytes(bundle)
    mine = tmp_path / "mine.toml"
    mine.write_text(LENIENT.replace('name = "large"', 'name = "large"\nguarantees = ["made_up"]'), encoding="utf-8")
    assert certify(appetite=mine) == 1
    assert "no policy has a guarantee 'made_up'" in capsys.readouterr().err
    mine.write_text("alpha = [", encoding="utf-8")
    assert certify(appetite=mine) == 1
    assert "is not TOML" in capsys.readouterr().err
    assert _bytes(bundle) == before


def test_an_altered_bundle_is_not_certified(bundle: Path, certify: Certify, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = bundle / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"trees"', '"forest"'))
    assert certify() == 1
    assert "does not match its signature" in capsys.readouterr().err


def test_a_certificate_for_another_model_or_for_a_bundle_that_changed_meanwhile_is_refused(bundle: Path, certify: Certify) -> None:
    assert certify() == 0
    certificate, state = _certificate(bundle), _bytes(bundle)
    with pytest.raises(BundleError, match="is about another model"):
        put_in(bundle, certificate.model_copy(update={"model": "0" * 64}), signing_key(), before=signature_of(bundle))
    with pytest.raises(BundleError, match="was changed while its evidence was tested"):
        put_in(bundle, certificate, signing_key(), before=b"of yesterday")
    assert _bytes(bundle) == state
    assert [path.name for path in bundle.parent.iterdir()] == ["candidate"]


def test_where_nothing_can_be_written_that_is_said_and_the_bundle_stays_as_it_was(
    bundle: Path, certify: Certify, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    state = _bytes(bundle)
    # Permissions do not stop who runs tests as root.
    monkeypatch.setattr("training.certificates.write.write_bundle", full)
    assert certify() == 1
    assert "error: the certificate cannot be written beside candidate: No space left on device" in capsys.readouterr().err
    assert _bytes(bundle) == state
    assert [path.name for path in bundle.parent.iterdir()] == ["candidate"]


def test_an_interruption_between_the_two_moves_leaves_the_bundle_as_it_was(
    bundle: Path, certify: Certify, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert certify() == 0
    certificate, state, rename, moves = _certificate(bundle), _bytes(bundle), Path.rename, iter(range(3))

    def interrupted(path: Path, target: Path) -> Path:
        if next(moves) == 1:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        put_in(bundle, certificate, signing_key(), before=signature_of(bundle))
    assert _bytes(bundle) == state
    assert [path.name for path in bundle.parent.iterdir()] == ["candidate"]


def test_the_champion_itself_can_be_certified_and_stays_where_it_points(bundle: Path, certify: Certify, tmp_path: Path) -> None:
    assert training(["promote", str(bundle), "--to", str(tmp_path / "store")]) == 0
    champion = tmp_path / "store" / "champion"
    version = Bundle.load(champion, signing_key()).version
    assert certify(bundle=champion) == 0
    assert champion.is_symlink()
    assert Bundle.load(champion, signing_key()).version == version
    assert _certificate(champion).segments["small"].threshold is not None
    assert [path.name for path in (tmp_path / "store" / "versions").iterdir()] == [version]
