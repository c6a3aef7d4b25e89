"""Cover: for each guarantee that could apply to a claim, whether it pays, how much, under which clause, with what proof.

Three answers: `covered`, `not_covered`, and `unproven` where a fact or a proof is missing that would decide it. Pure, and
the same for one live claim and for a replayed history.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from risk.policy.calendar import end_of_days, end_of_hours
from risk.policy.definition import (
    Amount,
    Condition,
    Evidence,
    Exclusion,
    Guarantee,
    Policy,
    Promised,
    Rule,
    Trigger,
    Window,
)

Status = Literal["covered", "not_covered", "unproven"]
_PARTS = 1_000_000
"""Shares become whole parts, so that money stays exact."""
_ORDERED = (
    ("shipped_at", "paid_at"), ("delivered_at", "paid_at"), ("delivered_at", "shipped_at"),
    ("return_shipped_at", "delivered_at"), ("return_picked_up_at", "delivered_at"),
    ("return_received_at", "return_shipped_at"), ("return_received_at", "return_picked_up_at"),
)  # fmt: skip
"""Moments of which the first cannot come before the second."""
PLACES = {
    "paid_at": "order/paid_at", "promised_by": "order/promised_by", "shipped_at": "order/shipped_at",
    "delivered_at": "order/delivered_at", "intercepted_at": "order/intercepted_at", "lost_at": "order/lost_at",
    "return_shipped_at": "return_parcel/shipped_at", "return_picked_up_at": "return_parcel/picked_up_at",
    "return_received_at": "return_parcel/received_at",
}  # fmt: skip
"""Where a claim says each moment: what `needs` asks for is what the caller can send."""


@dataclass(frozen=True, slots=True)
class Goods:
    """One item of a claim. `value` is what was paid for it in minor units; None is what nobody said."""

    item_id: str
    category: str | None
    value: int | None
    promises: frozenset[str] | None = None
    opened: bool | None = None
    no_return_confirmed: bool | None = None
    intact: bool | None = None
    affected_share: float | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What a policy judges: a claim as it was known when it was made. Times in microseconds, money in minor units."""

    reason: str
    remedy: str
    amount: int
    currency: str | None
    submitted_at: int
    moments: Mapping[str, int | None]
    goods: tuple[Goods, ...]
    evidence: frozenset[str] = frozenset()
    promises: frozenset[str] | None = None
    """What the merchant has opted in to."""
    freight: int | None = None
    left: int | None = None
    """What may still be paid for the order; None where nobody counts."""
    time_zone: str | None = None
    used: frozenset[str] = frozenset()
    """Of `order` and `tracking_number`: those for which a single-use guarantee was paid before."""
    tracking_number: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule, judged: True, False, or None where `needs` says what is missing. `fact` is what it was judged by."""

    clause: str
    rule: Rule
    holds: bool | None
    fact: str
    needs: tuple[str, ...] = ()
    item: str | None = None


@dataclass(frozen=True, slots=True)
class Cover:
    """What one guarantee says of a claim; `margin` is the time left in its window (microseconds, negative when over)."""

    guarantee: str
    status: Status
    clause: str
    max_amount: int
    needs: tuple[str, ...]
    margin: int | None
    deciding: Finding | None
    by_item: Mapping[str, int]
    findings: tuple[Finding, ...] = field(repr=False, default=())


@dataclass(frozen=True, slots=True)
class Judgement:
    """All covers of a claim in the order of the policy, and what follows from them together."""

    policy: Policy | None
    covers: tuple[Cover, ...]
    best: Cover | None
    """The cover that is best for the buyer."""
    supported: int
    """What the guarantees together pay of what is asked, each item under the one that pays most."""
    trigger: str | None
    """Why money may go out before the goods are back, if it may."""
    problems: tuple[str, ...]
    """Facts that contradict each other or that the policy does not know; what rests on them is unproven."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The least that is missing: for some guarantee to cover, or where one does, for the money to go out at once."""
        if self.best is not None:
            awaited = [cover for cover in self.covers if cover.status == "unproven" and self._is_advance(cover)]
            return awaited[0].needs if awaited and self.trigger is None else ()
        unproven = [cover.needs for cover in self.covers if cover.status == "unproven" and not self._is_advance(cover)]
        return min(unproven, key=len, default=())

    def _is_advance(self, cover: Cover) -> bool:
        return self.policy is not None and self.policy.guarantees[cover.guarantee].amount.of == "advance"


