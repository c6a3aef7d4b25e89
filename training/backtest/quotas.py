"""The quotas of an appetite in a replay: what is out for whom at each moment, and whether one more approval has room."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from risk.promise.appetite import PARTIES, Appetite
from risk.promise.quota import State, Told, fate_of, step_of

HOUR = 3_600_000_000
DAY = 24 * HOUR
SETTLING = (*PARTIES, "merchant", "guarantee")
"""Quotas that an approval leaves when it settles."""
_CLOCKS = (("hour", HOUR), ("day", DAY))
_OUT = ("open", "lost")
_BACK, _DUE, _LABEL = range(3)


@dataclass(frozen=True)
class Claims:
    """What quotas look at, by claim in order of time. Moments in microseconds, money in minor units.

    `keys` has for each kind of `SETTLING` a number that names party and currency, below 0 where nobody is known. `orders`,
    what was `spent` on them and `abuse` are the buyer's of the last 365 days. `labels` has the moments from which each label of a claim was known.
    """

    at: Sequence[int]
    amount: Sequence[int]
    currency: Sequence[str | None]
    keys: Mapping[str, Sequence[int]]
    orders: Sequence[int]
    spent: Sequence[int]
    abuse: Sequence[int]
    account_days: Sequence[float]
    comes_back: Sequence[bool]
    returned_at: Sequence[int | None]
    returns_told: bool
    """Whether the history tells of goods that came back after their claim: else none is overdue for not being told of."""
    labels: Mapping[int, Sequence[tuple[int, str]]]


class Ledger:
    """What stays the same in every replay of the same claims under one appetite: who has which quota, and what comes of money.

    Every quota is a number: `keys` has for each claim those that it would occupy, in the order of `KINDS`, the buyer's first.
    """

    def __init__(self, claims: Claims, appetite: Appetite) -> None:
        self.claims, self.appetite = claims, appetite
        self.settle = round(appetite.quota.settle_days * DAY)
        self.limits: list[int] = []
        self.kinds: list[str] = []
        self._numbers: dict[tuple[str, object], int] = {}
        self._fates: dict[int, tuple[tuple[int, State], ...]] = {}
        places = range(len(claims.at))
        self.own = [tuple(self._known(claim, PARTIES)) for claim in places]
        self.shared = [tuple(self._known(claim, SETTLING[len(PARTIES) :])) for claim in places]
        self.clocked = [tuple(self._clocks(claim)) for claim in places]
        self.keys = [own + shared + clocked for own, shared, clocked in zip(self.own, self.shared, self.clocked, strict=True)]

    def _known(self, claim: int, kinds: Sequence[str]) -> Iterator[int]:
        for kind in kinds:
            if (key := self.claims.keys[kind][claim]) >= 0:
                yield self._number(kind, key, claim)

    def _clocks(self, claim: int) -> Iterator[int]:
        moment, currency = self.claims.at[claim], self.claims.currency[claim]
        for kind, length in _CLOCKS:
            yield self._number(kind, (moment // length, currency), claim)

    def _number(self, kind: str, key: object, claim: int) -> int:
        number = self._numbers.setdefault((kind, key), len(self.limits))
        if number == len(self.limits):
            # The buyer's follows from trust at each moment anew; what fits the first step fits them all.
            money = self.appetite.trust.step[0].limit if kind == "buyer" else getattr(self.appetite.quota, kind)
            self.limits.append(_of(money, self.claims.currency[claim]))
            self.kinds.append(kind)
        return number

    def fates(self, claim: int) -> tuple[tuple[int, State], ...]:
        """What becomes of a claim's money if it is approved: each change with its moment, in order of time."""
        found = self._fates.get(claim)
        if found is None:
            found = self._fates[claim] = tuple(_changes(self.claims, claim, self.settle))
        return found


