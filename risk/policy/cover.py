"""Cover: for each guarantee that could apply to a claim, whether it pays, how much, under which clause, with what proof.

Three answers: `covered`, `not_covered`, and `unproven` where a fact or a proof is missing that would decide it. Pure, and
the same for one live claim and for a replayed history.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal, NamedTuple

from risk.policy.calendar import HOUR, end_of_days, end_of_hours
from risk.policy.definition import (
    Amount,
    Condition,
    Evidence,
    Exclusion,
    Guarantee,
    Intact,
    Policy,
    Promise,
    Promised,
    Rule,
    Trigger,
    Window,
)

Status = Literal["covered", "not_covered", "unproven"]
_BEST_FIRST: tuple[Status, ...] = ("covered", "unproven", "not_covered")
_PARTS = 1_000_000
"""Shares become whole parts, so that money stays exact."""
_COURSES = (
    ("paid_at", "shipped_at", "delivered_at", "return_shipped_at", "return_received_at"),
    ("paid_at", "shipped_at", "delivered_at", "return_picked_up_at", "return_received_at"),
    ("paid_at", "shipped_at", "intercepted_at"),
    ("paid_at", "shipped_at", "lost_at"),
)
_ORDERED = tuple(dict.fromkeys(pair for course in _COURSES for pair in combinations(course, 2)))
"""Moments of which the second cannot come before the first."""
_HOURS = 72
"""From as many on a length is said in days."""
FREIGHT = "freight"
"""What `by_item` calls the freight of the order, and of a return; an item's id that reads the same shares its entry."""
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


class Finding(NamedTuple):
    """One rule, judged: True, False, or None where `needs` says what is missing. `fact` is what it was judged by."""

    clause: str
    rule: Rule
    holds: bool | None
    fact: str
    needs: tuple[str, ...] = ()
    """Where the claim lacks something, one entry for each thing; places of which any one would do are joined by `|`."""
    item: str | None = None


class Cover(NamedTuple):
    """What one guarantee says of a claim: covered as soon as one of its items is.

    `clause` is the first rule that fails, else the first that lacks something, for the item that carries most money; the
    guarantee itself where it pays. `margin` is the time left in the window (microseconds, negative when over), None where
    no window counts.
    """

    guarantee: str
    status: Status
    clause: str
    max_amount: int
    needs: tuple[str, ...]
    margin: int | None
    deciding: Finding | None
    by_item: Mapping[str, int]
    unproven: Mapping[str, tuple[str, ...]]
    """What is missing for each item that is unproven, beside covered ones too."""
    findings: tuple[Finding, ...] = ()

    @property
    def pays_money(self) -> bool:
        """Whether it is a right to money of its own: neither a service nor the mere advance on another right."""
        return self.status == "covered" and any(self.by_item.values())


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
    needs: tuple[str, ...] = ()
    """The least that is missing for the money to go out at once: all of it, and for all goods that a promise could pay."""

    def within(self, left: int | None, asked: int = 0) -> "Judgement":
        """The same where no more than this is left of the order, and so much was asked for these goods before (minor units)."""
        if left is None:
            return self
        covers = tuple(cover._replace(max_amount=_within(cover.max_amount, left)) for cover in self.covers)
        best = next((cover for cover in covers if self.best is not None and cover.guarantee == self.best.guarantee), None)
        return replace(self, covers=covers, best=best, supported=_within(self.supported - asked, left))


UNJUDGED = Judgement(None, (), None, 0, None, ("what the guarantees say could not be worked out",))
"""Where judging itself failed: nothing is covered, and a person looks."""


def judge(policy: Policy | None, request: Request) -> Judgement:
    """Every guarantee that could apply to a request, within what is left of its order, with every rule as a finding."""
    return judge_whole(policy, request, thorough=True).within(request.left)


def judge_whole(policy: Policy | None, request: Request, *, thorough: bool = False) -> Judgement:
    """The same for the order as it was paid, whatever was refunded since.

    Unless `thorough`, a guarantee is left at the first rule that fails: nothing after it changes the answer, only the
    findings and the margin of what is not covered.
    """
    if policy is None:
        return Judgement(None, (), None, 0, None, ("no policy was valid at purchase",))
    case = _Case(policy, request, thorough=thorough)
    covers = tuple(cover for promise in policy.promises.get(request.reason, ()) if (cover := _cover(case, promise)) is not None)
    paying = [(policy.guarantees[cover.guarantee], cover) for cover in covers if cover.pays_money]
    best = max(paying, key=lambda pair: _worth(pair[0], pair[1], request))[1] if paying else None
    supported, used = _supported(paying, request)
    trigger = case.trigger
    if trigger is None and used and all(_keeps_goods(policy.guarantees[code], paid, request) for code, paid in used.items()):
        trigger = "without_return"
    needs = _needs(case, covers, best, paid=sum(used.values()), trigger=trigger)
    return Judgement(policy, covers, best, supported, trigger, case.problems, needs)


