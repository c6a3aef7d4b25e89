"""The quotas of an appetite in a replay: what is out for whom at each moment, and whether one more approval has room."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from risk.promise.appetite import PARTIES, Appetite, TrustStep

HOUR = 3_600_000_000
DAY = 24 * HOUR
OWN = ("buyer", *PARTIES[1:])
"""Quotas that lost money stays in."""
SETTLING = (*OWN, "merchant", "guarantee")
"""Quotas that an approval leaves when it settles."""
KINDS = (*SETTLING, "hour", "day")
"""In the order in which they are looked at."""
_SETTLES, _LABEL = 0, 1


@dataclass(frozen=True)
class Claims:
    """What quotas look at, by claim in order of time. Moments in microseconds, money in minor units.

    `keys` has for each kind of `SETTLING` a number that names party and currency, below 0 where nobody is known. `labels`
    has the moments from which a claim was known to be abuse (True), or no longer (False).
    """

    at: Sequence[int]
    amount: Sequence[int]
    currency: Sequence[str | None]
    keys: Mapping[str, Sequence[int]]
    orders: Sequence[float]
    account_days: Sequence[float]
    returned_at: Sequence[int | None]
    labels: Mapping[int, Sequence[tuple[int, bool]]]


class Book:
    """Money that is out. Claims are asked about in order of time; what became known before a moment counts at it."""

    def __init__(self, claims: Claims, appetite: Appetite) -> None:
        self._claims, self._appetite = claims, appetite
        self._settle = round(appetite.quota.settle_days * DAY)
        self._after_loss = round(appetite.trust.after_loss_days * DAY)
        self._used: dict[str, dict[int, int]] = {kind: {} for kind in KINDS}
        self._settled: dict[int, int] = {}
        """How many approvals of a buyer settled without a loss."""
        self._losses: dict[int, list[int]] = {}
        """When a buyer's approvals were found to be lost."""
        self._lost: dict[int, int] = {}
        """By claim: since when it is known to be lost."""
        self._over: set[int] = set()
        """Claims that have settled, one way or the other."""
        self._events: list[tuple[int, int, int, bool]] = []
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
                limit = self._buyer_limit(claim, key) if kind == "buyer" else limits[kind]
                if self._used[kind].get(key, 0) + amount > limit:
                    return kind
        for kind, length in (("hour", HOUR), ("day", DAY)):
            if self._used[kind].get(self._clock(now, length, currency), 0) + amount > limits[kind]:
                return kind
        return None

    def approve(self, claim: int) -> None:
        """A claim that has room is approved."""
        c = self._claims
        now, amount, currency = c.at[claim], c.amount[claim], c.currency[claim]
        self._move(SETTLING, claim, amount)
        for kind, length in (("hour", HOUR), ("day", DAY)):
            key = self._clock(now, length, currency)
            self._used[kind][key] = self._used[kind].get(key, 0) + amount
        heapq.heappush(self._events, (settles_at(now, c.returned_at[claim], self._settle), _SETTLES, claim, False))
        for moment, abuse in c.labels.get(claim, ()):
            heapq.heappush(self._events, (max(moment, now), _LABEL, claim, abuse))

    def limit(self, claim: int) -> int:
        """The quota of a claim's buyer at its moment (minor units)."""
        self._until(self._claims.at[claim])
        return self._buyer_limit(claim, self._claims.keys["buyer"][claim])

    def _buyer_limit(self, claim: int, buyer: int) -> int:
        c = self._claims
        return _limit(self._step(claim, buyer, c.at[claim]), c.currency[claim])

    def _step(self, claim: int, buyer: int, now: int) -> TrustStep:
        steps = self._appetite.trust.step
        losses = self._losses.get(buyer)
        if losses and now - max(losses) < self._after_loss:
            return steps[0]
        orders, days = self._claims.orders[claim], self._claims.account_days[claim]
        settled = self._settled.get(buyer, 0)
        reached = [
            step for step in steps if step.orders <= orders and step.settled <= settled and step.account_days <= days
        ]
        return reached[-1]

    def _until(self, now: int) -> None:
        events = self._events
        while events and events[0][0] < now:
            moment, kind, claim, abuse = heapq.heappop(events)
            if kind == _SETTLES:
                self._settles(claim)
            elif abuse:
                self._is_lost(claim, moment)
            else:
                self._is_cleared(claim)

    def _settles(self, claim: int) -> None:
        self._over.add(claim)
        amount = self._claims.amount[claim]
        if claim in self._lost:
            self._move(SETTLING[len(OWN) :], claim, -amount)
            return
        self._move(SETTLING, claim, -amount)
        self._count_settled(claim, 1)

    def _is_lost(self, claim: int, moment: int) -> None:
        if claim in self._lost:
            return
        self._lost[claim] = moment
        self._losses.setdefault(self._claims.keys["buyer"][claim], []).append(moment)
        if claim in self._over:
            self._move(OWN, claim, self._claims.amount[claim])
            self._count_settled(claim, -1)

    def _is_cleared(self, claim: int) -> None:
        moment = self._lost.pop(claim, None)
        if moment is None:
            return
        self._losses[self._claims.keys["buyer"][claim]].remove(moment)
        if claim in self._over:
            self._move(OWN, claim, -self._claims.amount[claim])
            self._count_settled(claim, 1)

    def _move(self, kinds: Sequence[str], claim: int, amount: int) -> None:
        for kind in kinds:
            key = self._claims.keys[kind][claim]
            if key >= 0:
                used = self._used[kind]
                used[key] = used.get(key, 0) + amount

    def _count_settled(self, claim: int, one: int) -> None:
        buyer = self._claims.keys["buyer"][claim]
        self._settled[buyer] = self._settled.get(buyer, 0) + one

    def _clock(self, now: int, length: int, currency: str | None) -> int:
        return now // length * len(self._place) + self._place[currency]


def settles_at(at: int, returned_at: int | None, settle: int) -> int:
    """When an approval settles: when its goods are back, else after the time that the appetite sets (microseconds)."""
    due = at + settle
    return due if returned_at is None or returned_at <= at else min(returned_at, due)


def _limits(appetite: Appetite, currency: str | None) -> dict[str, int]:
    return {kind: _of(getattr(appetite.quota, kind), currency) for kind in (*SETTLING[1:], "hour", "day")}


def _limit(step: TrustStep, currency: str | None) -> int:
    return _of(step.limit, currency)


def _of(money: Mapping[str, int], currency: str | None) -> int:
    """The least of all currencies where a history does not say which; nothing in one without a rule."""
    return min(money.values()) if currency is None else money.get(currency, 0)
