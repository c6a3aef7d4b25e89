"""The report on synthetic scored claims: the page says what the JSON says, and says so where nothing can be said."""

import json
import re
import stat
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from risk.errors import HistoryError, InputError
from risk.features import load_features
from risk.vocabulary import GUARANTEES, REASONS
from training.report import Settings, Subject, as_json, group_gain, judge, render_html, write_whole
from training.report.render import look_up
from training.report.segments import age_group, guarantee, largest
from training.report.words import FORMATS

START = 1_767_225_600_000_000
SUBJECT = Subject(
    bundle="2026-01-01-0a1b2c3d", trained_until="2026-01-01T00:00:00+00:00", threshold=0.03, history="synthetic",
    start="2026-01-01T00:00:00+00:00", end="2026-01-31T00:00:00+00:00",
)  # fmt: skip
SETTINGS = Settings(top_k=10, resamples=50, seed=3)


def scored(size: int = 4_000, *, seed: int = 1, audits: bool = False) -> pd.DataFrame:
    """Scored claims over thirty days; with `audits`, low scores have a label only where an audit was drawn."""
    rng = np.random.default_rng(seed)
    score = 1.0 / (1.0 + np.exp(-rng.normal(-3.2, 1.5, size)))
    label = np.where(rng.random(size) < score, "abuse", "legitimate").astype(object)
    probability = np.full(size, np.nan)
    if audits:
        drawn = rng.random(size) < 0.1
        label[(score < 0.03) & ~drawn] = None
        probability[(score < 0.03) & drawn] = 0.1
    else:
        label[rng.random(size) < 0.05] = None
        label[rng.random(size) < 0.01] = "undecided"
    at = np.sort(rng.integers(0, 30 * 86_400_000_000, size)) + START
    return pd.DataFrame(
        {
            "claim_id": [f"k{number}" for number in range(size)],
            "submitted_at": pd.to_datetime(at, unit="us", utc=True),
            "amount": rng.integers(100, 200_000, size),
            "score": score,
            "label": label,
            "audit_probability": probability,
            "reason": rng.choice(np.array([*REASONS, None], dtype=object), size),
            "category_group": rng.choice(["food", "beauty", "clothes"], size),
            "account_age_hours": np.where(rng.random(size) < 0.1, np.nan, rng.exponential(5_000.0, size)),
        }
    )


def reported(frame: pd.DataFrame, subject: Subject = SUBJECT, settings: Settings = SETTINGS) -> dict[str, Any]:
    """The JSON of a report."""
    names = (*load_features().names, "x_own")
    gains = np.random.default_rng(1).exponential(1.0, len(names))
    return as_json(judge(frame, subject, group_gain(names, gains), settings))


