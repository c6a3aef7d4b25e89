"""The appetite: what an owner may ask for, and everything that does not hold together, at once."""

from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.errors import SettingError
from risk.policy.__main__ import main as policy
from risk.policy.definition import load_policies
from risk.promise.appetite import Appetite, load_appetite, parse_appetite, unknown_guarantees

TEXT = resources.files("risk.promise").joinpath("appetite.toml").read_text(encoding="utf-8")
DAY = 86_400_000_000
SEGMENTS = """
[[segment]]
name = "newcomers"
largest = { CNY = 20000, EUR = 3000 }
alpha = 0.01
buyer_days_below = 30

[[segment]]
name = "fresh"
largest = { CNY = 50000 }
guarantees = ["fresh_spoilage"]
categories = ["food.fresh"]

[[segment]]
name = "rest"
largest = { CNY = 500000 }
"""


def changed(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new)


def with_segments() -> Appetite:
    start, end = TEXT.index("[[segment]]"), TEXT.index("# Audits:")
    text = TEXT[:start] + SEGMENTS + TEXT[end:]
    for name in ("device", "address", "payment", "merchant", "guarantee", "hour", "day"):
        text = text.replace(f"{name} = {{ CNY", f"{name} = {{ EUR = 900000, CNY")
    return parse_appetite(text.replace("limit = { CNY", "limit = { EUR = 9000, CNY"))


def facts(**changes: Any) -> dict[str, Any]:
    return {"amount": 1_000, "currency": "CNY", "category": None, "submitted_at": 100 * DAY, "registered_at": 0} | changes


def problems(text: str) -> list[str]:
    with pytest.raises(SettingError) as caught:
        parse_appetite(text)
    return [str(problem) for problem in caught.value.problems]


def test_the_shipped_appetite_holds_together_and_fits_the_shipped_policies() -> None:
    assert unknown_guarantees(load_appetite(), load_policies()) == []
    assert load_appetite() is load_appetite()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("alpha = 0.03", "alpha = 0", "/promise/alpha: input should be greater than 0"),
        ("alpha = 0.03", "alpha = nan", "/promise/alpha: input should be a finite number"),
        ("valid_days = 90", "valid_days = 1e9", "/promise/valid_days: input should be less than or equal to 36500"),
        ("mature_days = 30", "mature_days = 1e300", "/promise/mature_days: input should be less than or equal to 36500"),
        ("mature_days = 30", "mature_days = true", "/promise/mature_days: input should be a valid number"),
        ("{ CNY = 30000 }", "{ CNY = true }", "/segment/0/largest/CNY: input should be a valid integer"),
        ("delta = 0.10", "delta = 1.0", "/promise/delta: input should be less than 1"),
        ("delta = 0.10", "", "/promise/delta: field required"),
        ("looks = 1", "looks = 0", "/promise/looks: input should be greater than or equal to 1"),
        ("looks = 1", "loks = 1", "/promise/loks: unknown setting"),
        ('name = "large"', 'name = "small"', "/segment/1/name: 'small' names another segment already"),
        ("CNY = 500000 }", "CNY = 20000 }", "/segment/1: no claim ever gets here: 'small' before it takes them all"),
        ("{ CNY = 30000 }", "{ yuan = 30000 }", "/segment/0/largest/yuan/[key]: string should match pattern '^[A-Z]{3}$'"),
        ("rate = 0.2", "rate = 1.5", "/audit/rate: input should be less than or equal to 1"),
        ("merchant = { CNY = 20000000 }", "merchant = { CNY = 499999 }", "/quota/merchant/CNY: 499999 is below 500000"),
        ("hour = { CNY = 50000000 }", "hour = { EUR = 50000000 }", "/quota/hour/CNY: is missing"),
        ("limit = { CNY = 200000 }", "limit = { CNY = 20000 }", "/trust/step: limits in CNY have to grow"),
        ("limit = { CNY = 600000 }", "limit = { CNY = 400000 }", "not even the most trusted buyer"),
        ('name = "new"\n', 'name = "new"\norders = 1\n', "/trust/step/0: the first step is everybody's"),
    ],
)  # fmt: skip
def test_what_does_not_hold_together_is_refused_with_its_place(old: str, new: str, said: str) -> None:
    assert any(said in problem for problem in problems(changed(old, new)))


def test_all_problems_are_named_at_once() -> None:
    assert len(problems(changed("alpha = 0.03", "alpha = 3").replace("rate = 0.2", "rate = 0").replace("looks = 1", "looks = -1"))) == 3
    assert len(problems(changed("device = { CNY = 800000 }", "device = { CNY = 1 }").replace("{ CNY = 1000000 }", "{ CNY = 2 }"))) == 2


