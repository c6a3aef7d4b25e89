"""`python -m risk.policy`: what it prints on real claims, what it refuses, and the page that it writes."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from risk.claim import Claim
from risk.policy.__main__ import COMMANDS, main
from risk.policy.cover import judge
from risk.policy.definition import load_policies
from risk.policy.explain import explained, read_claim
from risk.policy.request import request_of
from risk.policy.table import clauses, page
from risk.policy.words import indented, width, wrapped

ROOT = Path(__file__).resolve().parents[2]
GUARANTEES = ROOT / "docs" / "guarantees.md"
Output = pytest.CaptureFixture[str]
Written = Callable[[Any], str]

POLICY = """
version = "small-1"
jurisdiction = "CN"
valid_from = 2026-01-01T00:00:00+08:00
valid_until = 2026-07-01T00:00:00+08:00
time_zone = "Asia/Shanghai"
currency = "CNY"
categories.beauty = { en = "Cosmetics", zh = "美妆" }
triggers = {}

[guarantees.allergy]
en = "Allergy return"
zh = "过敏包退"
promise = { en = "Allergic? Money back.", zh = "过敏包退。" }
source = "ours"
grade = "A"
payer = "merchant"
reasons = ["allergy"]
remedies = ["refund_only"]
amount = { en = "The price.", zh = "货款。", source = "ours", grade = "A" }

[[guarantees.allergy.window]]
after = "delivered_at"
days = 30
en = "Within 30 days."
zh = "30天内。"
source = "ours"
grade = "A"
"""
ALLERGY: dict[str, Any] = {
    "claim_id": "allergy-29", "submitted_at": "2026-06-04T10:00:00+08:00", "reason": "allergy", "remedy": "return_and_refund",
    "amount": 149000, "currency": "CNY", "buyer": {"buyer_id": "b"},
    "merchant": {"merchant_id": "m", "guarantees": ["beauty_allergy"]},
    "order": {"order_id": "o", "paid_at": "2026-05-01T12:00:00+08:00", "paid_amount": 149000,
              "delivered_at": "2026-05-06T15:00:00+08:00"},
    "items": [{"item_id": "serum-1", "category": "beauty.skincare", "unit_price": 149000, "opened": True}],
    "evidence": [{"evidence_id": "p-1", "kind": "photo"}],
}  # fmt: skip
FRUIT: dict[str, Any] = ALLERGY | {
    "claim_id": "fruit", "reason": "spoiled", "remedy": "refund_only", "amount": 9900, "affected_share": 1.0,
    "merchant": {"merchant_id": "m", "guarantees": ["fresh_spoilage"]},
    "order": {"order_id": "o", "paid_at": "2026-11-17T09:30:00+08:00", "paid_amount": 9900,
              "delivered_at": "2026-11-20T12:00:00+08:00"},
    "items": [{"item_id": "i-1", "category": "food.fresh.fruit", "unit_price": 9900}],
}  # fmt: skip


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Writes a claim (or any text) to a file."""

    def write(body: Any) -> str:
        file = tmp_path / "claim.json"
        file.write_text(body if isinstance(body, str) else json.dumps(body), encoding="utf-8")
        return str(file)

    return write


def policy_file(folder: Path, text: str = POLICY, name: str = "policy.toml") -> str:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return str(file)


def line_with(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.split("\n"), start=1) if part in line)


def found(output: str, start: str) -> str:
    """The one line that starts so, its columns one space apart."""
    [line] = [line for line in output.splitlines() if line.startswith(start)]
    return re.sub(r" {2,}", "  ", line)


# --- help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)])
def test_every_command_tells_what_it_takes(arguments: list[str], capsys: Output) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])
    assert ended.value.code == 0
    assert " ".join(["usage: python -m risk.policy", *arguments]) in capsys.readouterr().out


def test_the_module_runs_as_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "risk.policy", "check", "nowhere.toml"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: nowhere.toml: cannot be read: no such file or directory\n"


