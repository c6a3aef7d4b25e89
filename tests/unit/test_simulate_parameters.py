"""The data file: every number has a value, a source and a grade, and mistakes are named."""

from pathlib import Path

import pytest

from risk.errors import SettingError
from risk.vocabulary import GUARANTEES, REASONS
from training.simulate.parameters import FILE, GRADES, load
from training.simulate.typologies import NAMES


def _changed(tmp_path: Path, old: str, new: str) -> Path:
    text = FILE.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "parameters.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def test_the_file_that_ships_loads_and_every_parameter_has_a_grade() -> None:
    p = load()
    assert len(p.grades) > 150
    assert set(p.grades.values()) <= set(GRADES)


def test_the_file_says_which_abuse_it_counts() -> None:
    assert "intent" in load().abuse.definition


def test_typologies_and_habits_are_those_of_the_code() -> None:
    assert tuple(load().typology) == NAMES
    assert set(load().habits) == set(REASONS)
    assert set(load().service) == set(GUARANTEES)
    assert {code for numbers in load().typology.values() for code in numbers.exploits} <= set(GUARANTEES)
    assert {*load().cover.confusions, *load().cover.confusions.values()} <= set(REASONS)
    assert sum(category.share for category in load().category.values()) == pytest.approx(1.0)


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    path = _changed(tmp_path, "[people]\n", '[people]\nheight = { value = 1.0, source = "none", grade = "A" }\n')
    with pytest.raises(SettingError, match=r"people\.height: unknown key"):
        load(path)


def test_a_missing_grade_is_named(tmp_path: Path) -> None:
    path = _changed(tmp_path, 'grade = "A" }', "}")
    path.write_text(path.read_text(encoding="utf-8").replace(", }", " }"), encoding="utf-8")
    with pytest.raises(SettingError, match=r"abuse\.definition: grade missing"):
        load(path)


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    path = _changed(tmp_path, 'source = "how it shows: scan at the address, earlier such claims, dearer orders; sizes ours"\n', "")
    with pytest.raises(SettingError, match=r"typology\.false_not_received: source missing"):
        load(path)


def test_a_grade_out_of_the_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"grade 'Z' is none of P, V, J, S, A"):
        load(_changed(tmp_path, 'grade = "V"', 'grade = "Z"'))


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    path = tmp_path / "parameters.toml"
    path.write_text("[abuse]\nshare = 1\n[strange]\n", encoding="utf-8")
    with pytest.raises(SettingError) as caught:
        load(path)
    text = str(caught.value)
    assert "strange: unknown section" in text
    assert "people: section missing" in text
    assert "abuse.share: has to be a table" in text


def test_a_missing_file_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"nothing\.toml"):
        load(tmp_path / "nothing.toml")
