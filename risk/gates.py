"""The checks between a claim and its decision, in a fixed order. Each says what it saw; none of them denies."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from risk.errors import Problem, SettingError
from risk.features import Facts
from risk.features.definition import NUMBERS, TEXTS, TIMES
from risk.vocabulary import REASONS

CLOCK_SKEW = 5 * 60 * 1_000_000
"""How far the caller's clock may be ahead of ours (microseconds)."""
_COLUMNS = {"photo": "photo_count", "video": "video_count", "certificate": "certificate_count",
            "parcel_scan": "scan_count", "chat": "chat_count"}  # fmt: skip
_ORDERED = (
    ("shipped_at", "paid_at"),
    ("delivered_at", "shipped_at"),
    ("delivered_at", "paid_at"),
    ("submitted_at", "paid_at"),
    ("submitted_at", "shipped_at"),
    ("submitted_at", "delivered_at"),
    ("submitted_at", "registered_at"),
)
"""Times of which the first cannot come before the second."""


@dataclass(frozen=True)
class Gate:
    """One check: whether it let the claim pass, and why."""

    gate: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class GateRules:
    """The rules of `gates.toml`."""

    version: str
    needs: Mapping[str, tuple[tuple[str, ...], ...]]
    audit_rate: float
    largest: int


@lru_cache(maxsize=1)
def load_rules() -> GateRules:
    """The rules that this version ships."""
    return parse_rules(resources.files("risk").joinpath("gates.toml").read_text(encoding="utf-8"))


def parse_rules(text: str) -> GateRules:
    """Read gate rules; a SettingError names every line that does not hold together."""
    data: dict[str, Any] = tomllib.loads(text)
    audit = data.get("audit", {})
    problems = [Problem(f"needs.{reason}", "no such reason") for reason in data["needs"] if reason not in REASONS]
    problems += [Problem(f"needs.{reason}", "no rule") for reason in REASONS if reason not in data["needs"]]
    known = {*_COLUMNS, *TIMES, *NUMBERS, *TEXTS}
    problems += [
        Problem(f"needs.{reason}", f"no such fact: {name}")
        for reason, lists in data["needs"].items()
        for name in {name for choices in lists for name in choices} - known
    ]
    if not 0 < audit.get("rate", 0) <= 1:
        problems.append(Problem("audit.rate", "a share between 0 and 1 is expected"))
    if audit.get("largest", 0) <= 0:
        problems.append(Problem("audit.largest", "a positive amount is expected"))
    if problems:
        raise SettingError(problems)
    needs = {reason: tuple(tuple(choices) for choices in lists) for reason, lists in data["needs"].items()}
    return GateRules(data["version"], needs, float(audit["rate"]), int(audit["largest"]))


def missing_facts(facts: Facts, rules: GateRules) -> list[str]:
    """What is missing for an approval at once, each as `this or that`."""
    needs = rules.needs.get(facts["reason"])
    if needs is None:
        return ["reason"]
    return [" or ".join(choices) for choices in needs if not any(facts[_COLUMNS.get(name, name)] for name in choices)]


def contradictions(facts: Facts, now: int) -> list[str]:
    """Facts of the claim that cannot all be true."""
    found = [
        f"{later} before {earlier}"
        for later, earlier in _ORDERED
        if facts[later] is not None and facts[earlier] is not None and facts[later] < facts[earlier]
    ]
    if facts["submitted_at"] > now + CLOCK_SKEW:
        found.append("submitted_at is in the future")
    if facts["amount"] > (facts["paid_amount"] or 0):
        found.append("amount is more than was paid")
    return found


def facts_gate(facts: Facts, rules: GateRules, now: int) -> Gate:
    """Every required fact is there and none contradicts another."""
    wrong, missing = contradictions(facts, now), missing_facts(facts, rules)
    parts = [f"contradictory: {'; '.join(wrong)}"] * bool(wrong) + [f"missing: {'; '.join(missing)}"] * bool(missing)
    return Gate("facts", not parts, ". ".join(parts) or "all required facts are present and agree")


def amount_gate(amount: int, left: int, largest: int) -> Gate:
    """The amount is within what is left of the order and within what may be approved at once."""
    if amount > left:
        return Gate("order_amount", False, f"{amount} asked, {max(left, 0)} left of the order")
    if amount > largest:
        return Gate("order_amount", False, f"{amount} asked, at most {largest} may be approved at once")
    return Gate("order_amount", True, f"{amount} asked, {left} left of the order")


def score_gate(score: float | None, threshold: float | None) -> Gate:
    """The calibrated probability of abuse does not exceed the threshold."""
    if score is None or threshold is None:
        return Gate("score", False, "no score could be computed")
    return Gate("score", score <= threshold, f"score {score:.4f}, threshold {threshold:.4f}")


def all_gates(
    facts: Facts, *, approved: int, score: float | None, threshold: float | None, now: int, rules: GateRules
) -> tuple[Gate, ...]:
    """Every gate in its fixed order; the same for one live claim and for a replayed history.

    `approved` is what was approved at once before for the same order (minor units).
    """
    return (
        facts_gate(facts, rules, now),
        amount_gate(facts["amount"], left_of_order(facts, approved), rules.largest),
        score_gate(score, threshold),
    )


def left_of_order(facts: Facts, approved: int) -> int:
    """What is left of the order (minor units).

    Where the caller's refunded amount equals what we approved, they are the same money; where they differ, nobody can
    tell how far they overlap, and both count.
    """
    refunded = facts["refunded_amount"] or 0
    return int((facts["paid_amount"] or 0) - approved - (0 if refunded == approved else refunded))


def first_failed(gates: Sequence[Gate]) -> Gate | None:
    """The gate that sends the claim to a person, if any does."""
    return next((gate for gate in gates if not gate.passed), None)
