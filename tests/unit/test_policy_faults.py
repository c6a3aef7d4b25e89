"""A policy file that does not hold together is refused with the line that has to be changed."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from risk.errors import SettingError
from risk.policy.cover import Request, judge
from risk.policy.definition import load_policies, read_policies, read_policy
from risk.vocabulary import GUARANTEES

FOLDER = Path(__file__).parents[2] / "risk" / "policy"
TEXT = (FOLDER / "cn-2026.toml").read_text(encoding="utf-8")
BANDS = "  { up_to = 0.10, pays = 0.10 },\n"


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def refused(text: str) -> list[str]:
    with pytest.raises(SettingError) as caught:
        read_policy(text, "a.toml")
    return [str(problem) for problem in caught.value.problems]


def changed(old: str, new: str) -> str:
    assert old in TEXT, old
    return TEXT.replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new", "at", "said"),
    [
        ('payer = "platform"', 'payer = "platform"\nbonus = 1', "bonus = 1", "guarantees.express_refund.bonus: unknown key"),
        ('currency = "CNY"', 'currency = "yuan"', 'currency = "yuan"', "currency: string should match pattern"),
        ("hours = 24", 'hours = "24"', 'hours = "24"', "valid integer"),
        ("hours = 24", "hours = 0", "hours = 0", "greater than or equal to 1"),
        ("hours = 24", "hours = 24\ndays = 1", "[[guarantees.fresh_spoilage.window]]", "either days or hours"),
        ('grade = "P"', 'grade = "Q"', 'grade = "Q"', "grade"),
        ('reasons = ["counterfeit"]', 'reasons = ["envy"]', 'reasons = ["envy"]', "reasons"),
        ('categories = ["food.fresh.live"]', 'categories = ["beauty"]', 'categories = ["beauty"]', "no goods that the guarantee reaches are beauty"),
        ('categories = ["food.fresh.live"]', 'categories = ["fod.fresh"]', 'categories = ["fod.fresh"]', "no goods that the guarantee reaches are fod.fresh"),
        ('categories = ["food.fresh"]\nkeeps', 'categories = ["fod.fresh"]\nkeeps', 'categories = ["fod.fresh"]', "no goods of the policy are fod.fresh"),
        ('reasons = ["no_reason"]\nen', 'reasons = ["spoiled"]\nen', 'reasons = ["spoiled"]\nen', "the guarantee is not about spoiled"),
        ("  { up_to = 1.00, pays = 1.00 },\n", "", "bands = [", "shares from 0.7 to 1 have no band"),
        (BANDS, "  { up_to = 0.40, pays = 0.10 },\n", "bands = [", "up_to 0.3 does not come after 0.4"),
        (BANDS, BANDS * 2, "bands = [", "up_to 0.1 does not come after 0.1"),
        (BANDS, "  { up_to = 0.10, pays = 0.40 },\n", "bands = [", "a larger share would be paid less (0.3 after 0.4)"),
        ("valid_from = 2026-02-01T00:00:00+08:00", "valid_from = 2026-02-01T00:00:00", "valid_from = 2026", "a time with an offset is expected"),
        ("time_zone = ", "valid_until = 2027-01-01T00:00:00\ntime_zone = ", "valid_until = 2027", "a time with an offset is expected"),
        ("time_zone = ", "valid_until = 2026-02-01T00:00:00+08:00\ntime_zone = ", "valid_until = 2026", "not after valid_from"),
        ('time_zone = "Asia/Shanghai"', 'time_zone = "Asia/Shangri-La"', "time_zone = ", "'Asia/Shangri-La' is no time zone"),
        ('time_zone = "Asia/Shanghai"', 'time_zone = "../etc/passwd"', "time_zone = ", "is no time zone"),
        ('time_zone = "Asia/Shanghai"', 'time_zone = "Asia"', "time_zone = ", "is no time zone"),
        ('none = ["delivered_at"]\npassed = "promised_by"\n', "", '[[guarantees.late_or_lost_delivery.condition]]\nreasons = ["not_received"]', "asks for nothing"),
        ('any = ["return_shipped_at", "return_picked_up_at", "return_received_at"]\n', "", "[triggers.return_on_its_way]", "return_on_its_way: asks for nothing"),
        ('any = ["certificate", "photo"]', "any = []", "any = []", "at least 1 item"),
        ("[guarantees.seven_day_return.amount]\n", '[guarantees.seven_day_return.amount]\nreasons = ["quality"]\n', "[guarantees.seven_day_return.amount]", "one amount is for all claims"),
        ('after = "delivered_at"\ndays = 7\n', 'after = "delivered_at"\ndays = 7\nreasons = ["no_reason"]\n', "[[guarantees.seven_day_return.window]]", "no window for food, quality: it would never end"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_file_and_line(old: str, new: str, at: str, said: str) -> None:
    text = changed(old, new)
    first = line_of(text, at)
    # A table of bands is one value over several lines: any line of it is near enough.
    last = line_of(text, "\npro_rata") if at == "bands = [" else first
    places = {f"a.toml:{line}" for line in range(first, last + 1)}
    problems = refused(text)
    assert any(said in problem and problem.split(": ")[0] in places for problem in problems), problems


def test_what_is_no_toml_is_named_with_its_line_too() -> None:
    text = changed('currency = "CNY"', "currency = CNY")
    (problem,) = refused(text)
    assert problem.startswith("a.toml") and f"line {line_of(text, 'currency = CNY')}" in problem


def test_a_missing_part_is_named_at_the_part_around_it() -> None:
    text = changed("[guarantees.seven_day_return.amount]", "[guarantees.seven_day_return.sum]")
    problems = refused(text)
    assert f"a.toml:{line_of(text, '[guarantees.seven_day_return]')}: guarantees.seven_day_return.amount: field required" in problems


def test_all_faults_of_all_files_are_named_at_once(tmp_path: Path) -> None:
    for name in ("one.toml", "two.toml"):
        text = changed('grade = "P"', 'grade = "Q"').replace('currency = "CNY"', 'currency = "yuan"')
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(SettingError) as caught:
        read_policies([tmp_path / "one.toml", tmp_path / "two.toml"])
    assert [problem.where.split(":")[0] for problem in caught.value.problems] == ["one.toml", "one.toml", "two.toml", "two.toml"]


@pytest.mark.parametrize(
    ("until", "start", "overlap"),
    [
        ("2027-01-01T00:00:00+08:00", "2027-01-01T00:00:00+08:00", False),
        ("2027-01-01T00:00:00+08:00", "2026-12-31T16:00:00Z", False),
        ("2027-01-01T00:00:00.000001+08:00", "2027-01-01T00:00:00+08:00", True),
        (None, "2030-01-01T00:00:00+08:00", True),
    ],
)
def test_two_policies_never_hold_at_the_same_time(tmp_path: Path, until: str | None, start: str, overlap: bool) -> None:
    end = f"valid_until = {until}\n" if until else ""
    (tmp_path / "one.toml").write_text(changed("time_zone = ", f"{end}time_zone = "), encoding="utf-8")
    later = changed("valid_from = 2026-02-01T00:00:00+08:00", f"valid_from = {start}").replace("cn-2026-02", "later")
    (tmp_path / "two.toml").write_text(later, encoding="utf-8")
    files = [tmp_path / "two.toml", tmp_path / "one.toml"]
    if not overlap:
        assert [policy.version for policy in read_policies(files).all] == ["cn-2026-02", "later"]
        return
    with pytest.raises(SettingError) as caught:
        read_policies(files)
    assert [(problem.where, problem.detail) for problem in caught.value.problems] == [
        (f"two.toml:{line_of(later, 'valid_from =')}", f"holds from {start}, when one.toml:{line_of(TEXT, 'valid_from =')} still does")
    ]


def test_a_version_has_one_file(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(changed("time_zone = ", "valid_until = 2027-01-01T00:00:00+08:00\ntime_zone = "), encoding="utf-8")
    (tmp_path / "two.toml").write_text(changed("valid_from = 2026-", "valid_from = 2027-"), encoding="utf-8")
    with pytest.raises(SettingError, match="version cn-2026-02 exists twice"):
        read_policies([tmp_path / "one.toml", tmp_path / "two.toml"])


def test_a_broken_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingError, match=re.escape("one.toml")):
        read_policies([tmp_path / "one.toml"])


def test_the_policies_that_are_shipped_hold_together_without_a_gap() -> None:
    policies = load_policies().all
    for policy in policies:
        assert [*GUARANTEES, "quality_right"] == list(policy.guarantees)
        assert [code for code, guarantee in policy.guarantees.items() if guarantee.statutory] == ["quality_right"]
    for one, other in pairwise(policies):
        assert one.valid_until == other.valid_from
    assert policies[-1].valid_until is None


def test_what_both_policies_share_reads_the_same() -> None:
    # One file is one policy, read by itself; where a rule did not change, neither did its words.
    earlier, later = ({name: rule for code, guarantee in policy.guarantees.items() for name, rule in guarantee.named(code)} for policy in load_policies().all)
    differ = {name for name in earlier.keys() & later.keys() if earlier[name] != later[name]}
    assert differ == {"fresh_spoilage/amount"}
    assert earlier.keys() ^ later.keys() == {"freight_insurance/promised", "fresh_spoilage/window", "fresh_spoilage/window/1", "fresh_spoilage/window/2"}


def test_without_a_policy_nothing_is_decided() -> None:
    request = Request("damaged", "refund_only", 1, "CNY", 0, {}, ())
    judgement = judge(None, request)
    assert (judgement.covers, judgement.best, judgement.supported, judgement.needs) == ((), None, 0, ())
