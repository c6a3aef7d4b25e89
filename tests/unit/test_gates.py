"""The checks between a claim and its decision; none of them denies."""

import json
import tomllib
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.claim import Claim, facts
from risk.errors import SettingError
from risk.features import Facts
from risk.gates import (
    CLOCK_SKEW,
    Gate,
    all_gates,
    amount_gate,
    contradictions,
    facts_gate,
    first_failed,
    load_rules,
    missing_facts,
    order_gate,
    parse_rules,
    score_gate,
)  # fmt: skip
from risk.order import UNKNOWN, OrderAccount
from risk.vocabulary import REASONS
from tests.service import a_claim, stamp

RULES = load_rules()
LARGEST = RULES.largest["CNY"]
TEXT = resources.files("risk").joinpath("gates.toml").read_text(encoding="utf-8")
FULL: dict[str, Any] = {
    "order": {"promised_by": stamp(days=2), "tracking_number": "T1", "carrier": "swift"},
    "evidence": [
        {"evidence_id": kind, "kind": kind} for kind in ("photo", "video", "certificate", "parcel_scan", "chat")
    ],
}
BARE: dict[str, Any] = {"order": {"delivered_at": None, "shipped_at": None}, "evidence": []}


def known(**changes: Any) -> dict[str, Any]:
    return facts(Claim.model_validate_json(json.dumps(a_claim(**changes))))


def now_of(of: Facts) -> int:
    return int(of["submitted_at"]) + 1


@pytest.mark.parametrize("reason", REASONS)
def test_a_claim_with_every_fact_misses_none_for_any_reason(reason: str) -> None:
    assert missing_facts(known(reason=reason, **FULL), RULES) == []


@pytest.mark.parametrize("reason", REASONS)
def test_a_bare_claim_is_told_every_list_of_which_it_has_nothing(reason: str) -> None:
    bare = known(reason=reason, **BARE)
    expected = [" or ".join(choices) for choices in RULES.needs[reason]]
    assert missing_facts(bare, RULES) == expected


@pytest.mark.parametrize(("reason", "choices"), [(r, c) for r in REASONS for c in RULES.needs[r]])
def test_of_each_list_one_fact_is_enough(reason: str, choices: tuple[str, ...]) -> None:
    columns = {"photo": "photo_count", "video": "video_count", "certificate": "certificate_count",
               "parcel_scan": "scan_count", "chat": "chat_count"}  # fmt: skip
    for choice in choices:
        alone = known(reason=reason, **BARE) | {columns.get(choice, choice): 1}
        assert " or ".join(choices) not in missing_facts(alone, RULES)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"order": {"shipped_at": stamp(days=9)}}, "shipped_at before paid_at"),
        ({"order": {"delivered_at": stamp(days=4, hours=1)}}, "delivered_at before shipped_at"),
        ({"order": {"delivered_at": stamp(days=6), "shipped_at": None}}, "delivered_at before paid_at"),
        ({"submitted_at": stamp(days=2)}, "submitted_at before delivered_at"),
        ({"buyer": {"registered_at": stamp(days=-1)}}, "submitted_at before registered_at"),
        ({"submitted_at": stamp(hours=-1)}, "submitted_at is in the future"),
        ({"amount": 9_901}, "amount is more than was paid"),
    ],
)
def test_facts_that_cannot_all_be_true_are_named(changes: dict[str, Any], said: str) -> None:
    now = now_of(known())
    found = known(**changes)
    assert contradictions(found, RULES, now) == [said]
    gate = facts_gate(found, RULES, now)
    assert not gate.passed
    assert said in gate.detail


@pytest.mark.parametrize(("reason", "time"), [(r, t) for r, times in RULES.contradicts.items() for t in times])
def test_a_reason_that_a_time_of_the_parcel_speaks_against_goes_to_a_person(reason: str, time: str) -> None:
    claim = known(reason=reason, **FULL) | dict.fromkeys(("shipped_at", "delivered_at"))
    assert contradictions(claim, RULES, now_of(claim)) == []
    claim[time] = claim["submitted_at"] - 1
    assert contradictions(claim, RULES, now_of(claim)) == [f"{reason} with {time}"]


def test_a_callers_clock_may_be_a_little_ahead() -> None:
    claim = known()
    assert contradictions(claim, RULES, claim["submitted_at"] - CLOCK_SKEW) == []
    assert contradictions(claim, RULES, claim["submitted_at"] - CLOCK_SKEW - 1) == ["submitted_at is in the future"]


def test_times_at_the_same_moment_do_not_contradict() -> None:
    moment = stamp(days=1)
    order = {"paid_at": moment, "shipped_at": moment, "delivered_at": moment}
    claim = known(submitted_at=moment, order=order)
    assert contradictions(claim, RULES, now_of(claim)) == []


