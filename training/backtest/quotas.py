"""The quotas of an appetite in a replay: what is out for whom at each moment, and whether one more approval has room."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from risk.promise.appetite import PARTIES, SHARED, Appetite, TrustStep

HOUR = 3_600_000_000
DAY = 24 * HOUR
SETTLING = (*PARTIES, "merchant", "guarantee")
"""Quotas that an approval leaves when it settles."""
KINDS = (*PARTIES, *SHARED)
"""In the order in which they are looked at."""
_CLOCKS = (("hour", HOUR), ("day", DAY))
Fate = Literal["open", "settled", "lost", "recovered"]
"""What became of an approval."""
_DUE, _BACK, _LABEL = "due", "back", "label"


@dataclass(frozen=True)
class Claims:
    """What quotas look at, by claim in order of time. Moments in microseconds, money in minor units.

    `keys` has for each kind of `SETTLING` a number that names party and currency, below 0 where nobody is known. `orders`
    and `abuse` are the buyer's of the last 365 days. `labels` has the moments from which each label of a claim was known.
    """

    at: Sequence[int]
    amount: Sequence[int]
    currency: Sequence[str | None]
    keys: Mapping[str, Sequence[int]]
    orders: Sequence[float]
    abuse: Sequence[float]
    account_days: Sequence[float]
    comes_back: Sequence[bool]
    returned_at: Sequence[int | None]
    returns_told: bool
    """Whether the history tells of goods that came back after their claim: else none is overdue for not being told of."""
    labels: Mapping[int, Sequence[tuple[int, str]]]


@dataclass
class _Approval:
    """What is known of an approval so far."""

    label: str = ""
    due: bool = False
    back: bool = False
    late: bool = False
    fate: Fate = "open"


class Book:
    """Money that is out. Claims are asked about in order of time; what became known before a moment counts at it."""

    def __init__(self, claims: Claims, appetite: Appetite) -> None:
        self._claims, self._appetite = claims, appetite
        self._settle = round(appetite.quota.settle_days * DAY)
        self._after_loss = round(appetite.trust.after_loss_days * DAY)
        self._used: dict[str, dict[int, int]] = {kind: {} for kind in KINDS}
        self._settled: dict[int, int] = {}
        """How many approvals of a buyer settled without a loss."""
        self._losses: dict[int, dict[int, int]] = {}
        """By buyer the lost approvals, and when each was known to be lost."""
        self._approvals: dict[int, _Approval] = {}
        self._events: list[tuple[int, str, int, str]] = []
        currencies = sorted({*claims.currency}, key=lambda currency: currency or "")
        self._place = {currency: place for place, currency in enumerate(currencies)}
        self._limits = {currency: _limits(appetite, currency) for currency in currencies}

    def full(self, claim: int) -> str | None:
        """The first quota in which a claim has no room, if there is one."""
        c = self._claims
        now, amount, currency = c.at[claim], c.amount[claim], c.currency[claim]
        self._until(now)
        limits = self._limits[currency]
        for kind in SETTLING:
            key = c.keys[kind][claim]
            if key >= 0:
                limit = _of(self._step(claim, key).limit, currency) if kind == "buyer" else limits[kind]
                if self._used[kind].get(key, 0) + amount > limit:
                    return kind
        for kind, length in _CLOCKS:
            if self._used[kind].get(self._clock(now, length, currency), 0) + amount > limits[kind]:
                return kind
        return None

    def approve(self, claim: int) -> None:
        """A claim that has room is approved."""
        c = self._claims
        now, amount, returned = c.at[claim], c.amount[claim], c.returned_at[claim]
        self._approvals[claim] = _Approval(back=returned is not None and returned <= now)
        self._move(SETTLING, claim, amount)
        for kind, length in _CLOCKS:
            key = self._clock(now, length, c.currency[claim])
            self._used[kind][key] = self._used[kind].get(key, 0) + amount
        heapq.heappush(self._events, (now + self._settle, _DUE, claim, ""))
        if returned is not None and returned > now:
            heapq.heappush(self._events, (returned, _BACK, claim, ""))
        for moment, label in c.labels.get(claim, ()):
            heapq.heappush(self._events, (max(moment, now), _LABEL, claim, label))

    def _step(self, claim: int, buyer: int) -> TrustStep:
        c, trust = self._claims, self._appetite.trust
        losses = self._losses.get(buyer)
        if c.abuse[claim] > 0 or (losses and c.at[claim] - max(losses.values()) < self._after_loss):
            return trust.step[0]
        orders, days, settled = c.orders[claim], c.account_days[claim], self._settled.get(buyer, 0)
        held = (
            step
            for step in reversed(trust.step)
            if step.orders <= orders and step.settled <= settled and step.account_days <= days
        )
        return next(held, trust.step[0])

    def _until(self, now: int) -> None:
        events = self._events
        while events and events[0][0] < now:
            moment, kind, claim, label = heapq.heappop(events)
            approval = self._approvals[claim]
            if kind == _DUE:
                approval.due = True
            elif kind == _BACK:
                approval.back, approval.late = True, approval.due
            else:
                approval.label = label
            self._becomes(claim, approval, self._fate(claim, approval), moment)

    def _fate(self, claim: int, approval: _Approval) -> Fate:
        c = self._claims
        if approval.label == "abuse":
            return "lost"
        if c.comes_back[claim]:
            if approval.due and not approval.back and c.returns_told:
                return "lost"
            if approval.late:
                return "recovered"
        returned = c.returned_at[claim]
        if approval.back and returned is not None and returned > c.at[claim]:
            return "settled"
        if approval.label == "legitimate" and not c.comes_back[claim]:
            return "settled"
        return "settled" if approval.due else "open"

    def _becomes(self, claim: int, approval: _Approval, fate: Fate, moment: int) -> None:
        """Money that is lost stays in the quotas of the buyer and what is the buyer's, and leaves those that are shared."""
        before, approval.fate = approval.fate, fate
        if fate == before:
            return
        amount, buyer = self._claims.amount[claim], self._claims.keys["buyer"][claim]
        out = (fate in ("open", "lost")) - (before in ("open", "lost"))
        self._move(PARTIES, claim, out * amount)
        self._move(SETTLING[len(PARTIES) :], claim, ((fate == "open") - (before == "open")) * amount)
        self._settled[buyer] = self._settled.get(buyer, 0) + (fate == "settled") - (before == "settled")
        if fate == "lost":
            self._losses.setdefault(buyer, {})[claim] = moment
        elif before == "lost":
            del self._losses[buyer][claim]
            if not self._losses[buyer]:
                del self._losses[buyer]

    def _move(self, kinds: Iterable[str], claim: int, amount: int) -> None:
        for kind in kinds:
            key = self._claims.keys[kind][claim]
            if key >= 0:
                used = self._used[kind]
                used[key] = used.get(key, 0) + amount

    def _clock(self, now: int, length: int, currency: str | None) -> int:
        return now // length * len(self._place) + self._place[currency]


def settles_at(at: int, returned_at: int | None, settle: int) -> int:
    """When the money of an approval is no longer out: its goods are back, or the time that the appetite sets is over."""
    due = at + settle
    return due if returned_at is None or returned_at <= at else min(returned_at, due)


def _limits(appetite: Appetite, currency: str | None) -> dict[str, int]:
    return {kind: _of(getattr(appetite.quota, kind), currency) for kind in KINDS if kind != "buyer"}


def _of(money: Mapping[str, int], currency: str | None) -> int:
    """The least of all currencies where a history does not say which; nothing in one without a rule."""
    return min(money.values()) if currency is None else money.get(currency, 0)