def test_a_file_that_is_no_toml_or_not_there_is_named(tmp_path: Path) -> None:
    assert problems("alpha =")[0].startswith("appetite.toml: is not TOML")
    with pytest.raises(SettingError, match=r"gone\.toml: cannot be read"):
        load_appetite(tmp_path / "gone.toml")


def test_an_appetite_that_an_editor_saved_with_a_byte_order_mark_is_the_same_one() -> None:
    assert parse_appetite("\ufeff" + TEXT).digest == load_appetite().digest


def test_a_guarantee_that_no_policy_has_is_named() -> None:
    text = changed('name = "small"', 'name = "small"\nguarantees = ["fresh_spoilage", "gold"]')
    found = unknown_guarantees(parse_appetite(text), load_policies())
    assert [str(problem) for problem in found] == ["/segment/0/guarantees: no policy has a guarantee 'gold'"]


@pytest.mark.parametrize(
    ("changes", "guarantee", "segment"),
    [
        ({}, None, "rest"),
        ({"amount": 500_000}, None, "rest"),
        ({"amount": 500_001}, None, None),
        ({"currency": "JPY"}, None, None),
        ({"currency": "EUR"}, None, None),
        ({"currency": "EUR", "registered_at": None}, None, "newcomers"),
        ({"registered_at": None}, None, "newcomers"),
        ({"registered_at": 70 * DAY}, None, "rest"),
        ({"registered_at": 70 * DAY + 1}, None, "newcomers"),
        ({"registered_at": 71 * DAY, "amount": 20_001}, None, "rest"),
        ({"category": "food.fresh.fruit"}, "fresh_spoilage", "fresh"),
        ({"category": "food.fresh"}, "fresh_spoilage", "fresh"),
        ({"category": "food.freshwater"}, "fresh_spoilage", "rest"),
        ({"category": "food.fresh.fruit"}, "damage_return", "rest"),
        ({"category": "food.fresh.fruit", "amount": 50_001}, "fresh_spoilage", "rest"),
        ({"currency": None}, None, "rest"),
    ],
)
def test_a_claim_belongs_to_the_first_segment_that_it_fits(changes: dict[str, Any], guarantee: str | None, segment: str | None) -> None:
    found = with_segments().segment_of(facts(**changes), guarantee)
    assert (found.name if found else None) == segment


def test_each_segment_may_have_a_tolerance_of_its_own() -> None:
    appetite = with_segments()
    assert [appetite.alpha_of(segment) for segment in appetite.segment] == [0.01, 0.03, 0.03]


def test_the_digest_tells_every_change_and_the_population_only_those_of_the_segments() -> None:
    one = load_appetite()
    dearer, tighter, other = (
        parse_appetite(changed(old, new))
        for old, new in (("reviewer_minute = 100", "reviewer_minute = 101"), ("alpha = 0.03", "alpha = 0.02"), ("CNY = 30000", "CNY = 31000"))
    )
    assert len({one.digest, dearer.digest, tighter.digest, other.digest}) == 4
    assert one.population == dearer.population == tighter.population != other.population


@given(st.integers(1, 500_000), st.floats(0, 1), st.floats(0.01, 1))
def test_audits_are_drawn_in_proportion_to_the_amount_or_at_the_floor(amount: int, floor: float, rate: float) -> None:
    appetite = load_appetite().model_copy(update={"audit": load_appetite().audit.model_copy(update={"rate": rate, "at_least": floor})})
    segment = appetite.segment_of(facts(amount=amount), None)
    assert segment is not None
    assert appetite.audit_probability(segment, amount, "CNY") == max(floor, rate * amount / segment.largest["CNY"]) <= 1


def test_the_command_says_what_an_appetite_comes_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert policy(["appetite"]) == 0
    told = capsys.readouterr().out
    assert "segment small: up to 30,000 CNY" in told
    # The fewest n with 0.97^n at most 0.05.
    assert "shown by 99 drawn claims or more" in told
    assert "quota of a buyer, trusted: 600,000 CNY with 12 orders in a year, 200,000 spent on them, 2 settled approvals, 180 days of account" in told
    assert "quota of an hour: 50,000,000 CNY" in told


def test_the_command_names_all_that_is_wrong_and_says_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(changed("alpha = 0.03", "alpha = 3").replace("rate = 0.2", "rate = 0"))
    assert policy(["appetite", str(file)]) == 1
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.count(f"{file}: /") == 2
    file.write_text(changed('name = "small"', 'name = "small"\nguarantees = ["gold"]'))
    assert policy(["appetite", str(file)]) == 1
    assert "no policy has a guarantee 'gold'" in capsys.readouterr().err


def test_the_evidence_that_is_needed_is_the_fewest_that_an_exact_test_accepts() -> None:
    assert 0.97**99 <= 0.05 < 0.97**98
