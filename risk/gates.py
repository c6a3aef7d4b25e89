"""The checks between a claim and its decision, in a fixed order. Each says what it saw; none of them denies."""

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from risk.errors import Problem, SettingError
from risk.features import Facts
from risk.features.definition import TIMES
from risk.order import OrderAccount, out_of_order
from risk.policy.cover import Cover, Judgement
from risk.policy.definition import MOMENTS, Guarantee, Policy
from risk.policy.texts import missing_words, unmet
from risk.promise.certificate import Standing
from risk.vocabulary import REASONS

CLOCK_SKEW = 5 * 60 * 1_000_000
"""How far the caller's clock may be ahead of ours (microseconds)."""
_ORDERED = (
    ("shipped_at", "paid_at"),
    ("delivered_at", "shipped_at"),
    ("delivered_at", "paid_at"),
    ("submitted_at", "paid_at"),
    ("submitted_at", "shipped_at"),
    ("submitted_at", "delivered_at"),
    ("submitted_at", "registered_at"),
    ("promised_by", "paid_at"),
    ("return_shipped_at", "delivered_at"),
    ("return_picked_up_at", "delivered_at"),
    ("return_received_at", "return_shipped_at"),
    ("intercepted_at", "paid_at"),
    ("lost_at", "paid_at"),
)
"""Times of which the first cannot come before the second."""
EVERYTHING = "all"
"""Names every segment where approving at once is turned off or on."""
UNCOVERED = "no guarantee covers the claim"
"""What the gates say that have nothing to check where the gate `cover` failed."""


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
    contradicts: Mapping[str, tuple[str, ...]]


@lru_cache(maxsize=1)
def load_rules() -> GateRules:
    """The rules that this version ships."""
    return parse_rules(resources.files("risk").joinpath("gates.toml").read_text(encoding="utf-8"))


def parse_rules(text: str) -> GateRules:
    """Read gate rules; a SettingError names every line that does not hold together."""
    data: dict[str, Any] = tomllib.loads(text)
    contradicts = data.get("contradicts", {})
    problems = [Problem(f"contradicts.{reason}", "no such reason") for reason in contradicts if reason not in REASONS]
    problems += [
        Problem(f"contradicts.{reason}", f"no such time: {name}")
        for reason, names in contradicts.items()
        for name in {*names} - {*TIMES, *MOMENTS}
    ]
    if problems:
        raise SettingError(problems)
    return GateRules(data["version"], {reason: tuple(names) for reason, names in contradicts.items()})


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
    """No fact of the claim contradicts another."""
    wrong = contradictions(facts, rules, now)
    return Gate("facts", not wrong, f"contradictory: {'; '.join(wrong)}" if wrong else "no fact contradicts another")


def order_gate(facts: Facts, order: OrderAccount) -> Gate:
    """What the claim says of its order agrees with what is known of it."""
    differing = order.differing(facts)
    said = f"the order is known with another {', '.join(differing)}" if differing else "nothing known of the order contradicts the claim"
    return Gate("order", not differing, said)


def amount_gate(amount: int, left: int | None, largest: int, approved: int = 0) -> Gate:
    """The amount is within what is left of the order, and what was approved at once for it stays within the largest.

    `left` is None for money that does not come out of the order.
    """
    if left is not None and amount > left:
        return Gate("order_amount", False, f"{amount} asked, {max(left, 0)} left of the order")
    if amount + approved > largest:
        return Gate("order_amount", False, f"{amount} asked, at most {largest} may be approved at once")
    said = "not out of the order" if left is None else f"{left} left of the order"
    return Gate("order_amount", True, f"{amount} asked, {said}")


def _amount_gate(facts: Facts, order: OrderAccount, largest: int) -> Gate:
    left = left_for(facts, order)
    return amount_gate(facts["amount"], left, largest, 0 if left is None else order.approved)


def cover_gates(facts: Facts, judgement: Judgement) -> tuple[Gate, ...]:
    """A guarantee covers the claim, pays in the way and the amount asked for, and may pay before the goods are back."""
    best, policy = judgement.best, judgement.policy
    if best is None or policy is None:
        return Gate("cover", False, _uncovered(judgement)), *(
            Gate(name, False, UNCOVERED) for name in ("remedy", "cover_amount", "express")
        )
    guarantee = policy.guarantees[best.guarantee]
    remedies = " or ".join(guarantee.remedies)
    amount, supported, at_once = facts["amount"], judgement.supported, guarantee.at_once and judgement.trigger is not None
    return (
        Gate("cover", True, f"covered by {best.guarantee}{_doubtful(judgement)}"),
        Gate("remedy", facts["remedy"] in guarantee.remedies, f"{facts['remedy']} asked, {best.guarantee} gives {remedies}"),
        Gate("cover_amount", amount <= supported, f"{amount} asked, {supported} covered"),
        Gate("express", at_once, f"may be paid at once: {judgement.trigger}" if at_once else _waits(facts["remedy"], judgement, policy)),
    )