def _needs(case: "_Case", covers: Sequence[Cover], best: Cover | None, *, paid: int, trigger: str | None) -> tuple[str, ...]:
    """What is missing for single goods where a right already pays at once, else for the right of which least is missing.

    Where the goods have to come back and nothing lets money go out before, what would is missing as well.
    """
    of, request = case.policy.guarantees, case.request
    if case.foreign:
        return ()  # Nothing that could be handed in makes it a claim of this policy.
    awaited = [] if trigger else [cover.needs for cover in covers if of[cover.guarantee].amount.of == "advance"]
    waits = awaited[0] if awaited else ()
    if best is not None and of[best.guarantee].at_once:
        return _distinct(*(_of_single_goods(case, covers) if paid < request.amount else ()), waits)
    rights = [cover for cover in covers if cover.status == "unproven" and of[cover.guarantee].pays_money]
    if not rights:
        return ()
    least = min(rights, key=lambda cover: (not of[cover.guarantee].at_once, len(cover.needs)))
    guarantee = of[least.guarantee]
    kept = _keeps_goods(guarantee, least.max_amount, request) or not guarantee.at_once
    return _distinct(least.needs, () if kept else waits)


def _of_single_goods(case: "_Case", covers: Sequence[Cover]) -> Iterator[tuple[str, ...]]:
    """For each item that no right pays yet: the least that is missing for one that would pay at once."""
    of, remedy = case.policy.guarantees, case.request.remedy
    rights = [cover for cover in covers if of[cover.guarantee].at_once and remedy in of[cover.guarantee].remedies]
    rights = [cover for cover in rights if of[cover.guarantee].amount.of == "items"]
    paid = {item for cover in rights if cover.status == "covered" for item in cover.by_item}
    for item in dict.fromkeys(item for cover in rights for item in cover.unproven if item not in paid):
        yield min((cover.unproven[item] for cover in rights if item in cover.unproven), key=len)


def _distinct(*needs: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(need for some in needs for need in some))


def _worth(guarantee: Guarantee, cover: Cover, request: Request) -> tuple[bool, bool, int, bool]:
    """For the buyer: what is asked for rather than something else, at once rather than later, more rather than less."""
    return request.remedy in guarantee.remedies, guarantee.at_once, cover.max_amount, guarantee.keeps_goods_up_to is not None


def _keeps_goods(guarantee: Guarantee, paid: int, request: Request) -> bool:
    """What the goods are worth counts, not what is asked: else many small claims would pay for what never comes back."""
    most = guarantee.keeps_goods_up_to
    return request.remedy in ("refund_only", "freight") and most is not None and paid <= most


def _supported(paying: Sequence[tuple[Guarantee, Cover]], request: Request) -> tuple[int, dict[str, int]]:
    """What is paid of what is asked for, each item under the guarantee that pays most, and by which guarantee how much.

    Guarantees that wait for a person add nothing to what others may pay at once.
    """
    fitting = [(guarantee, cover) for guarantee, cover in paying if request.remedy in guarantee.remedies]
    fitting = [(guarantee, cover) for guarantee, cover in fitting if guarantee.at_once] or fitting
    used: dict[str, int] = {}
    for item in dict.fromkeys(item for _, cover in fitting for item in cover.by_item):
        most = max((cover for _, cover in fitting if item in cover.by_item), key=lambda cover: cover.by_item[item])
        used[most.guarantee] = used.get(most.guarantee, 0) + most.by_item[item]
    return sum(used.values()), used


def _within(total: int, *caps: int | None) -> int:
    return max(0, min([total, *(cap for cap in caps if cap is not None)]))