def test_output_that_nobody_reads_any_more_ends_the_command_quietly() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "risk.policy", "table"], cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


# --- check ------------------------------------------------------------------------------------------------------------


def test_a_sound_file_is_one_line(tmp_path: Path, capsys: Output) -> None:
    file = policy_file(tmp_path)
    assert main(["check", file]) == 0
    assert capsys.readouterr().out == (
        f"{file}: small-1, from 2026-01-01 00:00 until 2026-07-01 00:00; guarantees: 1, rules: 2\n"
    )


def test_the_shipped_files_are_sound_together(capsys: Output) -> None:
    files = sorted(str(file) for file in (ROOT / "risk" / "policy").glob("*.toml"))
    assert main(["check", *files]) == 0
    captured = capsys.readouterr()
    assert (len(captured.out.splitlines()), captured.err) == (len(files), "")


def test_everything_wrong_in_any_file_is_named_with_its_line(tmp_path: Path, capsys: Output) -> None:
    one = POLICY.replace("days = 30", "days = 0").replace('payer = "merchant"', 'payer = "nobody"\ncolour = "red"')
    two = POLICY.replace('time_zone = "Asia/Shanghai"', 'time_zone = "Asia/Nowhere"').replace("days = 30", "days = 30\nhours = 1")
    first, second = policy_file(tmp_path, one, "one.toml"), policy_file(tmp_path, two, "two.toml")
    third = policy_file(tmp_path, POLICY.replace("days = 30", "days = ="), "three.toml")
    assert main(["check", first, second, third, str(tmp_path / "four.toml"), str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    for place in (
        f"{first}:{line_with(one, 'days = 0')}: guarantees.allergy.window.0.days: ",
        f"{first}:{line_with(one, 'nobody')}: guarantees.allergy.payer: ",
        f"{first}:{line_with(one, 'colour')}: guarantees.allergy.colour: unknown key",
        f"{second}:{line_with(two, 'Nowhere')}: time_zone: ",
        f"{second}:{line_with(two, '.window]]')}: allergy: window: either days or hours are expected",
        f"{third}:{line_with(POLICY, 'days = 30')}: Invalid value",
        f"{tmp_path / 'four.toml'}: cannot be read: no such file or directory",
        f"{tmp_path}: cannot be read: is a directory",
    ):
        assert place in captured.err


def test_a_file_that_is_no_text_is_one_sentence(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "p.toml").write_bytes(b"a = '\xff'")
    assert main(["check", str(tmp_path / "p.toml")]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path / 'p.toml'}: is not a text in UTF-8 (byte 5)\n"


def test_files_that_hold_at_the_same_time_are_named_with_the_line_where_each_begins(tmp_path: Path, capsys: Output) -> None:
    later = POLICY.replace("small-1", "small-2").replace("2026-01-01", "2026-06-30")
    later = later.replace("valid_until = 2026-07-01T00:00:00+08:00\n", "")
    one, two = policy_file(tmp_path), policy_file(tmp_path, later, "later.toml")
    assert main(["check", one, two]) == 1
    line = line_with(POLICY, "valid_from")
    assert f"{two}:{line}: holds from 2026-06-30T00:00:00+08:00, when {one}:{line} still does" in capsys.readouterr().err
    policy_file(tmp_path, later.replace("2026-06-30", "2026-07-01"), "later.toml")
    assert main(["check", two, one]) == 0


@pytest.mark.parametrize(
    ("old", "new", "at", "said"),
    [
        ("days = 30", "days = 31", "[[guarantees.allergy.window]]", ["English sentence does not say 31 days", "Chinese sentence does not say 31 days"]),
        ("Within 30 days", "Within 130 days", "[[guarantees.allergy.window]]", ["English sentence does not say 30 days"]),
        ("Within 30 days", "Within a month", "[[guarantees.allergy.window]]", ["English sentence does not say 30 days"]),
        ('remedies = ["refund_only"]\namount = {', 'remedies = ["refund_only"]\nkeeps_goods_up_to = 99\namount = { most = 100,', "amount = {",
         ["most is 100, but goods are kept up to 99 only"]),
    ],
)  # fmt: skip
def test_what_is_hardly_meant_is_a_warning(old: str, new: str, at: str, said: list[str], tmp_path: Path, capsys: Output) -> None:
    text = POLICY.replace(old, new)
    file = policy_file(tmp_path, text)
    assert main(["check", file]) == 0
    warned = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in warned] == [f"{file}:{line_with(text, at)}"] * len(said)
    assert all(line.startswith("warning: ") and part in line for line, part in zip(warned, said, strict=True))


def test_a_length_may_be_said_in_words(tmp_path: Path, capsys: Output) -> None:
    text = POLICY.replace("days = 30", "days = 730").replace("Within 30 days.", "Within two years.").replace("30天内", "两年内")
    assert main(["check", policy_file(tmp_path, text)]) == 0
    assert capsys.readouterr().err == ""


def test_a_gap_between_two_policies_is_a_warning(tmp_path: Path, capsys: Output) -> None:
    later = POLICY.replace("small-1", "small-2").replace("2026-07-01", "2027-07-01").replace("2026-01-01", "2026-07-02")
    file = policy_file(tmp_path, later, "later.toml")
    assert main(["check", file, policy_file(tmp_path)]) == 0
    assert capsys.readouterr().err == (
        f"warning: {file}:{line_with(later, 'valid_from')}: nothing holds from 2026-07-01T00:00:00+08:00, "
        "where small-1 ends, until small-2 begins\n"
    )


# --- explain ----------------------------------------------------------------------------------------------------------


def test_an_allergy_on_day_29_with_photos_is_covered_in_full(written: Written, capsys: Output) -> None:
    assert main(["explain", "--claim", written(ALLERGY)]) == 0
    output = capsys.readouterr().out
    assert found(output, "beauty_allergy") == "beauty_allergy  covered  beauty_allergy  up to CNY 1,490.00"
    assert found(output, "best cover") == "best cover  beauty_allergy, up to CNY 1,490.00"
    assert found(output, "supported") == "supported  CNY 1,490.00 asked for, in full"
    assert "made 2026-06-04 10:00" in found(output, "claim")
    for line in (
        "   holds       The shop has opted in to allergy returns.",
        "   holds       Within 60 days, counted from the day after sign-for.",
        "   holds       Photos of the reaction or a medical certificate.",
        "   holds       The full price, opened or not.",
        "               = CNY 1,490.00 of CNY 1,490.00",
        "               promised | promised by merchant or item | the marketplace's own guarantee, grade S",
    ):
        assert line in output.splitlines()
    assert "(until 2026-07-05 23:59:59)" in output


@pytest.mark.parametrize(
    ("submitted", "line", "word"),
    [
        ("2026-11-21T11:59:00+08:00", "fresh_spoilage  covered  fresh_spoilage  up to CNY 99.00", "holds"),
        ("2026-11-21T12:01:00+08:00", "fresh_spoilage  not covered  fresh_spoilage/window/1  up to CNY 0.00", "fails"),
    ],
)
def test_spoiled_fruit_is_covered_a_minute_before_the_end_and_not_a_minute_after(
    submitted: str, line: str, word: str, written: Written, capsys: Output
) -> None:
    assert main(["explain", "--claim", written(FRUIT | {"submitted_at": submitted})]) == 0
    output = capsys.readouterr().out
    assert found(output, "fresh_spoilage") == line
    assert f"   {word:<12}Within 24 hours after sign-for." in output.splitlines()
    assert "(until 2026-11-21 12:00)" in output


def test_each_guarantee_has_one_line_and_those_that_do_not_apply_say_why(written: Written, capsys: Output) -> None:
    assert main(["explain", "--claim", written(ALLERGY | {"items": [{"item_id": "i", "category": "toys.doll"}]})]) == 0
    output = capsys.readouterr().out
    for code in load_policies().at(request_of(claim(ALLERGY)).moments["paid_at"]).guarantees:  # type: ignore[union-attr]
        assert found(output, f"{code} ")
    assert found(output, "beauty_allergy") == "beauty_allergy  does not apply  -  is not about toys.doll"
    assert found(output, "damage_return") == "damage_return  does not apply  -  is not about allergy"


def claim(body: dict[str, Any]) -> Claim:
    return Claim.model_validate_json(json.dumps(body))


def test_what_is_missing_is_named_as_the_claim_names_it(written: Written, capsys: Output) -> None:
    assert main(["explain", "--claim", written(ALLERGY | {"evidence": [], "order": ALLERGY["order"] | {"delivered_at": None}})]) == 0
    output = capsys.readouterr().out
    assert found(output, "beauty_allergy").split("  ")[1] == "unproven"
    block = output[output.index("\nbeauty_allergy") :].split("\n\n")[0]
    missing = block[block.index("   missing") :]
    assert "order/delivered_at" in missing
    assert "evidence/photo" in missing
    assert "   not known   Within 60 days" in block


def test_facts_that_contradict_are_told_last(written: Written, capsys: Output) -> None:
    late = ALLERGY["order"] | {"delivered_at": "2026-06-05T00:00:00+08:00"}
    assert main(["explain", "--claim", written(ALLERGY | {"order": late})]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "contradicts delivered_at is after the claim"


def test_what_is_left_of_the_order_limits_every_amount(written: Written, capsys: Output) -> None:
    assert main(["explain", "--claim", written(ALLERGY), "--left", "2000"]) == 0
    output = capsys.readouterr().out
    assert found(output, "beauty_allergy").endswith("up to CNY 20.00")
    assert found(output, "supported") == "supported  CNY 20.00 of CNY 1,490.00 asked for"
    assert found(output, "left") == "left  CNY 20.00"


def test_a_return_on_its_way_is_told_as_the_reason_to_pay_first(written: Written, capsys: Output) -> None:
    parcel = {"shipped_at": "2026-06-03T09:00:00+08:00"}
    assert main(["explain", "--claim", written(ALLERGY | {"return_parcel": parcel})]) == 0
    assert found(capsys.readouterr().out, "pay first") == "pay first  return_on_its_way: The return was handed to a carrier."


def test_several_items_are_told_one_by_one(written: Written, capsys: Output) -> None:
    items = [ALLERGY["items"][0] | {"unit_price": 100000}, ALLERGY["items"][0] | {"item_id": "cream-2", "unit_price": 49000}]
    assert main(["explain", "--claim", written(ALLERGY | {"items": items})]) == 0
    output = capsys.readouterr().out
    assert "   item        serum-1" in output
    assert "   item        cream-2" in output
    assert "   pays        serum-1 CNY 1,000.00, cream-2 CNY 490.00" in output


def test_a_changed_window_is_seen_at_once(tmp_path: Path, written: Written, capsys: Output) -> None:
    claimed = written(ALLERGY | {"remedy": "refund_only"})
    assert main(["explain", policy_file(tmp_path), "--claim", claimed]) == 0
    assert found(capsys.readouterr().out, "allergy ").split("  ")[1] == "covered"
    assert main(["explain", policy_file(tmp_path, POLICY.replace("days = 30", "days = 28")), "--claim", claimed]) == 0
    output = capsys.readouterr().out
    assert found(output, "allergy ").split("  ")[1:3] == ["not covered", "allergy/window"]
    # The sentence still says 30 days: the value of the file beside it shows that.
    assert "window | after delivered_at; 28 days, counted from the day after | ours, grade A" in output


def test_times_are_those_of_the_orders_own_time_zone(written: Written, capsys: Output) -> None:
    abroad = ALLERGY["order"] | {"time_zone": "Europe/London"}
    assert main(["explain", "--claim", written(ALLERGY | {"order": abroad})]) == 0
    output = capsys.readouterr().out
    assert "made 2026-06-04 03:00" in output
    assert "Europe/London" in output


def test_a_policy_that_was_not_valid_at_purchase_is_explained_all_the_same(tmp_path: Path, written: Written, capsys: Output) -> None:
    text = POLICY.replace("2026-01-01", "2026-05-02")
    assert main(["explain", policy_file(tmp_path, text), "--claim", written(ALLERGY)]) == 0
    captured = capsys.readouterr()
    assert captured.err == (
        "note: small-1 was not valid at purchase (2026-05-01 12:00 Asia/Shanghai); "
        "it holds from 2026-05-02 00:00 until 2026-07-01 00:00. Explained all the same.\n"
    )
    assert found(captured.out, "allergy ")


def test_where_no_shipped_policy_was_valid_the_answer_says_which_there_are(written: Written, capsys: Output) -> None:
    early = {"order_id": "o", "paid_at": "2019-05-01T12:00:00+08:00", "paid_amount": 149000}
    assert main(["explain", "--claim", written(ALLERGY | {"order": early})]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: no shipped policy was valid at purchase (2019-05-01 04:00 UTC): ")
    assert all(policy.version in error for policy in load_policies().all)


def test_everything_wrong_about_a_claim_is_named_with_its_pointer(written: Written, capsys: Output) -> None:
    wrong = ALLERGY | {"amount": 0, "colour": "red", "items": [{"category": "Beauty"}], "extra": {"a~b/c": 1, "d": []}, "reason": "?"}
    file = written(wrong)
    assert main(["explain", "--claim", file]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    places = {line.removeprefix("error: ").split(": ")[0] for line in captured.err.splitlines()}
    pointers = ("/amount", "/colour", "/items/0/item_id", "/items/0/category", "/extra/a~0b~1c", "/extra/d", "/reason")
    assert places == {f"{file}#{pointer}" for pointer in pointers}


def test_a_claim_that_is_no_json_or_not_there_is_one_sentence(written: Written, capsys: Output) -> None:
    file = written("{")
    assert main(["explain", "--claim", file]) == 1
    assert capsys.readouterr().err.startswith(f"error: {file}: invalid JSON: ")
    assert main(["explain", "--claim", "nowhere.json"]) == 1
    assert capsys.readouterr().err == "error: nowhere.json: cannot be read: no such file or directory\n"


def test_a_policy_that_is_wrong_is_not_explained(tmp_path: Path, written: Written, capsys: Output) -> None:
    file = policy_file(tmp_path, POLICY.replace("days = 30", "days = 0"))
    assert main(["explain", file, "--claim", written(ALLERGY)]) == 1
    assert f"{file}:{line_with(POLICY, 'days = 30')}: " in capsys.readouterr().err


def test_it_is_told_in_chinese(written: Written, capsys: Output) -> None:
    assert main(["explain", "--lang", "zh", "--claim", written(ALLERGY)]) == 0
    output = capsys.readouterr().out
    assert found(output, "beauty_allergy") == "beauty_allergy  保障  beauty_allergy  最多 CNY 1,490.00"
    assert "   符合        自签收次日起60天内。" in output.splitlines()
    assert found(output, "支持金额") == "支持金额  CNY 1,490.00，即申请金额全额"


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("body", [ALLERGY, FRUIT, ALLERGY | {"evidence": []}], ids=["allergy", "fruit", "unproven"])
def test_no_line_is_longer_than_100_columns(body: dict[str, Any], language: str, written: Written, capsys: Output) -> None:
    assert main(["explain", "--lang", language, "--claim", written(body)]) == 0
    assert max(width(line) for line in capsys.readouterr().out.splitlines()) <= 100


def test_a_claim_in_another_currency_is_shown_in_its_own(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text(json.dumps(ALLERGY | {"currency": "JPY"}), encoding="utf-8")
    made = read_claim(file)
    request = request_of(made)
    [policy] = [one for one in load_policies().all if one.holds_at(request.moments["paid_at"] or 0)]
    text = "\n".join(explained(judge(policy, request), policy, request, "en", name="p", asked=made.currency, claim_id="c"))
    assert "JPY 149,000" in text
    assert "the policy is about CNY, not JPY" in text


# --- table ------------------------------------------------------------------------------------------------------------


def test_the_page_in_docs_is_what_the_command_prints(capsys: Output) -> None:
    assert main(["table"]) == 0
    assert capsys.readouterr().out == GUARANTEES.read_text(encoding="utf-8"), "renew it: python -m risk.policy table > docs/guarantees.md"


def test_the_newest_policy_stands_first(tmp_path: Path, capsys: Output) -> None:
    later = POLICY.replace("small-1", "small-2").replace("2026-07-01", "2027-07-01").replace("2026-01-01", "2026-07-01")
    assert main(["table", policy_file(tmp_path), policy_file(tmp_path, later, "later.toml")]) == 0
    assert re.findall("^## (small.*)$", capsys.readouterr().out, re.MULTILINE) == ["small-2", "small-1"]


def test_every_rule_stands_on_the_page_under_the_clause_that_a_judgement_names(capsys: Output) -> None:
    shown = page(load_policies().all)
    for body in (ALLERGY, FRUIT, FRUIT | {"reason": "damaged"}, ALLERGY | {"reason": "no_reason"}, FRUIT | {"reason": "not_shipped"}):
        request = request_of(claim(body))
        judgement = judge(load_policies().at(request.moments["paid_at"]), request)
        assert judgement.covers
        for finding in (finding for cover in judgement.covers for finding in cover.findings):
            trigger = finding.clause.partition("/")[2]
            assert f"| `{finding.clause}` |" in shown or f"| `{trigger}` |" in shown
            assert finding.rule.en in shown


def test_rules_of_one_kind_are_numbered_only_where_there_are_several() -> None:
    guarantees = load_policies().all[-1].guarantees
    assert [clause for clause, _ in clauses("beauty_allergy", guarantees["beauty_allergy"])][:2] == [
        "beauty_allergy/promised", "beauty_allergy/window",
    ]  # fmt: skip
    assert "damage_return/window/2" in dict(clauses("damage_return", guarantees["damage_return"]))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_table_of_the_page_has_as_many_cells_as_columns(language: Any) -> None:
    cells = 0
    for line in page(load_policies().all, language).splitlines():
        if line.startswith("|"):
            cells = cells or line.count("|")
            assert line.count("|") - line.count("\\|") == cells
        else:
            cells = 0


def test_the_page_in_chinese_has_the_chinese_sentences(tmp_path: Path, capsys: Output) -> None:
    assert main(["table", "--lang", "zh", policy_file(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "| `allergy/window` | 30天内。 | 起算：delivered_at；30 天，自次日起算 | ours | A |" in output


def test_a_table_of_a_wrong_file_is_refused(tmp_path: Path, capsys: Output) -> None:
    assert main(["table", str(tmp_path / "none.toml")]) == 1
    assert capsys.readouterr().out == ""


# --- lines ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("one two three", 8, ["one two", "three"]),
        ("one", 2, ["one"]),
        ("保障，说明", 5, ["保", "障，", "说明"]),
        ("", 5, []),
    ],
)
def test_a_text_is_broken_between_words_and_between_chinese_characters(text: str, columns: int, expected: list[str]) -> None:
    assert list(wrapped(text, columns)) == expected


def test_a_label_stands_once_and_its_text_beside_it() -> None:
    assert list(indented("可退", "one two", left=1, columns=6, most=11)) == [" 可退  one", "       two"]
