"""The checks between a claim and its decision; none of them denies."""

import json
from dataclasses import replace
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
    cover_gates,
    facts_gate,
    first_failed,
    load_rules,
    order_gate,
    parse_rules,
    promise_gate,
    score_gate,
    switch_gate,
)  # fmt: skip
from risk.order import UNKNOWN, OrderAccount
from risk.policy.cover import Judgement, judge
from risk.policy.definition import load_policies
from risk.policy.request import request_of_facts
from risk.promise.appetite import load_appetite
from risk.promise.certificate import Standing
from tests.service import a_claim, stamp

RULES = load_rules()
LARGEST = load_appetite().largest_in("CNY")
PROMISED = Standing(0.2, "certified")
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


def judged(claim: Facts, **changes: Any) -> Judgement:
    """What the shipped policy says of the claim's principal item."""
    request = replace(request_of_facts(claim), left=100_000_000, **changes)
    return judge(load_policies().at(claim["paid_at"]), request)


def now_of(of: Facts) -> int:
    return int(of["submitted_at"]) + 1


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
    assert f"{reason} with {time}" in contradictions(claim, RULES, now_of(claim))


def test_a_callers_clock_may_be_a_little_ahead() -> None:
    claim = known()
    assert contradictions(claim, RULES, claim["submitted_at"] - CLOCK_SKEW) == []
    assert contradictions(claim, RULES, claim["submitted_at"] - CLOCK_SKEW - 1) == ["submitted_at is in the future"]


def test_times_at_the_same_moment_do_not_contradict() -> None:
    moment = stamp(days=1)
    order = {"paid_at": moment, "shipped_at": moment, "delivered_at": moment}
    claim = known(submitted_at=moment, order=order)
    assert contradictions(claim, RULES, now_of(claim)) == []


@given(st.integers(1, 10**11), st.integers(-(10**11), 10**11))
def test_an_amount_passes_only_within_what_is_left_and_within_the_largest(amount: int, left: int) -> None:
    gate = amount_gate(amount, left, LARGEST)
    assert gate.passed == (amount <= left and amount <= LARGEST)
    assert "-" not in gate.detail


@pytest.mark.parametrize("other", ["buyer", "merchant"])
def test_a_claim_on_somebody_elses_order_goes_to_a_person(other: str) -> None:
    claim = known()
    order = UNKNOWN.after(claim, ["i"], approved=True)
    assert order_gate(claim, order).passed
    theirs = claim | {f"{other}_id": "somebody else"}
    assert order_gate(theirs, order) == Gate("order", passed=False, detail=f"the order is known with another {other}_id")


def test_a_claim_in_another_currency_than_its_order_goes_to_a_person() -> None:
    claim = known()
    assert not order_gate(claim | {"currency": "JPY"}, UNKNOWN.after(claim, ["i"], approved=True)).passed
    assert order_gate(claim | {"currency": "JPY"}, OrderAccount(buyer_id=claim["buyer_id"])).passed


def test_nothing_passes_in_a_currency_that_has_no_largest_amount() -> None:
    claim = known(currency="JPY", amount=1)
    largest = load_appetite().largest_in("JPY")
    gates = all_gates(
        claim, order=UNKNOWN, judgement=judged(claim), standing=PROMISED, segment="small", score=0.1, largest=largest,
        now=now_of(claim), rules=RULES,
    )  # fmt: skip
    assert [gate.gate for gate in gates if not gate.passed] == ["order_amount"]
    assert load_appetite().largest_in(None) == LARGEST


def test_a_claim_that_its_guarantee_pays_in_full_passes_every_gate_of_the_policy() -> None:
    claim = known()
    assert [(gate.gate, gate.passed) for gate in cover_gates(claim, judged(claim))] == [
        ("cover", True), ("remedy", True), ("cover_amount", True), ("express", True)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "fails", "said"),
    [
        ({"evidence": []}, "cover", "missing a photo or a video"),
        ({"merchant": {"guarantees": []}, "evidence": []}, "cover", "missing"),
        ({"affected_share": None}, "express", "sooner with the share that is affected"),
        ({"affected_share": 0.2}, "cover_amount", "4900 asked, 2970 covered"),
        ({"reason": "no_reason", "remedy": "return_and_refund"}, "cover", "seven_day_return/exclusion"),
        ({"reason": "not_received", "remedy": "return_and_refund", "order": {"delivered_at": None, "promised_by": stamp(days=1)}},
         "remedy", "return_and_refund asked"),
        ({"order": {"delivered_at": stamp(hours=25)}}, "express", "after a person has looked"),
    ],
)
def test_what_the_policy_does_not_pay_goes_to_a_person_with_the_reason(changes: dict[str, Any], fails: str, said: str) -> None:
    claim = known(**changes)
    first = first_failed(cover_gates(claim, judged(claim)))
    assert first is not None
    assert (first.gate, said in first.detail) == (fails, True), first.detail