class _Case:
    """A request and what of it can be relied on: moments that cannot be true and goods nobody knows are set apart."""

    def __init__(self, policy: Policy, request: Request, *, thorough: bool) -> None:
        self.policy, self.request, self.thorough = policy, request, thorough
        self.categories = [goods.category if policy.knows(goods.category) else None for goods in request.goods]
        self.foreign = request.currency not in (None, policy.currency)
        self.moments = {name: moment for name, moment in request.moments.items() if moment is not None}
        self.doubtful: set[str] = set()
        """Moments that were told and cannot be true: whether the thing happened is not known."""
        self.problems = tuple(self._problems())
        for name in self.doubtful:
            del self.moments[name]
        self.trigger = next((name for name, trigger in policy.triggers.items() if self._met(trigger)), None)

    def _problems(self) -> Iterator[str]:
        moments, request = self.moments, self.request
        for name, moment in moments.items():
            if moment > request.submitted_at and name != "promised_by":
                self.doubtful.add(name)
                yield f"{name} is after the claim"
        for earlier, later in _ORDERED:
            if later in moments and earlier in moments and moments[later] < moments[earlier]:
                # Which of the two is wrong nobody knows; the moment of payment chose the policy and stays.
                self.doubtful |= {later, earlier} - {"paid_at"}
                yield f"{later} before {earlier}"
        if None in self.categories:
            told = dict.fromkeys(goods.category for goods in request.goods if goods.category is not None)
            yield from (f"unknown category {category}" for category in told if not self.policy.knows(category))
        codes = set().union(request.promises or (), *(goods.promises or () for goods in request.goods))
        yield from (f"unknown guarantee {code}" for code in sorted(codes - self.policy.guarantees.keys()))
        if self.foreign:
            yield f"the policy is about {self.policy.currency}, not {request.currency}"

    def open_to(self, trigger: Trigger) -> bool:
        """Whether the trigger is about such claims, and nothing that happened rules it out."""
        asked = not trigger.remedies or self.request.remedy in trigger.remedies
        about = not trigger.reasons or self.request.reason in trigger.reasons
        return asked and about and self.moments.keys().isdisjoint(trigger.none)

    def _met(self, trigger: Trigger) -> bool:
        happened = not trigger.any or not self.moments.keys().isdisjoint(trigger.any)
        return happened and self.open_to(trigger) and self.doubtful.isdisjoint(trigger.none)


def _cover(case: _Case, promise: Promise) -> Cover | None:
    """What one guarantee says; None where it is not about any of the goods."""
    reaches, reason = promise.guarantee.reaches, case.request.reason
    reached = [place for place, category in enumerate(case.categories) if reaches(reason, category)]
    if not reached:
        return None
    if promise.guarantee.amount.of == "advance":
        return _advance(case, promise)
    return _right(case, promise, reached)


def _advance(case: _Case, promise: Promise) -> Cover:
    """Money before the goods are back: no right of its own, but the moment at which another right is paid."""
    code, request, rule, clause = promise.code, case.request, promise.guarantee.amount, promise.amount
    awaited = [trigger for trigger in case.policy.triggers.values() if case.open_to(trigger)]
    if case.foreign:
        finding = Finding(clause, rule, None, f"the policy is about {case.policy.currency}")
    elif case.trigger is not None:
        finding = Finding(f"{code}/{case.trigger}", case.policy.triggers[case.trigger], True, case.trigger)
    elif awaited:
        needs = _any_of(dict.fromkeys(PLACES[name] for trigger in awaited for name in trigger.any or trigger.none))
        finding = Finding(clause, rule, None, "nothing has happened yet that lets money go out", needs)
    else:
        finding = Finding(clause, rule, False, "nothing can happen any more that lets money go out")
    if finding.holds:
        due = _worth_of(request)
        pays = case.trigger is not None and case.policy.triggers[case.trigger].pays
        return Cover(
            guarantee=code,
            status="covered",
            clause=code,
            max_amount=_within(sum(due.values()), rule.most),
            needs=(),
            margin=None,
            deciding=None,
            by_item=due if pays and any(due.values()) else {},
            unproven={},
            findings=(finding,),
        )
    status: Status = "unproven" if finding.holds is None else "not_covered"
    return Cover(code, status, finding.clause, 0, finding.needs, None, finding, {}, {}, (finding,))


def _worth_of(request: Request) -> dict[str, int]:
    """The price of everything that is claimed, and the freight."""
    due = {FREIGHT: request.freight or 0}
    for goods in request.goods:
        due[goods.item_id] = due.get(goods.item_id, 0) + (goods.value or 0)
    return due


def _right(case: _Case, promise: Promise, reached: Sequence[int]) -> Cover:
    """One guarantee over all items that it reaches: what it pays for those it covers."""
    request, amount = case.request, promise.guarantee.amount
    judged = [_Line(case, promise, place) for place in reached]
    chosen = next(lines for status in _BEST_FIRST if (lines := [line for line in judged if line.status == status]))
    status = chosen[0].status
    by_item = {} if status == "not_covered" or amount.of == "nothing" else _shares(chosen, amount, request.freight)
    principal = max(chosen, key=lambda line: (line.goods.value or 0, line.clause))
    return Cover(
        guarantee=promise.code,
        status=status,
        clause=principal.clause,
        max_amount=sum(by_item.values()),
        needs=tuple(dict.fromkeys(need for line in chosen for need in line.needs)),
        margin=max((line.margin for line in chosen if line.margin is not None), default=None),
        deciding=principal.deciding,
        by_item=by_item,
        unproven=_unproven(judged),
        findings=tuple(finding for line in judged for finding in line.findings),
    )


