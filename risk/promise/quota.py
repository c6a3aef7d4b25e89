"""Quotas: how much may be out at once, what an approval occupies of it, and when that is free again. Pure.

Money is in minor units of one currency, moments are microseconds. An approval occupies a quota of each of its parties
(buyer, device, address, payment instrument) and of what it shares with many others (merchant, guarantee, hour, day). What
became of it afterwards is a function of everything that is known of it, in whatever order it became known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, NamedTuple

from risk.gates import Gate
from risk.promise.appetite import PARTIES, SHARED, Appetite, TrustStep

_DAY = 86_400_000_000
_HOUR = 3_600_000_000
KINDS = (*PARTIES, *SHARED)
"""Every kind of quota, in the order in which a gate and an answer name them."""
CLOCKED = ("hour", "day")
"""Quotas of a stretch of time: they count what was approved in it and are never freed."""
State = Literal["open", "settled", "lost", "recovered"]


# --- how much ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Balance:
    """What one party has of its quota in use, and how its approvals ended."""

    used: int = 0
    """Reserved and lost."""
    settled: int = 0
    """Approvals that settled without a loss."""
    lost_at: int | None = None
    """When the latest loss was that is not recovered."""


_NOTHING = Balance()


@dataclass(frozen=True)
class Balances:
    """What is known of the quotas of a claim before it is decided."""

    parties: Mapping[str, Balance] | None = field(default_factory=dict)
    """By kind; parties that are missing have nothing in use. None where it could not be read."""
    crowded: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By kind and id what is in use of those shared quotas that are known to be nearly full."""

    def of(self, kind: str) -> Balance:
        """The balance of a party."""
        return (self.parties or {}).get(kind, _NOTHING)

    def used(self, kind: str) -> int | None:
        """What a party has in use; None where that is not known."""
        return None if self.parties is None else self.of(kind).used


class Room(NamedTuple):
    """One quota that a claim would occupy."""

    kind: str
    id: str
    limit: int | None
    """None where the appetite has no quota in the claim's currency: then nothing is approved."""
    used: int | None
    """None where nobody could look, or has to: a shared quota is checked by the reservation itself."""
    step: str | None = None
    """The buyer's trust step."""

    def has(self, amount: int) -> bool:
        """Whether an amount has room, as far as is known."""
        return self.limit is not None and amount + (self.used or 0) <= self.limit


def step_of(
    appetite: Appetite, *, orders: int, spent: int, settled: int, account_days: float, lost_at: int | None, abuse: int, now: int
) -> TrustStep:
    """A buyer's trust step: the last whose conditions all hold; the first after a loss, or with confirmed abuse.

    `orders`, what was `spent` on them and `abuse` (claims) are those of 365 days, `lost_at` is the latest loss that is not recovered.
    """
    trust = appetite.trust
    if abuse > 0 or (lost_at is not None and now - lost_at < trust.after_loss_days * _DAY):
        return trust.step[0]
    held = (
        step
        for step in reversed(trust.step)
        if orders >= step.orders and spent >= step.spent and settled >= step.settled and account_days >= step.account_days
    )
    return next(held, trust.step[0])


def limits_of(appetite: Appetite, currency: str, step: TrustStep) -> dict[str, int]:
    """The limit of each kind in a currency; kinds without one are missing."""
    found = {kind: getattr(appetite.quota, kind).get(currency) for kind in KINDS if kind != "buyer"}
    found["buyer"] = step.limit.get(currency)
    return {kind: found[kind] for kind in KINDS if found[kind] is not None}


def rooms_of(limits: Mapping[str, int], ids: Mapping[str, str | None], balances: Balances, step: TrustStep) -> tuple[Room, ...]:
    """The quotas that a claim with these ids (by kind) would occupy; a claim without a device has none for it."""
    rooms = []
    for kind in KINDS:
        if (name := ids.get(kind)) is not None:
            used = balances.used(kind) if kind in PARTIES else balances.crowded.get((kind, name))
            rooms.append(Room(kind, name, limits.get(kind), used, step.name if kind == "buyer" else None))
    return tuple(rooms)