def judge(policy: Policy | None, request: Request) -> Judgement:
    """Every guarantee that could apply to a request."""
    if policy is None:
        return Judgement(None, (), None, 0, None, ("no policy was valid at purchase",))
    request, problems = _sound(policy, request)
    trigger = _trigger(policy, request)
    covers = tuple(
        _advance(code, guarantee, policy, request, trigger)
        if guarantee.amount.of == "advance"
        else _cover(code, guarantee, policy, request)
        for code, guarantee in policy.guarantees.items()
        if _could_apply(guarantee, request)
    )
    paying = [cover for cover in covers if cover.status == "covered" and policy.guarantees[cover.guarantee].pays_money]
    best = max(paying, key=lambda cover: _worth(policy.guarantees[cover.guarantee], cover, request), default=None)
    supported, used = _supported(policy, paying, request)
    if trigger is None and used and all(_keeps_goods(policy.guarantees[code], paid, request) for code, paid in used.items()):
        trigger = "without_return"
    return Judgement(policy, covers, best, supported, trigger, problems)


def _could_apply(guarantee: Guarantee, request: Request) -> bool:
    return any(guarantee.reaches(request.reason, goods.category) for goods in request.goods)


def _worth(guarantee: Guarantee, cover: Cover, request: Request) -> tuple[bool, bool, int, bool]:
    """For the buyer: what is asked for rather than something else, at once rather than later, more rather than less."""
    return request.remedy in guarantee.remedies, guarantee.at_once, cover.max_amount, guarantee.keeps_goods_up_to is not None


def _keeps_goods(guarantee: Guarantee, paid: int, request: Request) -> bool:
    most = guarantee.keeps_goods_up_to
    return request.remedy in ("refund_only", "freight") and most is not None and min(paid, request.amount) <= most


def _supported(policy: Policy, paying: list[Cover], request: Request) -> tuple[int, dict[str, int]]:
    """What is paid of what is asked for, each item under the guarantee that pays most, and by which guarantee how much.

    Guarantees that wait for a person add nothing to what others may pay at once.
    """
    fitting = [cover for cover in paying if request.remedy in policy.guarantees[cover.guarantee].remedies]
    fitting = [cover for cover in fitting if policy.guarantees[cover.guarantee].at_once] or fitting
    used: dict[str, int] = {}
    for item in dict.fromkeys(item for cover in fitting for item in cover.by_item):
        most = max(fitting, key=lambda cover: cover.by_item.get(item, 0))
        used[most.guarantee] = used.get(most.guarantee, 0) + most.by_item[item]
    total = sum(used.values())
    return (total if request.left is None else max(0, min(total, request.left))), used


def _sound(policy: Policy, request: Request) -> tuple[Request, tuple[str, ...]]:
    """The request without what cannot be true, and what that was."""
    problems, moments = [], dict(request.moments)
    for name, moment in request.moments.items():
        if moment is not None and name != "promised_by" and moment > request.submitted_at:
            problems.append(f"{name} is after the claim")
            moments[name] = None
    for later, earlier in _ORDERED:
        one, other = request.moments.get(later), request.moments.get(earlier)
        if one is not None and other is not None and one < other:
            problems.append(f"{later} before {earlier}")
            # Which of the two is wrong nobody knows; the moment of payment chose the policy and stays.
            moments |= {name: None for name in (later, earlier) if name != "paid_at"}
    unknown = [goods.category for goods in request.goods if not policy.knows(goods.category)]
    problems += [f"unknown category {category}" for category in dict.fromkeys(unknown) if category is not None]
    if request.currency not in (None, policy.currency):
        problems.append(f"the policy is about {policy.currency}, not {request.currency}")
    if not problems and not unknown:
        return request, ()
    goods = tuple(one if policy.knows(one.category) else replace(one, category=None) for one in request.goods)
    return replace(request, moments=moments, goods=goods), tuple(problems)


