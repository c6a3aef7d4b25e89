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
from risk.order import OrderAccount
from risk.vocabulary import REASONS

CLOCK_SKEW = 5 * 60 * 1_000_000
"""How far the caller's clock may be ahead of ours (microseconds)."""
_COLUMNS = {"photo": "photo_count", "video": "video_count", "certificate": "certificate_count",
            "parcel_scan": "scan_count", "chat": "chat_count"}  # fmt: skip
_ALWAYS = frozenset(("submitted_at", "reason", "remedy", "amount", "paid_at", "paid_amount", "category", "item_count"))
"""Facts without which a claim is refused at the edge."""
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
    contradicts: Mapping[str, tuple[str, ...]]
    audit_rate: float
    largest: Mapping[str, int]
    """The most that may be approved at once, by currency."""

    def largest_in(self, currency: str | None) -> int:
        """The most in a currency, 0 in one without a rule; the least of all where a history does not say which."""
        return min(self.largest.values()) if currency is None else self.largest.get(currency, 0)


@lru_cache(maxsize=1)
def load_rules() -> GateRules:
    """The rules that this version ships."""
    return parse_rules(resources.files("risk").joinpath("gates.toml").read_text(encoding="utf-8"))


def parse_rules(text: str) -> GateRules:
    """Read gate rules; a SettingError names every line that does not hold together."""
    data: dict[str, Any] = tomllib.loads(text)
    audit, largest, contradicts = data.get("audit", {}), data.get("largest", {}), data.get("contradicts", {})
    problems = [Problem(f"needs.{reason}", "no such reason") for reason in data["needs"] if reason not in REASONS]
    problems += [Problem(f"needs.{reason}", "no rule") for reason in REASONS if reason not in data["needs"]]
    known = {*_COLUMNS, *TIMES, *NUMBERS, *TEXTS}
    problems += [
        Problem(f"needs.{reason}", f"no such fact: {name}")
        for reason, lists in data["needs"].items()
        for name in {name for choices in lists for name in choices} - known
    ]
    problems += [
        Problem(f"needs.{reason}", f"every claim has {name}: the list asks for nothing")
        for reason, lists in data["needs"].items()
        for name in {name for choices in lists for name in choices} & _ALWAYS
    ]
    problems += [Problem(f"contradicts.{reason}", "no such reason") for reason in contradicts if reason not in REASONS]
    problems += [
        Problem(f"contradicts.{reason}", f"no such time: {name}")
        for reason, names in contradicts.items()
        for name in {*names} - {*TIMES}
    ]
    if not 0 < audit.get("rate", 0) <= 1:
        problems.append(Problem("audit.rate", "a share between 0 and 1 is expected"))
    if not largest:
        problems.append(Problem("largest", "at least one currency is expected"))
    problems += [
        Problem(f"largest.{currency}", "a positive amount is expected") for currency, most in largest.items() if most <= 0
    ]
    if problems:
        raise SettingError(problems)
    needs = {reason: tuple(tuple(choices) for choices in lists) for reason, lists in data["needs"].items()}
    against = {reason: tuple(names) for reason, names in contradicts.items()}
    return GateRules(data["version"], needs, against, float(audit["rate"]), largest)


def missing_facts(facts: Facts, rules: GateRules) -> list[str]:
    """What is missing for an approval at once, each as `this or that`."""
    needs = rules.needs.get(facts["reason"])
    if needs is None:
        return ["reason"]
    return [" or ".join(choices) for choices in needs if not any(facts[_COLUMNS.get(name, name)] for name in choices)]


def contradictions(facts: Facts, rules: GateRules, now: int) -> list[str]:
    """Facts of the claim that cannot all be true."""
    found = [
        f"{later} before {earlier}"
        for later, earlier in _ORDERED
        if facts[later] is not None and facts[earlier] is not None and facts[later] < facts[earlier]
    ]
    against = rules.contradicts.get(facts["reason"], ())
    found += [f"{facts['reason']} with {name}" for name in against if facts[name] is not None]
    if facts["submitted_at"] > now + CLOCK_SKEW:
        found.append("submitted_at is in the future")
    if facts["amount"] > (facts["paid_amount"] or 0):
        found.append("amount is more than was paid")
    return found


def facts_gate(facts: Facts, rules: GateRules, now: int) -> Gate:
    """Every required fact is there and none contradicts another."""
    wrong, missing = contradictions(facts, rules, now), missing_facts(facts, rules)
    parts = [f"contradictory: {'; '.join(wrong)}"] * bool(wrong) + [f"missing: {'; '.join(missing)}"] * bool(missing)
    return Gate("facts", not parts, ". ".join(parts) or "all required facts are present and agree")


def order_gate(facts: Facts, order: OrderAccount) -> Gate:
    """What the claim says of its order agrees with what is known of it."""
    differing = order.differing(facts)
    said = f"the order is known with another {', '.join(differing)}" if differing else "nothing known of the order contradicts the claim"
    return Gate("order", not differing, said)


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
    facts: Facts, *, order: OrderAccount, score: float | None, threshold: float | None, now: int, rules: GateRules
) -> tuple[Gate, ...]:
    """Every gate in its fixed order; the same for one live claim and for a replayed history."""
    return (
        facts_gate(facts, rules, now),
        order_gate(facts, order),
        amount_gate(facts["amount"], order.left(facts), rules.largest_in(facts["currency"])),
        score_gate(score, threshold),
    )


def first_failed(gates: Sequence[Gate]) -> Gate | None:
    """The gate that sends the claim to a person, if any does."""
    return next((gate for gate in gates if not gate.passed), None)
