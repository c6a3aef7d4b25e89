"""From a claim to a decision: pure, repeatable, and never a denial."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from risk.bundle import Bundle
from risk.claim import Claim
from risk.decision import Decider, Past
from risk.features import load_features
from risk.gates import Gate, load_rules
from risk.order import OrderAccount
from risk.policy.definition import load_policies
from risk.promise.appetite import Appetite, AuditRule, load_appetite
from tests.service import BUNDLE_KEY, a_claim, merged

FEATURES = load_features()
NOTHING = Past(aggregates=[0 if a.how in ("sum", "distinct") else None for a in FEATURES.aggregates])
# Later than any claim made while the whole suite runs: a claim from the future would be refused.
NOW = datetime.now(UTC) + timedelta(hours=1)
APPETITE = load_appetite()


def a_decider(secret: bytes = b"a secret", appetite: Appetite = APPETITE) -> Decider:
    return Decider(features=FEATURES, rules=load_rules(), policies=load_policies(), appetite=appetite, audit_secret=secret)


DECIDER = a_decider()


@pytest.fixture(scope="module")
def bundle(candidates: dict[str, Path]) -> Bundle:
    return Bundle.load(candidates["first"], BUNDLE_KEY.encode())


def parsed(**changes: Any) -> Claim:
    return Claim.model_validate_json(json.dumps(a_claim(**changes)))


def past(**counts: int) -> Past:
    """A past in which these features have these values."""
    wanted = {feature.top: counts[feature.name] for feature in FEATURES.windowed if feature.name in counts}
    assert len(wanted) == len(counts)
    nothing = NOTHING.aggregates or []
    return Past(aggregates=[wanted.get(a, v) for a, v in zip(FEATURES.aggregates, nothing, strict=True)])


def test_an_ordinary_claim_is_approved_at_once(bundle: Bundle) -> None:
    decision = DECIDER.decide(parsed(), NOTHING, bundle, NOW)
    assert decision.decision == "approve"
    assert all(gate.passed for gate in decision.gates)


def test_a_claim_after_confirmed_abuse_goes_to_a_person(bundle: Bundle) -> None:
    decision = DECIDER.decide(parsed(), past(buyer_abuse_365d=2), bundle, NOW)
    assert (decision.decision, [gate.gate for gate in decision.gates if not gate.passed]) == ("review", ["score"])


def test_the_same_claim_and_past_give_the_same_decision(bundle: Bundle) -> None:
    claim = parsed()
    first = DECIDER.decide(claim, NOTHING, bundle, NOW)
    again = a_decider()
    assert all(again.decide(claim, NOTHING, bundle, NOW) == first for _ in range(5))


def test_deciding_changes_nothing_that_was_handed_in(bundle: Bundle) -> None:
    claim, aggregates = parsed(), list(NOTHING.aggregates or [])
    before = (claim.model_dump_json(), list(aggregates))
    DECIDER.decide(claim, Past(aggregates=aggregates), bundle, NOW)
    assert (claim.model_dump_json(), aggregates) == before


@pytest.mark.parametrize("doubt", ["bundle", "history"])
def test_any_doubt_sends_a_claim_to_a_person(bundle: Bundle, doubt: str) -> None:
    gates = (Gate(doubt, passed=False, detail="gone"),)
    assert DECIDER.decide(parsed(), NOTHING, bundle, NOW, doubts=gates).decision == "review"


def test_without_a_bundle_there_is_no_score_and_no_approval() -> None:
    decision = DECIDER.decide(parsed(), NOTHING, None, NOW)
    assert (decision.decision, decision.raw, decision.score, decision.threshold) == ("review", None, None, None)
    assert decision.values is not None


def test_without_a_past_there_is_no_score_and_no_approval(bundle: Bundle) -> None:
    decision = DECIDER.decide(parsed(), Past(aggregates=None), bundle, NOW)
    assert (decision.decision, decision.score, decision.values) == ("review", None, None)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "amount": st.integers(1, 10**9),
            "reason": st.sampled_from(["no_reason", "damaged", "allergy", "not_received"]),
            "order": st.fixed_dictionaries({"paid_amount": st.integers(0, 10**9)}),
            "buyer": st.fixed_dictionaries({"guest": st.booleans()}),
            "extra": st.dictionaries(st.sampled_from(["trust", "x_trust", "z"]), st.floats(allow_nan=False, allow_infinity=False)),
        },
    ),
    st.integers(0, 10**9),
    st.integers(0, 3),
)
@settings(deadline=None, max_examples=200)
def test_a_claim_is_approved_exactly_when_every_gate_passed(
    bundle: Bundle, changes: dict[str, Any], approved: int, abuse: int
) -> None:
    before = replace(past(buyer_abuse_365d=abuse), order=OrderAccount(approved=approved))
    claim = parsed(**changes)
    decision = DECIDER.decide(claim, before, bundle, NOW)
    assert decision.decision in ("approve", "review")
    assert (decision.decision == "approve") == all(gate.passed for gate in decision.gates)
    if decision.decision == "approve":
        assert claim.amount <= decision.left
        assert decision.score is not None
        assert decision.threshold is not None
        assert decision.score <= decision.threshold
    segment = next((s for s in APPETITE.segment if claim.amount <= s.largest["CNY"]), None)
    assert decision.segment == (segment.name if segment else None)
    # Drawn alike however it is decided: a label that is obligatory only where a claim was approved would tell of those alone.
    assert decision.audit.probability == (0.2 * claim.amount / segment.largest["CNY"] if segment else 0.0)


def test_the_vector_holds_every_feature_and_every_signal_in_order(bundle: Bundle) -> None:
    decision = DECIDER.decide(parsed(extra={"trust": 0.25}), past(buyer_abuse_365d=3), bundle, NOW)
    assert decision.values is not None
    found = dict(zip(bundle.columns, decision.values, strict=True))
    assert (found["buyer_abuse_365d"], found["x_trust"], found["amount"]) == (3, 0.25, 4_900)


def test_the_draw_of_an_audit_depends_on_the_claim_id_and_the_secret_alone(bundle: Bundle) -> None:
    claims = [parsed(amount=9_000) for _ in range(200)]
    draws = [DECIDER.decide(claim, NOTHING, bundle, NOW).audit for claim in claims]
    later = [DECIDER.decide(claim, NOTHING, bundle, NOW + timedelta(hours=1)).audit for claim in claims]
    often = APPETITE.model_copy(update={"audit": AuditRule(rate=1.0)})
    other, same = a_decider(b"other", often), a_decider(appetite=often)
    assert draws == later
    assert [other.decide(c, NOTHING, bundle, NOW).audit for c in claims] != [
        same.decide(c, NOTHING, bundle, NOW).audit for c in claims
    ]


@pytest.mark.parametrize("amount", [5_000, 50_000, 250_000, 500_000])
def test_audits_are_drawn_as_often_as_their_probability_says(bundle: Bundle, amount: int) -> None:
    base = a_claim(amount=amount, order={"paid_amount": amount})
    body = Claim.model_validate_json(json.dumps(base))
    segment = next(segment for segment in APPETITE.segment if amount <= segment.largest["CNY"])
    # Only the draw is asked for: it needs no score, and thousands of them are wanted.
    draws = [DECIDER._draw(body.model_copy(update={"claim_id": f"draw-{n}"}), segment) for n in range(20_000)]
    probability = APPETITE.audit.rate * amount / segment.largest["CNY"]
    assert {draw.probability for draw in draws} == {probability}
    mean, spread = 20_000 * probability, math.sqrt(20_000 * probability * (1 - probability))
    assert abs(sum(draw.selected for draw in draws) - mean) < 4 * spread


def test_a_claim_and_its_copy_under_another_id_differ_in_the_draw_alone(bundle: Bundle) -> None:
    body = a_claim()
    one, two = (Claim.model_validate_json(json.dumps(merged(body, {"claim_id": name}))) for name in ("one", "two"))
    first, second = (DECIDER.decide(claim, NOTHING, bundle, NOW) for claim in (one, two))
    assert replace(first, audit=second.audit) == second