def _waits(remedy: str, judgement: Judgement, policy: Policy) -> str:
    """Why nothing that covers the claim may be paid at once, and what would change that."""
    best, of = judgement.best, policy.guarantees
    sooner = f"; sooner with {missing_words(judgement.needs)['en']}" if judgement.needs else ""
    if best is not None and not of[best.guarantee].at_once:
        return f"{best.guarantee} is paid after a person has looked{sooner}"
    paying = [cover for cover in judgement.covers if cover.pays_money and of[cover.guarantee].at_once]
    paying = [cover for cover in paying if remedy == "refund_only" and remedy in of[cover.guarantee].remedies]
    kept = [_kept(cover.guarantee, of[cover.guarantee]) for cover in paying if _comes_back(cover, of[cover.guarantee])]
    return (kept[0] if kept else "the goods are not on their way back") + sooner


def _comes_back(cover: Cover, guarantee: Guarantee) -> bool:
    """Whether a guarantee pays more than what it lets the buyer keep."""
    most = guarantee.keeps_goods_up_to
    return most is None or sum(cover.by_item.values()) > most


def _kept(code: str, guarantee: Guarantee) -> str:
    """How far a guarantee lets the buyer keep the goods, and what it pays without that."""
    most = guarantee.keeps_goods_up_to
    allows = "never allows that" if most is None else f"allows that up to {most}"
    instead = "; return_and_refund is paid once the return is on its way" if "return_and_refund" in guarantee.remedies else ""
    return f"refund_only keeps the goods: {code} {allows}{instead}"


def _uncovered(judgement: Judgement) -> str:
    """Why no guarantee covers a claim: what is missing where something is, else the clause that speaks against it."""
    if judgement.policy is None:
        return ", ".join(judgement.problems)
    if judgement.needs:
        return f"not proven: missing {missing_words(judgement.needs)['en']}{_doubtful(judgement)}"
    said = [unmet(cover) for cover in judgement.covers if cover.deciding is not None]
    return ("; ".join(said[:3]) or "no guarantee is about such a claim") + _doubtful(judgement)


def _doubtful(judgement: Judgement) -> str:
    return f"; not relied on: {', '.join(judgement.problems)}" if judgement.problems else ""


def promise_gate(standing: Standing) -> Gate:
    """A certificate that is valid says up to which score the promise holds for such a claim."""
    return Gate("promise", standing.threshold is not None, standing.detail)


def score_gate(score: float | None, threshold: float | None) -> Gate:
    """The calibrated probability of abuse does not exceed the threshold."""
    if score is None:
        return Gate("score", False, "no score could be computed")
    if threshold is None:
        return Gate("score", False, f"score {score:.4f}, no threshold is certified")
    return Gate("score", score <= threshold, f"score {score:.4f}, threshold {threshold:.4f}")


def switch_gate(segment: str | None, off: Collection[str]) -> Gate:
    """Nobody, and no alarm, has turned approving at once off."""
    for name in (EVERYTHING, segment):
        if name in off:
            return Gate("switch", False, "approving at once is turned off" + (f" for {name}" if name != EVERYTHING else ""))
    return Gate("switch", True, "approving at once is turned on")


def eligibility_gates(
    facts: Facts, *, order: OrderAccount, judgement: Judgement, largest: int, now: int, rules: GateRules
) -> tuple[Gate, ...]:
    """The gates that do not depend on a bundle; claims that pass them all are those that a certificate is about.

    `largest` is the most that may be approved at once for one order in the claim's currency.
    """
    return (
        facts_gate(facts, rules, now),
        order_gate(facts, order),
        _amount_gate(facts, order, largest),
        *cover_gates(facts, judgement),
    )


def all_gates(
    facts: Facts,
    *,
    order: OrderAccount,
    judgement: Judgement,
    standing: Standing,
    segment: str | None,
    score: float | None,
    off: Collection[str] = (),
    largest: int,
    now: int,
    rules: GateRules,
) -> tuple[Gate, ...]:
    """Every gate in its fixed order; the same for one live claim and for a replayed history."""
    return (
        *eligibility_gates(facts, order=order, judgement=judgement, largest=largest, now=now, rules=rules),
        promise_gate(standing),
        score_gate(score, standing.threshold),
        switch_gate(segment, off),
    )


def left_for(facts: Facts, order: OrderAccount) -> int | None:
    """What is left of the order for such a claim; None where its money does not come out of the order."""
    return order.left(facts) if out_of_order(facts["remedy"], facts["amount"]) else None


def first_failed(gates: Sequence[Gate]) -> Gate | None:
    """The gate that sends the claim to a person, if any does."""
    return next((gate for gate in gates if not gate.passed), None)
