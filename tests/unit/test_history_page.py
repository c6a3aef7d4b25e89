"""docs/history.md knows every column that the code reads, and its examples are what the code accepts."""

import re
from pathlib import Path

import pytest

from risk.vocabulary import CHANNELS, REASONS, REMEDIES, RETURN_METHODS
from training.check import COLUMN_TYPES, COLUMNS, check_history
from training.history import REQUIRED, open_history

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "history.md").read_text(encoding="utf-8")
KINDS = {
    "id": "text", "text": "text", "word": "text", "time": "time", "money": "int", "whole number": "int", "flag": "int",
    "number": "float",
}  # fmt: skip
WORDS = {"reason": REASONS, "remedy": REMEDIES, "channel": CHANNELS, "return_method": RETURN_METHODS}


def optional_columns() -> list[tuple[str, list[str], str, str]]:
    """Each row of the table of optional columns: column, tables, type, meaning."""
    section = PAGE.split("### Optional columns")[1].split("\n### ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+) \|$", section, re.MULTILINE)
    return [(name, re.findall(r"`(\w+)`", tables), kind, meaning) for name, tables, kind, meaning in rows]


def examples() -> dict[str, str]:
    """The example of each table, by the name of its file."""
    found = re.findall(r"^`(\w+\.csv)`\n\n((?:    .+\n)+)", PAGE, re.MULTILINE)
    return {name: re.sub(r"^    ", "", text, flags=re.MULTILINE) for name, text in found}


def test_every_optional_column_is_in_the_table_and_no_other() -> None:
    told = {(table, name) for name, tables, _, _ in optional_columns() for table in tables}
    read = {(table, name) for table, names in COLUMNS.items() for name in names}
    required = {(table, name) for table, names in REQUIRED.items() for name in names}
    assert told == read - required
    assert len(optional_columns()) == len({name for _, name in told})


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, _, kind, _ in optional_columns()])
def test_the_table_tells_the_type_that_is_read(name: str, kind: str) -> None:
    assert KINDS[kind] == COLUMN_TYPES[name]


@pytest.mark.parametrize("name", WORDS)
def test_the_table_tells_every_word_of_a_closed_list(name: str) -> None:
    (meaning,) = (meaning for column, _, _, meaning in optional_columns() if column == name)
    assert tuple(re.findall(r"`(\w+)`", meaning)) == WORDS[name]


def test_the_examples_are_a_history_without_a_problem(tmp_path: Path) -> None:
    assert list(examples()) == ["orders.csv", "claims.csv", "labels.csv", "decisions.csv"]
    for name, text in examples().items():
        assert len(text.splitlines()) == 3
        (tmp_path / name).write_text(text, encoding="utf-8")
    findings = check_history(tmp_path)
    assert findings.problems == ()
    assert not [warning for warning in findings.warnings if "not known" in warning.detail]
    with open_history(tmp_path) as history:
        assert history.signals == ("x_detector",)
        assert history.decisions.count().to_pyarrow().as_py() == 2


@pytest.mark.parametrize("table", REQUIRED)
def test_the_examples_show_every_required_column(table: str) -> None:
    assert set(REQUIRED[table]) <= set(examples()[f"{table}.csv"].splitlines()[0].split(","))