def _trigger(policy: Policy, request: Request) -> str | None:
    return next((name for name, trigger in policy.triggers.items() if _met(trigger, request)), None)


def _met(trigger: Trigger, request: Request) -> bool:
    if not trigger.concerns(request.reason, None) or (trigger.remedies and request.remedy not in trigger.remedies):
        return False
    happened = request.moments
    return (not trigger.any or any(happened.get(name) is not None for name in trigger.any)) and all(
        happened.get(name) is None for name in trigger.none
    )


def _advance(code: str, guarantee: Guarantee, policy: Policy, request: Request, trigger: str | None) -> Cover:
    """Money before the goods are back: no right of its own, but the moment at which another right is paid."""
    if trigger is not None:
        finding = Finding(f"{code}/{trigger}", policy.triggers[trigger], True, trigger)
        return Cover(code, "covered", finding.clause, max(request.left or 0, 0), (), None, finding, {}, (finding,))
    awaited = [rule for rule in policy.triggers.values() if not rule.remedies or request.remedy in rule.remedies]
    needs = tuple(dict.fromkeys(PLACES[name] for rule in awaited for name in rule.any))
    finding = Finding(f"{code}/amount", guarantee.amount, None, "nothing has happened yet that lets money go out", needs)
    return Cover(code, "unproven", finding.clause, 0, needs, None, finding, {}, (finding,))


def _cover(code: str, guarantee: Guarantee, policy: Policy, request: Request) -> Cover:
    """One guarantee over all items that it reaches: what it pays for those it covers."""
    judged = [
        _Item(code, guarantee, policy, request, place, goods)
        for place, goods in enumerate(request.goods)
        if guarantee.reaches(request.reason, goods.category)
    ]
    for status in ("covered", "unproven", "not_covered"):
        chosen = [item for item in judged if item.status == status]
        if chosen:
            break
    by_item = {item.goods.item_id: item.pays for item in chosen if status != "not_covered"}
    total = sum(by_item.values())
    if guarantee.amount.with_freight and total:
        total += request.freight or 0
        by_item["freight"] = request.freight or 0
    caps = [cap for cap in (guarantee.amount.most, request.left) if cap is not None]
    deciding = chosen[0].deciding
    margins = [item.margin for item in chosen if item.margin is not None]
    return Cover(
        guarantee=code,
        status=status,
        clause=code if deciding is None else deciding.clause,
        max_amount=max(0, min([total, *caps])),
        needs=tuple(dict.fromkeys(need for item in chosen for need in item.needs)),
        margin=max(margins, default=None),
        deciding=deciding,
        by_item=by_item,
        findings=tuple(finding for item in judged for finding in item.findings),
    )