def _unproven(lines: Sequence["_Line"]) -> dict[str, tuple[str, ...]]:
    """What is missing, by item; two lines of one item are one item."""
    missing: dict[str, tuple[str, ...]] = {}
    for line in lines:
        if line.status == "unproven":
            missing[line.goods.item_id] = _distinct(missing.get(line.goods.item_id, ()), line.needs)
    return missing


def _shares(lines: Sequence["_Line"], amount: Amount, freight: int | None) -> dict[str, int]:
    """What each item gets; under a cap all of them get less in proportion. Two lines of one item are one item."""
    if amount.of == "freight":
        return {FREIGHT: _within(freight or 0) if amount.most is None else amount.most}
    shares: dict[str, int] = {}
    for line in lines:
        shares[line.goods.item_id] = shares.get(line.goods.item_id, 0) + line.pays
    if amount.with_freight and freight and any(shares.values()):
        shares[FREIGHT] = shares.get(FREIGHT, 0) + freight
    total = sum(shares.values())
    if amount.most is None or total <= amount.most:
        return shares
    return {item: share * amount.most // total for item, share in shares.items()}


_Answer = tuple[bool | None, str, tuple[str, ...]]
"""Whether a rule holds, by which fact, and what is missing."""


class _Line:
    """One item under one guarantee."""

    def __init__(self, case: _Case, promise: Promise, place: int) -> None:
        self._case, self._promise, self._place = case, promise, place
        self._request = case.request
        self._category = case.categories[place]
        self.goods = case.request.goods[place]
        self.margin: int | None = None
        self.pays = 0
        item = self.goods.item_id if len(case.request.goods) > 1 else None
        self.findings: list[Finding] = []
        failed: Finding | None = None
        missing: list[Finding] = []
        for name, rule, (holds, fact, needs) in self._answers():
            finding = Finding(name, rule, holds, fact, needs, item)
            self.findings.append(finding)
            if holds is None:
                missing.append(finding)
            elif not holds:
                failed = failed or finding
                if not case.thorough:
                    break
        self.status: Status = "not_covered" if failed else "unproven" if missing else "covered"
        self.deciding = failed or next(iter(missing), None)
        self.clause = promise.code if self.deciding is None else self.deciding.clause
        self.needs = () if failed else tuple(need for finding in missing for need in finding.needs)

    def _answers(self) -> Iterator[tuple[str, Rule, _Answer]]:
        """Every rule that speaks of the item; of the windows the one that names the goods most exactly."""
        guarantee, category = self._promise.guarantee, self._category
        if category is None and guarantee.categories:
            yield self._promise.amount, guarantee.amount, self._unknown()
        for name, rule, about in self._promise.speaking(category):
            yield name, rule, _JUDGES[type(rule)](self, rule) if about else self._unknown()
        for key in guarantee.single_use:
            yield self._promise.single_use, guarantee.amount, self._single_use(key)
        yield self._promise.amount, guarantee.amount, self._amount(guarantee.amount)

    def _unknown(self) -> _Answer:
        return None, "the goods are of no category that the policy knows", (f"items/{self._place}/category",)

    def promised(self, rule: Promised) -> _Answer:
        made = {"merchant": self._request.promises, "item": self.goods.promises}
        for source in rule.by:
            if self._promise.code in (made[source] or ()):
                return True, f"promised by the {source}", ()
        # A caller who told of some promises told of all.
        if any(made[source] is not None for source in rule.by):
            return False, "not promised", ()
        places = {"merchant": "merchant/guarantees", "item": f"items/{self._place}/guarantees"}
        return None, "nobody said what was promised", _any_of(places[source] for source in rule.by)

    def excluded(self, rule: Exclusion) -> _Answer:
        """What nobody knows to be opened may be; a confirmation that nobody recorded was not given."""
        opened, confirmed = self.goods.opened, self.goods.no_return_confirmed
        facts = [f"opened: {_word(opened)}"] if rule.if_opened else []
        facts += [f"confirmed at purchase: {_word(confirmed)}"] if rule.if_confirmed else []
        said = ", ".join(facts) or f"category {self._category}"
        if (rule.if_confirmed and not confirmed) or (rule.if_opened and opened is False):
            return True, said, ()
        if rule.if_opened and opened is None:
            return None, said, (f"items/{self._place}/opened",)
        return False, said, ()

    def intact(self, _: Intact) -> _Answer:
        return self.goods.intact is not False, f"intact: {_word(self.goods.intact)}", ()

    def condition(self, rule: Condition) -> _Answer:
        moments, doubtful = self._case.moments, self._case.doubtful
        for name in rule.none:
            if name in moments:
                return False, f"{name} is known", ()
        passed = None if rule.passed is None else moments.get(rule.passed)
        if passed is not None and passed >= self._request.submitted_at:
            return False, f"{rule.passed} is still ahead", ()
        missing = [PLACES[name] for name in rule.none if name in doubtful]
        missing += [PLACES[rule.passed]] if rule.passed is not None and passed is None else []
        if rule.any and moments.keys().isdisjoint(rule.any):
            missing += _any_of(PLACES[name] for name in rule.any)
        return (None, f"not known: {', '.join(missing)}", tuple(missing)) if missing else (True, "as it has to be", ())

    def window(self, rule: Window) -> _Answer:
        start = self._case.moments.get(rule.after)
        if start is None:
            return None, f"no {rule.after}", (PLACES[rule.after],)
        zone = self._request.time_zone or self._case.policy.time_zone
        end = end_of_hours(start, rule.hours or 0) if rule.days is None else end_of_days(start, rule.days, zone)
        self.margin = end - self._request.submitted_at
        return self.margin >= 0, f"{_length(self.margin)} left" if self.margin >= 0 else f"over since {_length(-self.margin)}", ()

    def evidence(self, rule: Evidence) -> _Answer:
        for kind in rule.any:
            if kind in self._request.evidence:
                return True, f"{kind} handed in", ()
        return None, "none handed in", _any_of(f"evidence/{kind}" for kind in rule.any)

    def _single_use(self, key: str) -> _Answer:
        if key in self._request.used:
            return False, f"paid before for this {key.replace('_', ' ')}", ()
        if key == "tracking_number" and self._request.tracking_number is None:
            return None, "no tracking number", ("return_parcel/tracking_number",)
        return True, f"not paid before for this {key.replace('_', ' ')}", ()

    def _amount(self, rule: Amount) -> _Answer:
        if rule.of == "nothing":
            return True, "a service", ()
        if self._case.foreign:
            return None, f"the policy is about {self._case.policy.currency}", ()
        if rule.of == "freight":
            freight = self._request.freight if rule.most is None else rule.most
            return (None, "no freight", ("order/freight_amount",)) if freight is None else (freight > 0, "the freight", ())
        value, share = self.goods.value, self.goods.affected_share
        pays = 1.0 if not rule.bands else None if share is None else _paid_share(share, rule, self._request.reason)
        if 0 in (value, pays):  # whatever else is not known would not change that
            return False, "it comes to nothing", ()
        missing = [f"items/{self._place}/unit_price"] if value is None else []
        missing += ["affected_share"] if pays is None else []
        if value is None or pays is None:
            return None, "not known what it is worth" if value is None else "no affected share", tuple(missing)
        self.pays = _part(value, pays)
        return True, f"{self.pays} of {value}", ()


def _paid_share(share: float, rule: Amount, reason: str) -> float:
    """What share of a price is paid for the share that is affected."""
    return share if reason in rule.pro_rata else next(band.pays for band in rule.bands if share <= band.up_to)


def _part(value: int, pays: float) -> int:
    """So much of a price, rounded half up; what is owed at all is never rounded away."""
    return max(1, (value * round(pays * _PARTS) + _PARTS // 2) // _PARTS)


_JUDGES: dict[type[Rule], Callable[[_Line, Any], _Answer]] = {
    Promised: _Line.promised,
    Exclusion: _Line.excluded,
    Intact: _Line.intact,
    Condition: _Line.condition,
    Window: _Line.window,
    Evidence: _Line.evidence,
}


def _any_of(places: Iterable[str]) -> tuple[str, ...]:
    """One entry, or none: any of these places will do."""
    one = "|".join(places)
    return (one,) if one else ()


def _length(microseconds: int) -> str:
    """A length of time as people say it: from 72 hours on in days.

    >>> _length(71 * HOUR), _length(84 * HOUR)
    ('71.0 h', '3.5 days')
    """
    hours = microseconds / HOUR
    return f"{hours:.1f} h" if hours < _HOURS else f"{hours / 24:.1f} days"


def _word(flag: bool | None) -> str:
    return "not known" if flag is None else "yes" if flag else "no"