def test_contradictory_and_missing_facts_are_told_together() -> None:
    claim = known(amount=10_000, evidence=[])
    detail = facts_gate(claim, RULES, now_of(claim)).detail
    assert "more than was paid" in detail
    assert "photo or video" in detail


@given(st.integers(1, 10**11), st.integers(-(10**11), 10**11))
def test_an_amount_passes_only_within_what_is_left_and_within_the_largest(amount: int, left: int) -> None:
    gate = amount_gate(amount, left, LARGEST)
    assert gate.passed == (amount <= left and amount <= LARGEST)
    assert "-" not in gate.detail


@pytest.mark.parametrize("other", ["buyer", "merchant"])
def test_a_claim_on_somebody_elses_order_goes_to_a_person(other: str) -> None:
    claim = known()
    order = UNKNOWN.after(claim, approved=True)
    assert order_gate(claim, order).passed
    theirs = claim | {f"{other}_id": "somebody else"}
    assert order_gate(theirs, order) == Gate("order", passed=False, detail=f"the order is known with another {other}_id")


def test_a_claim_in_another_currency_than_its_order_goes_to_a_person() -> None:
    claim = known()
    assert not order_gate(claim | {"currency": "JPY"}, UNKNOWN.after(claim, approved=True)).passed
    assert order_gate(claim | {"currency": "JPY"}, OrderAccount(buyer_id=claim["buyer_id"])).passed


def test_nothing_passes_in_a_currency_that_has_no_largest_amount() -> None:
    claim = known(currency="JPY", amount=1)
    gates = all_gates(claim, order=UNKNOWN, score=0.1, threshold=0.2, now=now_of(claim), rules=RULES)
    assert [gate.gate for gate in gates if not gate.passed] == ["order_amount"]
    assert RULES.largest_in(None) == LARGEST


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_score_passes_up_to_and_with_the_threshold(score: float, threshold: float) -> None:
    assert score_gate(score, threshold).passed == (score <= threshold)


@pytest.mark.parametrize(("score", "threshold"), [(None, 0.5), (0.1, None), (None, None)])
def test_without_a_score_or_a_threshold_nothing_passes(score: float | None, threshold: float | None) -> None:
    assert score_gate(score, threshold) == Gate("score", passed=False, detail="no score could be computed")


def test_a_score_that_is_not_a_number_does_not_pass() -> None:
    assert not score_gate(float("nan"), 0.5).passed


def test_gates_stand_in_one_fixed_order_and_all_of_them_speak() -> None:
    claim = known(amount=10_000, evidence=[])
    gates = all_gates(claim, order=UNKNOWN, score=0.9, threshold=0.1, now=now_of(claim), rules=RULES)
    assert [(gate.gate, gate.passed) for gate in gates] == [
        ("facts", False), ("order", True), ("order_amount", False), ("score", False)
    ]
    assert first_failed(gates) is gates[0]


def test_no_gate_failed_means_none() -> None:
    assert first_failed([Gate("a", passed=True, detail="")]) is None
    assert first_failed([]) is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("spoiled =", "spoilt =", "needs.spoilt: no such reason"),
        ("spoiled =", "spoilt =", "needs.spoiled: no rule"),
        ("rate = 0.2", "rate = 0", "audit.rate"),
        ("rate = 0.2", "rate = 1.5", "audit.rate"),
        ("CNY = 500000", "CNY = 0", "largest.CNY"),
        ("CNY = 500000", "", "largest: at least one currency"),
        ('not_shipped = [["promised_by"]]', 'not_shipped = [["promised_by", "paid_at"]]', "every claim has paid_at"),
        ('not_received = ["delivered_at"]', 'never_received = ["delivered_at"]', "contradicts.never_received: no such reason"),
        ('not_received = ["delivered_at"]', 'not_received = ["amount"]', "contradicts.not_received: no such time: amount"),
    ],
)
def test_rules_that_do_not_hold_together_are_refused(old: str, new: str, said: str) -> None:
    with pytest.raises(SettingError, match=said.replace(".", r"\.")):
        parse_rules(TEXT.replace(old, new))


def test_every_fact_that_a_rule_asks_for_exists() -> None:
    claim = known()
    named = {name for lists in tomllib.loads(TEXT)["needs"].values() for choices in lists for name in choices}
    evidence = {"photo", "video", "certificate", "parcel_scan", "chat"}
    assert named <= {*claim} | evidence


def test_a_rule_that_asks_for_an_unknown_fact_is_refused() -> None:
    with pytest.raises(SettingError, match="postmark"):
        parse_rules(TEXT.replace('"certificate"', '"postmark"'))