class _Item:
    """One item under one guarantee."""

    def __init__(
        self, code: str, guarantee: Guarantee, policy: Policy, request: Request, place: int, goods: Goods
    ) -> None:
        self._code, self._guarantee, self._policy, self._request = code, guarantee, policy, request
        self._place = f"items/{place}"
        self.goods = goods
        self.margin: int | None = None
        self.pays = 0
        self.findings = [replace(finding, item=goods.item_id) if len(request.goods) > 1 else finding for finding in self._judged()]
        failed = [finding for finding in self.findings if finding.holds is False]
        missing = [finding for finding in self.findings if finding.holds is None]
        self.status: Status = "not_covered" if failed else "unproven" if missing else "covered"
        self.deciding = next(iter(failed or missing), None)
        self.needs = () if failed else tuple(need for finding in missing for need in finding.needs)

    def _judged(self) -> Iterator[Finding]:
        yield from self._of_the_goods()
        yield from self._of_the_claim()
        yield self._amount(self._guarantee.amount)

    def _of_the_goods(self) -> Iterator[Finding]:
        guarantee, request, goods = self._guarantee, self._request, self.goods
        if guarantee.categories and goods.category is None:
            yield self._finding("amount", guarantee.amount, None, "the goods are of no category that the policy knows", "category")
        if guarantee.promised is not None:
            yield self._promised(guarantee.promised)
        for number, exclusion in enumerate(guarantee.exclusion):
            if exclusion.concerns(request.reason, goods.category):
                yield self._excluded(exclusion, number)
            elif exclusion.categories and goods.category is None:
                yield self._finding("exclusion", exclusion, None, "category unknown", "category", number=number)
        if guarantee.intact is not None:
            yield self._finding("intact", guarantee.intact, goods.intact is not False, f"intact: {_word(goods.intact)}")

    def _of_the_claim(self) -> Iterator[Finding]:
        guarantee, request, goods = self._guarantee, self._request, self.goods
        for number, condition in enumerate(guarantee.condition):
            if condition.concerns(request.reason, goods.category):
                yield self._condition(condition, number)
        yield from self._window()
        for number, evidence in enumerate(guarantee.evidence):
            if evidence.concerns(request.reason, goods.category):
                yield self._evidence(evidence, number)
        yield from self._single_use()

    def _finding(
        self, kind: str, rule: Rule, holds: bool | None, fact: str, *missing: str, number: int | None = None
    ) -> Finding:
        several = number is not None and len(getattr(self._guarantee, kind)) > 1
        clause = f"{self._code}/{kind}/{number + 1}" if several and number is not None else f"{self._code}/{kind}"
        needs = tuple(name if "/" in name or name in ("evidence", "affected_share") else f"{self._place}/{name}" for name in missing)
        return Finding(clause, rule, holds, fact, needs)

    def _promised(self, rule: Promised) -> Finding:
        made = {"merchant": self._request.promises, "item": self.goods.promises}
        places = {"merchant": "merchant/guarantees", "item": "guarantees"}
        known = {source: codes for source in rule.by if (codes := made[source]) is not None}
        sources = [source for source, codes in known.items() if self._code in codes]
        if sources:
            return self._finding("promised", rule, True, f"promised by the {sources[0]}")
        # A caller who told of some promises told of all.
        if known:
            return self._finding("promised", rule, False, "not promised")
        return self._finding("promised", rule, None, "nobody said what was promised", places[rule.by[0]])

    def _excluded(self, rule: Exclusion, number: int) -> Finding:
        """An exclusion that rests on a confirmation holds only where one is recorded."""
        opened = self.goods.opened if rule.if_opened else True
        confirmed = bool(self.goods.no_return_confirmed) if rule.if_confirmed else True
        facts = [f"opened: {_word(self.goods.opened)}"] * rule.if_opened
        facts += [f"confirmed at purchase: {_word(self.goods.no_return_confirmed)}"] * rule.if_confirmed
        said = ", ".join(facts) or f"category {self.goods.category}"
        if opened is False or not confirmed:
            return self._finding("exclusion", rule, True, said, number=number)
        if opened is None:
            return self._finding("exclusion", rule, None, said, "opened", number=number)
        return self._finding("exclusion", rule, False, said, number=number)

    def _condition(self, rule: Condition, number: int) -> Finding:
        moments = self._request.moments
        there = [name for name in rule.none if moments.get(name) is not None]
        if there:
            return self._finding("condition", rule, False, f"{there[0]} is known", number=number)
        if rule.passed is not None:
            moment = moments.get(rule.passed)
            if moment is None:
                return self._finding("condition", rule, None, f"no {rule.passed}", PLACES[rule.passed], number=number)
            if moment >= self._request.submitted_at:
                return self._finding("condition", rule, False, f"{rule.passed} is still ahead", number=number)
            self.margin = self._request.submitted_at - moment
        if rule.any and all(moments.get(name) is None for name in rule.any):
            needs = [PLACES[name] for name in rule.any]
            return self._finding("condition", rule, None, f"no {' or '.join(rule.any)}", *needs, number=number)
        return self._finding("condition", rule, True, "as it has to be", number=number)

    def _window(self) -> Iterator[Finding]:
        """The window that names the goods most exactly."""
        windows = self._guarantee.window
        fitting = [
            (rule.fit(self.goods.category), -number)
            for number, rule in enumerate(windows)
            if rule.concerns(self._request.reason, self.goods.category)
        ]
        if not windows:
            return
        if self.goods.category is None and any(rule.categories for rule in windows):
            yield self._finding("window", windows[0], None, "category unknown", "category", number=0)
            return
        if not fitting:
            return
        number = -max(fitting)[1]
        rule = windows[number]
        start = self._request.moments.get(rule.after)
        if start is None:
            yield self._finding("window", rule, None, f"no {rule.after}", PLACES[rule.after], number=number)
            return
        self.margin = self._end(rule, start) - self._request.submitted_at
        hours = self.margin / 3_600_000_000
        said = f"{hours:.1f} h left" if self.margin >= 0 else f"over since {-hours:.1f} h"
        yield self._finding("window", rule, self.margin >= 0, said, number=number)

    def _end(self, rule: Window, start: int) -> int:
        if rule.hours is not None:
            return end_of_hours(start, rule.hours)
        assert rule.days is not None
        return end_of_days(start, rule.days, self._request.time_zone or self._policy.time_zone)

    def _evidence(self, rule: Evidence, number: int) -> Finding:
        given = [kind for kind in rule.any if kind in self._request.evidence]
        if given:
            return self._finding("evidence", rule, True, f"{given[0]} handed in", number=number)
        needs = [f"evidence/{kind}" for kind in rule.any]
        return self._finding("evidence", rule, None, "none handed in", *needs, number=number)

    def _single_use(self) -> Iterator[Finding]:
        for key in self._guarantee.single_use:
            rule = self._guarantee.amount
            if key in self._request.used:
                yield Finding(f"{self._code}/single_use", rule, False, f"paid before for this {key.replace('_', ' ')}")
            elif key == "tracking_number" and self._request.tracking_number is None:
                needs = ("return_parcel/tracking_number",)
                yield Finding(f"{self._code}/single_use", rule, None, "no tracking number", needs)

    def _amount(self, rule: Amount) -> Finding:
        if rule.of in ("nothing", "freight"):
            self.pays = 0 if rule.of == "nothing" else rule.most if rule.most is not None else self._request.freight or 0
            return self._finding("amount", rule, True, "a service" if rule.of == "nothing" else f"up to {self.pays}")
        share = self.goods.affected_share
        partial = bool(rule.bands) and (not rule.reasons or self._request.reason in rule.reasons)
        if self.goods.value is None:
            return self._finding("amount", rule, None, "no price", "unit_price")
        if partial and share is None:
            return self._finding("amount", rule, None, "no affected share", "affected_share")
        pays = 1.0
        if partial and share is not None:
            pro_rata = self._request.reason in rule.pro_rata
            pays = share if pro_rata else next(band.pays for band in rule.bands if share <= band.up_to)
        self.pays = (self.goods.value * round(pays * _PARTS) + _PARTS // 2) // _PARTS
        return self._finding("amount", rule, True, f"{self.pays} of {self.goods.value}")


def _word(flag: bool | None) -> str:
    return "not known" if flag is None else "yes" if flag else "no"