class Shown(HTMLParser):
    """Collects what a page shows as figures, its pictures, its links, and the JSON that it carries."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.figures: list[tuple[str, str, str]] = []
        self.pictures: list[dict[str, str | None]] = []
        self.outside: list[str] = []
        self.embedded = ""
        self._open: tuple[str, str] | None = None
        self._script = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._script = tag == "script"
        if tag == "svg":
            self.pictures.append(given)
        self.outside += [
            value for name, value in attrs if name in ("src", "href", "action") and value and value[0] != "#"
        ]
        if "data-figure" in given:
            self._open = (given["data-figure"] or "", given["data-form"] or "")

    def handle_data(self, data: str) -> None:
        if self._script:
            self.embedded += data
        elif self._open:
            self.figures.append((*self._open, data))
            self._open = None

    def handle_endtag(self, tag: str) -> None:
        self._script = False


@pytest.mark.parametrize("audits", [False, True])
def test_every_figure_on_the_page_is_the_one_in_the_json(audits: bool) -> None:
    figures = reported(scored(audits=audits))
    page = Shown(render_html(figures))
    assert len(page.figures) > 300
    for path, form, text in page.figures:
        assert FORMATS[form](look_up(figures, path)) == text, path
    assert json.loads(page.embedded) == json.loads(json.dumps(figures))
    shown = {path for path, _, _ in page.figures}
    assert {"main.discrimination.auc.value", "main.own.bound", "main.calibration.ece", "top.2.precision.value"} <= shown


def test_the_page_stands_alone_and_every_picture_has_a_text() -> None:
    html = render_html(reported(scored()))
    page = Shown(html)
    assert page.outside == []
    assert not re.search(r"https?://|@import|url\((?!#)", html)
    assert len(page.pictures) == 6
    assert all(picture["role"] == "img" and picture["aria-label"] for picture in page.pictures)
    assert "prefers-color-scheme" in html
    assert not re.search(r"#0102\d\d", html), "a stand-in colour was left in a picture"
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_the_same_seed_gives_the_same_page_and_another_one_other_intervals() -> None:
    frame = scored()
    one, two = reported(frame), reported(frame.sample(frac=1, random_state=1))
    assert one == two
    assert render_html(one) == render_html(two)
    other = reported(frame, settings=Settings(top_k=10, resamples=50, seed=4))
    assert other["main"]["discrimination"]["auc"]["value"] == one["main"]["discrimination"]["auc"]["value"]
    assert other["main"]["discrimination"]["auc"]["low"] != one["main"]["discrimination"]["auc"]["low"]


def test_judging_leaves_the_scored_claims_as_they_were() -> None:
    frame = scored(500)
    before = frame.copy(deep=True)
    reported(frame)
    pd.testing.assert_frame_equal(frame, before)


def test_audited_labels_are_weighted_and_both_versions_are_shown() -> None:
    full, audited = scored(20_000), scored(20_000, audits=True)
    truth = reported(full)["main"]["own"]["approval"]["let_through_claims_share"]
    figures = reported(audited)
    rates = {line["name"]: line for line in figures["rates"]}
    abuse = rates["Abuse among all claims"]
    everything = (full["label"] == "abuse").sum() / full["label"].isin(["abuse", "legitimate"]).sum()
    assert abuse["weighted"]["value"] == pytest.approx(everything, rel=0.1)
    assert abuse["unweighted"]["value"] > 1.3 * everything
    assert figures["main"]["own"]["approval"]["let_through_claims_share"] == pytest.approx(truth, abs=0.006)
    assert figures["population"]["audited"]
    html = render_html(figures)
    assert "Two ways to count" in html
    assert "Two ways to count" not in render_html(reported(full))


def test_audits_among_claims_that_other_labels_cover_are_shown_beside_and_hide_nothing() -> None:
    frame = scored(20_000)
    frame.loc[frame["score"] > 0.1, "label"] = None
    full = scored(20_000)
    drawn = np.random.default_rng(5).random(len(frame)) < 0.2
    frame.loc[drawn, "label"], frame.loc[drawn, "audit_probability"] = full.loc[drawn, "label"], 0.2
    figures = reported(frame)
    assert figures["population"]["audited"]
    assert not figures["population"]["selective"]
    abuse = {line["name"]: line for line in figures["rates"]}["Abuse among all claims"]
    truth = (full["label"] == "abuse").mean()
    assert abuse["unweighted"]["value"] == figures["main"]["abuse_share"]["value"] < 0.7 * truth
    assert abuse["weighted"]["value"] == pytest.approx(truth, rel=0.15)
    assert "Two ways to count" in render_html(figures)


@pytest.mark.parametrize("only", ["abuse", "legitimate"])
def test_labels_of_one_kind_give_a_report_that_says_what_cannot_be_said(only: str) -> None:
    figures = reported(scored(600).assign(label=only))
    assert figures["main"]["discrimination"] is None
    assert any(only in warning and "cannot be drawn" in warning for warning in figures["warnings"])
    html = render_html(figures)
    assert "cannot be judged" in html
    assert "nan" not in Shown(html).embedded.lower()


def test_a_segment_of_one_class_has_no_auc_and_does_not_break_the_others() -> None:
    frame = scored()
    frame.loc[frame["category_group"] == "food", "label"] = "legitimate"
    ways = {way["title"]: {row["name"]: row for row in way["rows"]} for way in reported(frame)["main"]["segments"]}
    assert ways["Category"]["food"]["auc"] == {"value": None, "low": None, "high": None}
    assert ways["Category"]["food"]["abuse_share"]["value"] == 0.0
    assert 0.5 < ways["Category"]["beauty"]["auc"]["value"] < 1.0
    frame.loc[frame.index[frame["category_group"] == "food"][:9], "label"] = "abuse"
    few = reported(frame)["main"]["segments"][1]["rows"]
    assert next(row for row in few if row["name"] == "food")["auc"]["value"] is None
    assert sum(row["claims"] for row in ways["Guarantee"].values()) == len(frame)


def test_columns_that_a_history_lacks_are_a_segment_of_their_own() -> None:
    frame = scored(800).drop(columns=["reason", "category_group", "account_age_hours", "audit_probability"])
    for way in reported(frame)["main"]["segments"]:
        assert [row["name"] for row in way["rows"]] == ["not given"]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_handful_of_claims_is_reported_without_a_fault(size: int) -> None:
    frame = scored(200)
    render_html(reported(frame[frame["label"].isin(["abuse", "legitimate"])].head(size)))


def test_a_stretch_without_claims_or_labels_is_refused_with_the_reason() -> None:
    with pytest.raises(HistoryError, match="no claim from 2026-01-01"):
        reported(scored(10).head(0))
    with pytest.raises(HistoryError, match="none is known as abuse or legitimate"):
        reported(scored(10).assign(label=None))


def test_everything_that_is_wrong_with_scored_claims_is_listed_at_once() -> None:
    frame = scored(50).assign(score=1.5, amount=-1, audit_probability=0.0)
    with pytest.raises(HistoryError) as caught:
        reported(frame)
    assert [problem.where for problem in caught.value.problems] == [
        "scored claims.score", "scored claims.amount", "scored claims.audit_probability",
    ]  # fmt: skip


def test_what_limits_the_figures_is_warned_of() -> None:
    frame = scored(2_000)
    frame.loc[frame.index[1_200:], "label"] = None
    late = Subject(**{**SUBJECT.__dict__, "trained_until": "2026-01-10T00:00:00+00:00", "threshold": 0.0})
    text = " ".join(reported(frame, late)["warnings"])
    for part in ("has seen", "is not known.", "No claim of the stretch", "have a known label", "resamples only"):
        assert part in text
    quiet = reported(scored(8_000), settings=Settings(top_k=10, resamples=100, seed=1))["warnings"]
    assert quiet == []


def test_reasons_call_upon_their_guarantee_and_ages_have_limits() -> None:
    reasons = pd.Series(["spoiled", "allergy", "quality", None], dtype=object)
    assert guarantee(reasons).tolist() == ["fresh_spoilage", "beauty_allergy", "general quality", "not given"]
    assert set(guarantee(pd.Series(REASONS, dtype=object))) <= {*GUARANTEES, "general quality"}
    hours = pd.Series([0.0, 719.9, 720.0, 8759.0, 8760.0, np.nan])
    assert age_group(hours).tolist() == [
        "under 30 days", "under 30 days", "30 days to a year", "30 days to a year", "over a year", "not given",
    ]  # fmt: skip


def test_many_categories_are_summed_up_beyond_the_largest() -> None:
    names = pd.Series([f"c{number % 40:02d}" for number in range(4_000)] + ["c00"] * 5, dtype=object)
    assert largest(names).nunique() == 21
    assert (largest(names) == "c00").sum() == 105


def test_gain_is_summed_by_reason_group_and_signals_have_their_own() -> None:
    names = (*load_features().names, "x_one", "x_two")
    gains = np.ones(len(names))
    lines = {line.group: line for line in group_gain(names, gains)}
    assert lines["caller_signals"].features == 2
    assert sum(line.features for line in lines.values()) == len(names)
    assert sum(line.share for line in lines.values()) == pytest.approx(1.0)


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    write_whole(target, "first")
    write_whole(target, "second")
    assert target.read_text() == "second"
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(InputError, match="cannot be written"):
        write_whole(tmp_path / "missing" / "report.html", "text")