def test_goods_that_have_to_come_back_are_paid_once_they_are_on_their_way() -> None:
    beauty = {"reason": "allergy", "remedy": "return_and_refund", "items": [{"item_id": "i", "category": "beauty.skincare"}],
              "merchant": {"guarantees": ["beauty_allergy"]}}  # fmt: skip
    waits = known(**beauty)
    assert [gate.gate for gate in cover_gates(waits, judged(waits)) if not gate.passed] == ["express"]
    sent = known(**beauty, return_parcel={"shipped_at": stamp(hours=2)})
    assert all(gate.passed for gate in cover_gates(sent, judged(sent)))


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ({"reason": "damaged", "amount": 20_000, "order": {"paid_amount": 20_000}, "items": [{"item_id": "i", "category": "toys"}],
          "merchant": {"guarantees": ["damage_return"]}},
         "refund_only keeps the goods: damage_return allows that up to 10000; return_and_refund is paid once the return is on its way"),
        ({"reason": "allergy", "items": [{"item_id": "i", "category": "beauty"}], "merchant": {"guarantees": ["beauty_allergy"]}},
         "refund_only keeps the goods: beauty_allergy never allows that; return_and_refund is paid once the return is on its way"),
        ({"amount": 600_000, "order": {"paid_amount": 600_000}},
         "refund_only keeps the goods: fresh_spoilage allows that up to 500000"),
        ({"reason": "allergy", "remedy": "return_and_refund", "items": [{"item_id": "i", "category": "beauty"}],
          "merchant": {"guarantees": ["beauty_allergy"]}},
         "the goods are not on their way back; sooner with a scan of the return or the courier's pick-up scan or the return's arrival"),
    ],
)  # fmt: skip
def test_why_money_does_not_go_out_before_the_goods_are_back_is_told(claim: dict[str, Any], said: str) -> None:
    made = known(**claim)
    [gate] = [gate for gate in cover_gates(made, judged(made)) if gate.gate == "express"]
    assert (gate.passed, gate.detail) == (False, said)


def test_a_claim_for_which_no_policy_holds_says_that_alone() -> None:
    claim = known()
    assert cover_gates(claim, judge(None, request_of_facts(claim)))[0].detail == "no policy was valid at purchase"


def test_a_rule_that_fails_is_told_with_its_fact() -> None:
    claim = known(reason="no_reason", remedy="return_and_refund")
    assert cover_gates(claim, judged(claim))[0].detail.startswith("seven_day_return/exclusion/2: Fresh and perishable goods")


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_score_passes_up_to_and_with_the_threshold(score: float, threshold: float) -> None:
    assert score_gate(score, threshold).passed == (score <= threshold)


@pytest.mark.parametrize(("score", "threshold"), [(None, 0.5), (0.1, None), (None, None)])
def test_without_a_score_or_a_threshold_nothing_passes(score: float | None, threshold: float | None) -> None:
    said = "no score could be computed" if score is None else "score 0.1000, no threshold is certified"
    assert score_gate(score, threshold) == Gate("score", passed=False, detail=said)


def test_without_a_certified_threshold_the_promise_lets_nothing_pass() -> None:
    assert promise_gate(Standing(None, "lapsed")) == Gate("promise", passed=False, detail="lapsed")
    assert promise_gate(PROMISED).passed


@pytest.mark.parametrize("off", [{"all"}, {"small"}, {"all", "small"}])
def test_a_switch_that_is_off_lets_nothing_pass(off: set[str]) -> None:
    assert not switch_gate("small", off).passed
    assert switch_gate("large", off).passed == ("all" not in off)
    assert switch_gate("small", set()).passed


def test_a_score_that_is_not_a_number_does_not_pass() -> None:
    assert not score_gate(float("nan"), 0.5).passed


def test_gates_stand_in_one_fixed_order_and_all_of_them_speak() -> None:
    claim = known(amount=10_000, evidence=[])
    gates = all_gates(
        claim, order=UNKNOWN, judgement=judged(claim), standing=Standing(0.1, "certified"), segment="small", score=0.9,
        off={"small"}, largest=LARGEST, now=now_of(claim), rules=RULES,
    )  # fmt: skip
    assert [(gate.gate, gate.passed) for gate in gates] == [
        ("facts", False), ("order", True), ("order_amount", False), ("cover", False), ("remedy", False),
        ("cover_amount", False), ("express", False), ("promise", True), ("score", False), ("switch", False),
    ]
    assert first_failed(gates) is gates[0]


def test_no_gate_failed_means_none() -> None:
    assert first_failed([Gate("a", passed=True, detail="")]) is None
    assert first_failed([]) is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('not_received = ["delivered_at"]', 'never_received = ["delivered_at"]', "contradicts.never_received: no such reason"),
        ('not_received = ["delivered_at"]', 'not_received = ["amount"]', "contradicts.not_received: no such time: amount"),
    ],
)
def test_rules_that_do_not_hold_together_are_refused(old: str, new: str, said: str) -> None:
    with pytest.raises(SettingError, match=said.replace(".", r"\.")):
        parse_rules(TEXT.replace(old, new))