def shared_ids(merchant: str, guarantee: str | None, moment: int) -> dict[str, str | None]:
    """The ids of what an approval at a moment shares with others, by kind; hours and days are UTC."""
    hour = _hour(moment // _HOUR)
    return {"merchant": merchant, "guarantee": guarantee, "hour": hour, "day": hour[:10]}


@lru_cache(maxsize=64)
def _hour(number: int) -> str:
    return f"{datetime.fromtimestamp(number * _HOUR // 1_000_000, UTC):%Y-%m-%dT%H}"


def quota_gate(rooms: Sequence[Room], amount: int) -> Gate:
    """The amount has room in every quota that it would occupy; says which is the tightest."""
    known = [room for room in rooms if room.used is not None or not room.has(amount)]
    if not known:
        return Gate("quota", False, "no quota is known")
    tightest = min(known, key=lambda room: -1 if room.limit is None else max(room.limit - (room.used or 0), 0))
    return Gate("quota", all(room.has(amount) for room in rooms), _said(tightest, amount))


def _said(room: Room, amount: int) -> str:
    name = room.kind if room.step is None else f"{room.kind} ({room.step})"
    if room.limit is None:
        return f"{name}: no quota in this currency"
    return f"{name}: {amount} asked, {room.used or 0} of {room.limit} in use"


# --- a quota that many approvals meet in -------------------------------------------------------------------------


def share_of(limit: int, slot: int, slots: int) -> int:
    """What a slot of a quota may use that was never dealt otherwise: all slots alike, the rest in the first."""
    return limit // slots + (limit % slots if slot == 0 else 0)


@dataclass(frozen=True)
class Deal:
    """New shares of all slots, and the slot to reserve in from now on."""

    shares: list[int]
    slot: int


def deal(limit: int, used: Sequence[int], slot: int, amount: int, scarce: int) -> Deal | None:
    """Shares of at least what each slot has in use, together the limit, with room for an amount in the slot that is said.

    None where there is no room for it in the whole quota. Where less than `scarce` is free all of it goes into the first
    slot, in which everybody reserves then: dealt out, each would have to collect from the others for every approval.
    """
    free = limit - sum(used)
    if amount > free:
        return None
    if free < scarce:
        return Deal([used[0] + free, *used[1:]], 0)
    rest = free - amount
    shares = [taken + rest // len(used) for taken in used]
    shares[slot] += amount + rest % len(used)
    return Deal(shares, slot)


# --- what became of an approval ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """Everything that is known of an approval."""

    amount: int
    comes_back: bool
    """Whether its goods have to come back."""
    due: bool
    """Whether its time to settle is over."""
    back: bool = False
    """Whether the goods are back: as far as an event or the claim itself told, at whatever time."""
    returned: bool = False
    """Whether they came back after the decision."""
    late: bool = False
    """Whether that was after the time to settle."""
    overdue: bool = False
    """Whether the platform said that they are overdue."""
    charged_back: bool = False
    """Whether the payer's bank took the money back after the decision."""
    label: str | None = None
    """The latest."""
    outcome: str | None = None
    """The latest."""
    paid: int | None = None
    """What the latest outcome says that was rightly paid."""
    recovered: int = 0
    """What came back of the money."""


@dataclass(frozen=True)
class Fate:
    """What became of an approval: its state, the money that is lost, and why."""

    state: State
    lost: int = 0
    cause: str | None = None


OPEN = Fate("open")


@dataclass(frozen=True)
class Weight:
    """What one approval adds to balances."""

    used: int
    lost: int
    settled: int
    shared: int
    """What it adds to the quotas of its merchant and guarantee."""


def weight(fate: Fate, amount: int) -> Weight:
    """What an approval of an amount occupies in a state: all while it is open, what is lost for its parties."""
    if fate.state == "open":
        return Weight(amount, 0, 0, amount)
    return Weight(fate.lost, fate.lost, int(fate.state == "settled"), 0)


def fate_of(told: Told) -> Fate:
    """What became of an approval by everything that is known of it."""
    lost, cause = _loss(told)
    if lost > told.recovered:
        return Fate("lost", lost - told.recovered, cause)
    # Money that came back frees the quotas, but is nothing that a buyer is to be trusted more for.
    if lost or told.recovered >= told.amount:
        return Fate("recovered", cause="refund_recovered")
    if told.outcome == "withdrawn":
        return Fate("recovered", cause="withdrawn")
    if told.returned:
        return Fate("recovered" if told.late or told.overdue else "settled", cause="return_received")
    # A verdict for the buyer does not bring goods back that still have to come. That the money was paid out is no verdict.
    if told.label == "legitimate" and (told.back or not told.comes_back):
        return Fate("settled", cause="verdict")
    return Fate("settled", cause="time") if told.due else OPEN


def _loss(told: Told) -> tuple[int, str | None]:
    if told.label == "abuse":
        return told.amount, "verdict"
    if told.charged_back:
        return told.amount, "chargeback"
    if told.outcome == "refused":
        return told.amount, "outcome"
    # A parcel that was back before the decision may have been another claim's: the platform's word about this one counts more.
    if told.overdue and not told.returned:
        return told.amount, "return_overdue"
    # Nobody waits for the goods of a claim that was withdrawn.
    if told.due and told.comes_back and not told.back and told.outcome != "withdrawn":
        return told.amount, "return_overdue"
    if told.outcome in ("approved", "part") and told.paid is not None and told.paid < told.amount:
        return told.amount - told.paid, "outcome"
    return 0, None
