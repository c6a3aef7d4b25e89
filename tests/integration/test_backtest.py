"""`python -m training backtest` from a history folder and a signed bundle to the page, its JSON and the table."""

import json
import re
import shutil
from dataclasses import replace
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from risk.bundle import MODEL, Bundle, signing_key
from risk.errors import HistoryError
from risk.promise.appetite import Appetite, load_appetite
from risk.promise.certificate import Certificate, Evidence, Rested
from training.__main__ import main
from training.arguments import moment
from training.backtest.command import Asked, Contender, as_json, judged
from training.backtest.figures import Settings
from training.backtest.page import render_html
from training.backtest.replay import REASONS, prepare, replay, rules_of
from training.backtest.stretch import Loaded, load, read_oracle
from training.backtest.truth import read_truth
from training.backtest.words import FORMATS
from training.certificates.write import put_in, signature_of
from training.history import open_history
from training.report.render import look_up
from training.score import decided_claims

UNTIL, FROM, TO = "2026-02-01", "2026-03-01", "2026-10-01"
THRESHOLD = 0.04


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated one, in which some orders have a second claim some hours after the first, drawn and labelled as it was."""
    folder = tmp_path_factory.mktemp("backtest") / "history"
    assert main(["simulate", "--out", str(folder), "--claims", "9000", "--seed", "5"]) == 0
    claims = pd.read_parquet(folder / "claims.parquet")
    second = claims[(claims["submitted_at"] >= FROM) & (claims["submitted_at"] < "2026-05-01")].iloc[::3].copy()
    # Some have room on their order and some have not.
    second["amount"] = (second["amount"] * np.random.default_rng(2).choice([0.2, 0.6, 1.0], len(second))).astype("int64") + 1
    second["submitted_at"] += pd.Timedelta(hours=30)
    for file in (*folder.iterdir(), folder.parent / f"{folder.name}.oracle.parquet"):
        if file.name != "orders.parquet":
            table = claims if file.name == "claims.parquet" else pd.read_parquet(file)
            more = second if file.name == "claims.parquet" else table[table["claim_id"].isin(second["claim_id"])].copy()
            if "known_at" in more:
                more["known_at"] += pd.Timedelta(hours=31)
            pd.concat([table, more.assign(claim_id=more["claim_id"] + "-again")]).to_parquet(file, index=False)
    return folder


@pytest.fixture(scope="module")
def oracle(history: Path) -> Path:
    return history.parent / f"{history.name}.oracle.parquet"


@pytest.fixture(scope="module")
def plain(history: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle without a certificate."""
    folder = tmp_path_factory.mktemp("bundles") / "plain"
    assert main(["train", "--history", str(history), "--until", UNTIL, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def bundle(plain: Path) -> Path:
    """The same bundle, with a certificate for the segment `small` alone."""
    folder = plain.parent / "certified"
    shutil.copytree(plain, folder)
    appetite, model = load_appetite(), Bundle.load(plain, signing_key()).manifest["files"][MODEL]
    until = moment(UNTIL)
    evidence = Evidence(
        alpha=appetite.promise.alpha, error=0.02, status="certified", threshold=THRESHOLD, drawn=900, abusive=9, unresolved=1,
        bound=0.02, missing=0, detail="held", curve=(),
    )  # fmt: skip
    none = evidence.model_copy(update={"threshold": None, "status": "not_enough_evidence", "detail": "not enough evidence yet"})
    certificate = Certificate(
        certificate_id="cert-1", model=model, method="made up", issued_at=until, valid_until=moment("2026-09-01"),
        appetite_version=appetite.version, population=appetite.population, delta=appetite.promise.delta, look=1, looks=2,
        data=Rested(history={}, start=until - 10, end=until, labels_until=until, claims=10, eligible=5, policies={}),
        segments={"small": evidence, "large": none},
    )  # fmt: skip
    put_in(folder, certificate, signing_key(), before=signature_of(folder))
    return folder


def backtest(bundle: Path, history: Path, *more: str, start: str = FROM, end: str = TO) -> int:
    """The exit status of the command."""
    where = ["--bundle", str(bundle), "--history", str(history), "--from", start, "--to", end]
    return main(["backtest", *where, "--bootstrap", "60", *more])


def figures_of(bundle: Path, history: Path, out: Path, *more: str, **stretch: str) -> dict[str, Any]:
    """What the command says as JSON."""
    assert backtest(bundle, history, "--json", str(out / "figures.json"), *more, **stretch) == 0
    found: dict[str, Any] = json.loads((out / "figures.json").read_text())
    return found


def asked_of(bundle: Bundle, appetite: Appetite | None = None, *, plain: float | None = None, against: Appetite | None = None) -> Asked:
    """A bundle under an appetite, the shipped one if none is named; against the same under another one."""
    own = Contender("as asked", bundle, (), appetite or load_appetite(), plain)
    return Asked(own, None if against is None else Contender("the comparison", bundle, (), against, plain))


def told(loaded: Loaded, asked: Asked) -> dict[str, Any]:
    """The figures of a stretch that was read, as JSON."""
    figures = judged(loaded, "history", moment(FROM), moment(TO), asked, Settings(60, 1))
    return json.loads(json.dumps(as_json(figures)))


def changed(**changes: dict[str, Any]) -> Appetite:
    """The shipped appetite with parts replaced."""
    data = load_appetite().model_dump()
    return Appetite.model_validate({**data, **{name: {**data[name], **part} if isinstance(data[name], dict) else part for name, part in changes.items()}})


@pytest.fixture(scope="module")
def loaded(bundle: Path, history: Path, oracle: Path) -> tuple[Loaded, Bundle]:
    """The stretch, read once."""
    model = Bundle.load(bundle, signing_key())
    with open_history(history) as opened:
        return load(opened, moment(FROM), moment(TO), [(model, ())], oracle=oracle, seed=1), model


def test_without_quotas_every_decision_is_the_one_that_score_gives(history: Path, loaded: tuple[Loaded, Bundle]) -> None:
    found, model = loaded
    appetite = load_appetite()
    with open_history(history) as opened:
        expected = decided_claims(opened, model, moment(FROM), moment(TO), appetite)
    score = found.scores[model.version, ()]
    assert np.array_equal(score, expected["score"].to_numpy())
    rules = rules_of(found.stretch, found.judged[()], score, appetite, model.certificate, None)
    played = replay(found.stretch, rules, prepare(found.stretch, rules, quotas=False))
    assert played.approved.tolist() == (expected["decision"] == "approve").tolist()
    assert 0.2 < played.approved.mean() < 0.6
    # Claims on one order are decided after each other.
    assert len(found.stretch.repeated) > 200
    reasons = {REASONS[number] for place, number in enumerate(played.reason) if place in found.stretch.repeated}
    assert {"order_amount", "cover_amount"} <= reasons
    names = [None if place < 0 else appetite.segment[place].name for place in rules.segment]
    assert names == [name if isinstance(name, str) else None for name in expected["segment"]]
    eligible = expected["eligible"].to_numpy(bool)
    alone = np.array([place not in found.stretch.repeated for place in range(len(found.stretch))])
    before_score = (prepare(found.stretch, rules, quotas=False).gate == 0) & (rules.segment >= 0)
    assert np.array_equal(eligible[alone], before_score[alone])
    # The certificate lapsed on 1 September.
    assert not played.approved[found.stretch.when > moment("2026-09-01")].any()


def test_page_json_and_table_say_the_same_and_again_byte_for_byte(
    bundle: Path, history: Path, oracle: Path, loaded: tuple[Loaded, Bundle], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ("--report", str(tmp_path / "page.html"), "--oracle", str(oracle))
    figures = figures_of(bundle, history, tmp_path, *files)
    output = capsys.readouterr()
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    page = written["page.html"].decode()
    shown = re.findall(r'data-figure="([^"]+)" data-form="([^"]+)">([^<]*)<', page)
    assert len(shown) > 500
    for path, form, text in shown:
        assert text == FORMATS[form](look_up(figures, path)), path
    for part in ("tradeoff", "outcomes.0.buyers", "outcomes.0.payers", "outcomes.0.load", "outcomes.0.fairness", "outcomes.0.segments"):
        assert any(path.startswith(part) for path, _form, _text in shown), part
    embedded = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert embedded
    assert json.loads(embedded[1]) == figures
    assert page.count("<svg") == 7
    assert not re.search(r'(src|href)="(https?:)?//', page)
    for sentence in figures["summary"]:
        assert sentence in output.out
    for row in figures["tradeoff"]:
        line = next(line for line in output.out.splitlines() if FORMATS["money"](row["costs"]["total"]) in line and FORMATS["percent"](row["approved_share"]) in line)
        assert FORMATS["fine"](row["let_through"]["value"]) in line
    # Read again, judged again, drawn again.
    again = told(loaded[0], asked_of(loaded[1]))
    assert again == figures
    assert render_html(again) == page


def test_estimates_hold_what_the_oracle_knows(loaded: tuple[Loaded, Bundle]) -> None:
    figures = told(loaded[0], asked_of(loaded[1], plain=THRESHOLD))
    assert figures["subject"]["design"] == "drawn"
    own = figures["outcomes"][0]
    through, bound = own["let_through"], own["bound"]
    assert through["share"]["low"] <= through["true"] <= through["share"]["high"]
    assert through["true"] <= bound["value"]
    held = [row["let_through"]["low"] <= row["true_let_through"] <= row["let_through"]["high"] for row in figures["tradeoff"] if row["approved_share"]]
    assert np.mean(held) >= 0.8
    buyers = own["buyers"]
    assert buyers["paid_at_once"]["low"] - 0.02 <= buyers["true_paid_at_once"] <= buyers["paid_at_once"]["high"] + 0.02
    groups = [group for look in own["fairness"] for group in look["groups"] if group["judged"]]
    near = [group["paid_at_once"]["low"] - 0.03 <= group["true_paid_at_once"] <= group["paid_at_once"]["high"] + 0.03 for group in groups]
    assert np.mean(near) >= 0.9


def test_the_rows_of_the_tradeoff_go_from_nothing_to_all_and_mark_what_was_asked(loaded: tuple[Loaded, Bundle]) -> None:
    rows = told(loaded[0], asked_of(loaded[1]))["tradeoff"]
    assert (rows[0]["name"], rows[0]["approved_share"]) == ("nothing", 0.0)
    assert rows[-1]["name"] == "all"
    assert 8 <= len(rows) <= 12
    by_score = [row for row in rows if row["name"] != "own"]
    for one, other in pairwise(by_score):
        assert one["approved_share"] < other["approved_share"]
        assert one["reviews_per_hour"] >= other["reviews_per_hour"]
    assert sum(row["own"] for row in rows) == sum(row["nearest"] for row in rows) == sum(row["cheapest"] for row in rows) == 1
    costs = rows[0]["costs"]
    assert costs["total"] == pytest.approx(sum(costs[part] for part in ("abuse", "reviewing", "waiting", "lost_buyers")))
    assert costs["abuse"] == 0.0


def test_an_uncertified_bundle_approves_nothing_and_says_so_and_a_plain_threshold_is_told_in_large_letters(
    plain: Path, loaded: tuple[Loaded, Bundle]
) -> None:
    figures = told(loaded[0], asked_of(Bundle.load(plain, signing_key())))
    assert figures["outcomes"][0]["approved"] == 0
    # What approves nothing is a row of the table already.
    assert figures["tradeoff"][0]["own"]
    certificate = next(line for line in figures["outcomes"][0]["reasons"] if line["reason"] == "certificate")
    assert certificate["claims"] > 0
    assert '<p class="loud" role="alert">Nothing is approved' in render_html(figures)
    figures = told(loaded[0], asked_of(loaded[1], plain=0.03))
    assert figures["loud"].startswith("Uncertified")
    assert '<p class="loud" role="alert">Uncertified' in render_html(figures)
    assert {line["threshold"] for line in figures["outcomes"][0]["segments"]} == {0.03}


def test_another_appetite_changes_quotas_reviewers_and_what_is_tolerated(loaded: tuple[Loaded, Bundle]) -> None:
    found, model = loaded
    slow_desk = changed(review={"capacity_per_hour": 0.35})
    slow, plain = told(found, asked_of(model, slow_desk, against=load_appetite()))["outcomes"]
    assert plain["approved"] == slow["approved"]
    assert slow["load"]["longest_queue"] > 10 * plain["load"]["longest_queue"]
    assert slow["buyers"]["reviewed_wait"]["p90"]["value"] > 24.0
    assert plain["buyers"]["reviewed_wait"]["p90"]["value"] < 1.0
    assert slow["costs"]["waiting"] > 10 * plain["costs"]["waiting"]
    one_step = {"after_loss_days": 1.0, "step": [{"name": "new", "limit": {"CNY": 2_000}}, {"name": "known", "account_days": 10_000.0, "limit": {"CNY": 600_000}}]}
    tight = told(found, asked_of(model, changed(trust=one_step)))["outcomes"][0]
    assert tight["approved"] < plain["approved"]
    assert "quota_buyer" in {line["reason"] for line in tight["reasons"]}
    strict = told(found, asked_of(model, changed(promise={"alpha": 0.001})))
    # The certificate promises less than this appetite asks for.
    assert strict["outcomes"][0]["approved"] == 0
    assert "certificate" in {line["reason"] for line in strict["outcomes"][0]["reasons"]}


def test_where_segments_have_an_alpha_of_their_own_those_count_by_their_money(loaded: tuple[Loaded, Bundle]) -> None:
    found, model = loaded
    parts = [{**part, "alpha": alpha} for part, alpha in zip(load_appetite().model_dump()["segment"], (0.6, 0.9), strict=True)]
    figures = told(found, asked_of(model, changed(segment=parts), plain=0.03))
    lines = figures["outcomes"][0]["segments"]
    assert all(line["approved_money"] > 0 for line in lines)
    tolerated = sum(line["alpha"] * line["approved_money"] for line in lines) / sum(line["approved_money"] for line in lines)
    assert any(f"the appetite tolerates {100 * tolerated:.2f}" in sentence for sentence in figures["summary"])
    assert all(row["within"] for row in figures["tradeoff"] if row["let_through"]["high"] is None or row["let_through"]["high"] < 0.6)
    assert not all(row["within"] for row in told(found, asked_of(model, changed(promise={"alpha": 0.001}), plain=0.03))["tradeoff"])


def test_under_another_policy_other_claims_are_covered_and_the_score_sees_it(
    plain: Path, history: Path, loaded: tuple[Loaded, Bundle], tmp_path: Path
) -> None:
    folder = Path(str(resources.files("risk.policy")))
    shipped = sorted(folder.glob("*.toml"))
    strict = tmp_path / "strict.toml"
    # No promise of a merchant counts any more.
    strict.write_text(shipped[-1].read_text(encoding="utf-8").replace('by = ["merchant", "item"]', 'by = ["item"]'), encoding="utf-8")
    model, files = Bundle.load(plain, signing_key()), (*shipped[:-1], strict)
    with open_history(history) as opened:
        found = load(opened, moment(FROM), moment("2026-05-01"), [(model, files)], oracle=None, seed=1)
    size = len(found.stretch)
    before, after = loaded[0].scores[model.version, ()][:size], found.scores[model.version, files]
    changed_cover = loaded[0].judged[()].best[:size] != found.judged[files].best
    assert 0 < changed_cover.sum() < size
    assert (before != after)[changed_cover].mean() > 0.3
    assert (before != after)[~changed_cover].mean() < 0.3


def test_the_history_s_own_decisions_are_compared_where_it_has_any(loaded: tuple[Loaded, Bundle]) -> None:
    found, model = loaded
    rng, size = np.random.default_rng(1), len(found.stretch)
    decided, audited = rng.random(size) < 0.3, rng.random(size) < 0.1
    stretch = replace(found.stretch, decided=decided, audited=audited)
    asked = replace(asked_of(model), against=Contender("the history's own decisions", None, (), load_appetite()))
    figures = told(replace(found, stretch=stretch), asked)
    _own, other = figures["outcomes"]
    assert other["way"]["kind"] == "history"
    assert (other["approved"], other["load"]["reviews"], other["load"]["audits"]) == (decided.sum(), (~decided).sum(), (decided & audited).sum())
    assert other["approved_money"] == found.stretch.amount[decided].sum()
    assert "the history&#39;s own decisions" in render_html(figures)


def test_where_nothing_was_approved_there_is_nothing_to_compare_with_unless_that_was_asked_for(loaded: tuple[Loaded, Bundle]) -> None:
    found, model = loaded
    against = Contender("the history's own decisions", None, (), load_appetite())
    asked = replace(asked_of(model), against=against)
    assert len(told(found, asked)["outcomes"]) == 1
    with pytest.raises(HistoryError, match="nothing to compare with"):
        told(found, replace(asked, insisted=True))


def test_a_group_that_is_never_approved_is_warned_of(loaded: tuple[Loaded, Bundle]) -> None:
    found, model = loaded
    stretch = found.stretch
    # Every label is known, so that every group is large enough to be judged.
    labels = pd.DataFrame({"label": np.where(stretch.truth.oracle, "abuse", "legitimate"), "audit_probability": np.nan})
    nothing = pd.DataFrame({name: [None] * len(stretch) for name in ("decision", "audit_probability", "audit_selected")})
    clothes = np.array([str(path).startswith("clothing") for path in stretch.facts["category"]])
    known = replace(stretch, truth=read_truth(labels, nothing, stretch.truth.oracle), region=np.where(clothes, "north", "south").astype(object))
    segment = {"name": "clothes", "largest": {"CNY": 500_000}, "categories": ["clothing"]}
    figures = told(replace(found, stretch=known), asked_of(model, changed(segment=[segment]), plain=1.0))
    groups = {(look["title"], group["name"]): group for look in figures["outcomes"][0]["fairness"] for group in look["groups"]}
    south, north, home = groups["Region", "south"], groups["Region", "north"], groups["Category", "home"]
    assert south["paid_at_once"]["value"] == home["paid_at_once"]["value"] == 0.0
    assert (south["warned"], north["warned"], home["warned"]) == (["approval"], [], ["approval"])
    assert south["gap"]["value"] == pytest.approx(figures["outcomes"][0]["buyers"]["paid_at_once"]["value"])
    honest = ~known.truth.oracle
    assert north["paid_at_once"]["value"] == pytest.approx(north["true_paid_at_once"])
    assert north["honest"] == (honest & clothes).sum()
    assert any("Region: south" in warning and "more rarely than all" in warning for warning in figures["warnings"])
    # Too few to be judged: nothing is said.
    few = changed(segment=[segment], fairness={"fewest": 10**6})
    again = told(replace(found, stretch=known), asked_of(model, few, plain=1.0))
    assert not any("more rarely" in warning for warning in again["warnings"])


def _strange(history: Path, folder: Path, case: str) -> Path:
    tables = {name: pd.read_parquet(history / f"{name}.parquet") for name in ("orders", "claims", "labels", "decisions")}
    claims, decisions = tables["claims"], tables["decisions"]
    match case:
        case "one claim, required columns only":
            del tables["decisions"]
            known = claims[["claim_id", "submitted_at", "buyer_id", "merchant_id", "amount"]]
            tables["claims"] = known[known["submitted_at"] >= FROM].head(1)
            tables["orders"] = tables["orders"][["order_id", "buyer_id", "merchant_id", "paid_at", "paid_amount"]]
            tables["labels"] = tables["labels"][["claim_id", "known_at", "label"]].iloc[:0]
        case "no labels, no currencies":
            tables["labels"] = tables["labels"].iloc[:0]
            tables["claims"], tables["orders"] = claims.drop(columns="currency"), tables["orders"].drop(columns="currency")
        case "approvals alone were drawn, two currencies":
            approved = np.arange(len(decisions)) % 2 == 0
            tables["claims"] = claims.assign(currency=np.where(np.arange(len(claims)) % 2, "CNY", "USD"))
            tables["decisions"] = decisions.assign(
                decision=np.where(approved, "approve", "review"),
                audit_probability=decisions["audit_probability"].where(approved),
                audit_selected=decisions["audit_selected"].where(approved),
            )
    folder.mkdir()
    for name, frame in tables.items():
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    return folder


@pytest.mark.parametrize(
    ("case", "design"),
    [
        ("one claim, required columns only", "nothing"),
        ("no labels, no currencies", "drawn"),
        ("approvals alone were drawn, two currencies", "mixed"),
    ],
)
def test_a_strange_history_is_replayed_all_the_same(plain: Path, history: Path, tmp_path: Path, case: str, design: str) -> None:
    folder = _strange(history, tmp_path / "strange", case)
    figures = figures_of(plain, folder, tmp_path, "--uncertified", "--report", str(tmp_path / "page.html"), end="2026-04-15")
    assert figures["subject"]["design"] == design
    assert (tmp_path / "page.html").stat().st_size > 20_000
    if "two currencies" in case:
        assert any("CNY, USD" in warning for warning in figures["warnings"])
        assert len(figures["outcomes"]) == 2
    if "no labels" in case:
        assert figures["outcomes"][0]["approved"] > 0
        assert figures["outcomes"][0]["let_through"]["share"]["value"] is None


def test_everything_wrong_with_the_arguments_is_said_at_once_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.toml").write_text("version = 3")
    (tmp_path / "history").mkdir()
    status = main([
        "backtest", "--bundle", str(tmp_path / "nothing"), "--history", str(tmp_path / "history"), "--from", "2026-05-01", "--to", "2026-04-01",
        "--policy", str(tmp_path / "no.toml"), "--appetite", str(tmp_path / "bad.toml"), "--against", "history", "--threshold", "2",
        "--oracle", str(tmp_path / "no.parquet"), "--bootstrap", "1", "--seed", "-1", "--report", str(tmp_path / "nodir" / "x"), "--json", str(tmp_path),
    ])  # fmt: skip
    said = capsys.readouterr().err
    assert status == 1
    for name in ("--bundle", "--history", "--from", "--policy", "--appetite", "--against", "--threshold", "--oracle", "--bootstrap", "--seed", "--report", "--json"):
        assert f"{name}" in said, name
    assert "needs --uncertified" in said
    assert "is no probability" in said
    assert "Traceback" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.toml", "history"]


def test_an_empty_stretch_is_refused_in_one_sentence(
    bundle: Path, history: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--json", str(tmp_path / "x.json"), "--report", str(tmp_path / "x.html"))
    assert backtest(bundle, history, *out, start="2030-01-01", end="2030-02-01") == 1
    assert "no claim in the stretch" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_oracle_of_other_claims_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"claim_id": ["other"], "abuse": [True]}).to_parquet(tmp_path / "oracle.parquet")
    with pytest.raises(HistoryError, match="1 of 2 claims of the stretch are not in it"):
        read_oracle(tmp_path / "oracle.parquet", ["other", "ours"])


def test_what_is_drawn_is_the_same_whatever_is_compared(loaded: tuple[Loaded, Bundle]) -> None:
    found, model = loaded
    rules = rules_of(found.stretch, found.judged[()], found.scores[model.version, ()], load_appetite(), None, 0.02)
    few, more = (replay(found.stretch, one, prepare(found.stretch, one)) for one in (rules, rules.with_threshold(0.05)))
    both = few.approved & more.approved
    assert both.sum() > 100
    assert np.array_equal(few.audited[both], more.audited[both])
    assert few.audited.sum() > 0
