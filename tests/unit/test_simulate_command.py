"""`python -m training simulate`: what it refuses, what it leaves behind, what it prints."""

import subprocess
import sys
from pathlib import Path

import pytest

from training.__main__ import main
from training.simulate.engine import Engine

SMALL = ["--claims", "300", "--days", "60"]


def _simulate(*options: object) -> int:
    return main(["simulate", *map(str, options), *SMALL])


def test_a_run_writes_the_tables_and_prints_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _simulate("--out", tmp_path / "h") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"h", "h.oracle.parquet"}
    assert {path.stem for path in (tmp_path / "h").iterdir()} == {"orders", "claims", "labels", "decisions"}
    captured = capsys.readouterr()
    assert "claims" in captured.out
    assert "week" in captured.err


def test_a_folder_in_use_is_refused_and_replaced_when_forced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "h"
    assert _simulate("--out", out) == 0
    before = (out / "claims.parquet").read_bytes()
    assert _simulate("--out", out, "--seed", 99) == 1
    assert "--force" in capsys.readouterr().err
    assert (out / "claims.parquet").read_bytes() == before
    assert _simulate("--out", out, "--seed", 99, "--force") == 0
    assert (out / "claims.parquet").read_bytes() != before


def test_a_folder_with_other_things_is_not_replaced_even_when_forced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letters.txt").write_text("keep me", encoding="utf-8")
    assert _simulate("--out", tmp_path, "--force") == 1
    assert "letters.txt" in capsys.readouterr().err
    assert (tmp_path / "letters.txt").exists()


def test_the_oracle_may_not_lie_inside_the_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _simulate("--out", tmp_path / "h", "--oracle", tmp_path / "h" / "truth.parquet") == 1
    assert "inside the history" in capsys.readouterr().err


def test_all_wrong_options_are_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--out", str(tmp_path / "h"), "--claims", "1", "--days", "3", "--new-typology", "magic@soon"]
    assert main(["simulate", *options]) == 1
    problems = capsys.readouterr().err
    assert all(word in problems for word in ("--claims", "--days", "'magic'", "NAME@DATE"))


def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weeks = Engine.run

    def stopped(self: Engine) -> object:
        yield next(iter(weeks(self)))
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "run", stopped)
    assert _simulate("--out", tmp_path / "h") == 130
    assert list(tmp_path.iterdir()) == []


def test_the_report_is_one_page_with_pictures_and_published_figures(tmp_path: Path) -> None:
    assert _simulate("--out", tmp_path / "h", "--hide-approved", "--report", tmp_path / "r.html") == 0
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 9
    assert "9.0% to 15.0%" in page
    assert "http" not in page
    assert _simulate("--out", tmp_path / "h", "--report-only", "--report", tmp_path / "again.html") == 0
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "r.html").read_bytes()


def test_a_report_without_a_history_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _simulate("--out", tmp_path / "h", "--report-only", "--report", tmp_path / "r.html") == 1
    assert "claims.parquet is missing" in capsys.readouterr().err


def test_help_starts_without_the_heavy_libraries() -> None:
    code = (
        "import argparse, sys; from training.simulate.command import configure;"
        "configure(argparse.ArgumentParser());"
        "assert not {'numpy', 'pyarrow', 'matplotlib', 'duckdb'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