def _changes(c: Claims, claim: int, settle: int) -> Iterator[tuple[int, State]]:
    at, returned = c.at[claim], c.returned_at[claim]
    events = [(at + settle, _DUE, ""), *((max(moment, at), _LABEL, label) for moment, label in c.labels.get(claim, ()))]
    later = returned is not None and returned > at
    if returned is not None and later:
        events.append((returned, _BACK, ""))
    # Where a history never tells of returns, nothing is overdue for not being told of.
    back = not c.returns_told or (returned is not None and not later)
    told = Told(amount=c.amount[claim], comes_back=c.comes_back[claim], due=False, back=back)
    before: State = "open"
    for moment, kind, label in sorted(events):
        if kind == _DUE:
            told = replace(told, due=True)
        elif kind == _BACK:
            told = replace(told, back=True, returned=True, late=told.due)
        else:
            told = replace(told, label=label)
        state = fate_of(told).state
        if state != before:
            before = state
            yield moment, state


class Book:
    """Money that is out. Claims are asked about in order of time; what became known before a moment counts at it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._claims = ledger, ledger.claims
        self._used = [0] * len(ledger.limits)
        self._settled: dict[int, int] = {}
        """How many approvals of a buyer settled without a loss."""
        self._losses: dict[int, dict[int, int]] = {}
        """By buyer the lost approvals, and when each was known to be lost."""
        self._fates: dict[int, State] = {}
        self._events: list[tuple[int, int, int, State]] = []

    def full(self, claim: int) -> str | None:
        """The first quota in which a claim has no room, if there is one."""
        ledger, used, amount = self._ledger, self._used, self._claims.amount[claim]
        events, now = self._events, self._claims.at[claim]
        if events and events[0][0] < now:
            self._until(now)
        limits = ledger.limits
        for key in ledger.keys[claim]:
            if used[key] + amount > limits[key] and (ledger.kinds[key] != "buyer" or used[key] + amount > self._trusted(claim)):
                return ledger.kinds[key]
        return None

    def approve(self, claim: int) -> None:
        """A claim that has room is approved."""
        used, amount = self._used, self._claims.amount[claim]
        for key in self._ledger.keys[claim]:
            used[key] += amount
        self._fates[claim] = "open"
        for place, (moment, fate) in enumerate(self._ledger.fates(claim)):
            heapq.heappush(self._events, (moment, claim, place, fate))

    def _trusted(self, claim: int) -> int:
        """The quota of the claim's buyer at its moment: that of the last step whose conditions all hold."""
        c, buyer = self._claims, self._claims.keys["buyer"][claim]
        losses = self._losses.get(buyer)
        step = step_of(
            self._ledger.appetite,
            orders=c.orders[claim],
            spent=c.spent[claim],
            settled=self._settled.get(buyer, 0),
            account_days=c.account_days[claim],
            lost_at=max(losses.values()) if losses else None,
            abuse=c.abuse[claim],
            now=c.at[claim],
        )
        return _of(step.limit, c.currency[claim])

    def _until(self, now: int) -> None:
        events = self._events
        while events and events[0][0] < now:
            moment, claim, _place, fate = heapq.heappop(events)
            self._becomes(claim, fate, moment)

    def _becomes(self, claim: int, fate: State, moment: int) -> None:
        """Money that is lost stays in the quotas of the buyer and what is the buyer's, and leaves those that are shared."""
        before, self._fates[claim] = self._fates[claim], fate
        amount, buyer = self._claims.amount[claim], self._claims.keys["buyer"][claim]
        if out := (fate in _OUT) - (before in _OUT):
            for key in self._ledger.own[claim]:
                self._used[key] += out * amount
        if out := (fate == "open") - (before == "open"):
            for key in self._ledger.shared[claim]:
                self._used[key] += out * amount
        if more := (fate == "settled") - (before == "settled"):
            self._settled[buyer] = self._settled.get(buyer, 0) + more
        if fate == "lost":
            self._losses.setdefault(buyer, {})[claim] = moment
        elif before == "lost":
            del self._losses[buyer][claim]
            if not self._losses[buyer]:
                del self._losses[buyer]


def settles_at(at: int, returned_at: int | None, settle: int) -> int:
    """When the money of an approval is no longer out: its goods are back, or the time that the appetite sets is over."""
    due = at + settle
    return due if returned_at is None or returned_at <= at else min(returned_at, due)


def _of(money: Mapping[str, int], currency: str | None) -> int:
    """The least of all currencies where a history does not say which; nothing in one without a rule."""
    return min(money.values()) if currency is None else money.get(currency, 0)
