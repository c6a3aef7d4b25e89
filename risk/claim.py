"""What the claims service sends: one definition for validation, for the interface description and for the features."""

import re
import unicodedata
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from zoneinfo import available_timezones

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from risk.vocabulary import Channel, EvidenceKind, Reason, Remedy, ReturnMethod

MAX_MONEY = 10**11
"""A thousand million in the main unit: far above any order, far below where sums of doubles stop being exact."""
MAX_EXACT = 2**53
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_EARLIEST, _LATEST = datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 UTC, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def _rfc_3339(text: object) -> object:
    """The time that a text says; pydantic alone would also take seconds since 1970 and shortened forms."""
    if not isinstance(text, str):
        return text
    if _RFC_3339.fullmatch(text):
        with suppress(ValueError):
            return datetime.fromisoformat(text.upper())
    raise ValueError("a time as RFC 3339 with an offset is expected, such as 2026-06-30T09:15:00+08:00")


def _plausible(moment: datetime) -> datetime:
    if not _EARLIEST <= moment < _LATEST:
        raise ValueError("a time between 1990 and 2100 is expected")
    return moment


# Control characters, and those that turn the direction of what follows, have no place in an id: it is read in logs and
# lists. PostgreSQL cannot store the zero byte in any text.
PLAIN = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+$"
Id = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=PLAIN)]
Text = Annotated[str, StringConstraints(max_length=4000, pattern=r"^[^\x00]*$")]
Word = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=PLAIN)]
Money = Annotated[int, Field(ge=0, le=MAX_MONEY, description="Minor units, without a decimal point: 149000 is 1,490.00.")]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
Category = Annotated[str, StringConstraints(max_length=128, pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*$")]
# Which codes there are is the policies' business: a guarantee is added there without code.
Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_rfc_3339),
    AfterValidator(_plausible),
    Field(description="RFC 3339 with an offset, between 1990 and 2100."),
]
Signal = (
    bool
    | Annotated[int, Field(ge=-MAX_EXACT, le=MAX_EXACT)]
    | Annotated[float, Field(allow_inf_nan=False)]
    | Annotated[str, StringConstraints(max_length=128, pattern=r"^[^\x00]*$")]
)
SignalName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


def _in_order(extra: dict[str, Any]) -> dict[str, Any]:
    """Members of an object have no order: the same ones in another order are the same claim."""
    return dict(sorted(extra.items()))


class Value(BaseModel):
    """A part of a request: immutable, no field that we do not know, no silent conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Buyer(Value):
    """Who asks for the money back."""

    buyer_id: Id
    registered_at: Moment | None = None
    verified: bool | None = None
    guest: bool | None = None


class Merchant(Value):
    """Who sold it."""

    merchant_id: Id
    guarantees: list[Code] | None = Field(default=None, max_length=32, description="Guarantees opted in to.")


_ZONES = frozenset(available_timezones())


def _known_zone(name: str) -> str:
    if name not in _ZONES:
        raise ValueError("the name of a time zone is expected, such as Asia/Shanghai")
    return name


TimeZone = Annotated[str, AfterValidator(_known_zone), Field(json_schema_extra={"enum": sorted(_ZONES)})]


class Order(Value):
    """The purchase that the claim is about."""

    order_id: Id
    paid_at: Moment
    paid_amount: Money
    refunded_amount: Money | None = Field(
        default=None, description="Everything that was refunded for the order before this claim, what this service approved included."
    )
    shipped_at: Moment | None = None
    promised_by: Moment | None = None
    delivered_at: Moment | None = Field(default=None, description="Sign-for.")
    channel: Channel | None = None
    creator_id: Id | None = None
    address_id: Id | None = None
    payment_id: Id | None = None
    carrier: Word | None = None
    tracking_number: Word | None = None
    freight_amount: Money | None = Field(default=None, description="Freight within the amount paid.")
    intercepted_at: Moment | None = Field(default=None, description="The parcel was stopped and goes back.")
    lost_at: Moment | None = Field(default=None, description="The carrier recorded the parcel as lost or destroyed.")
    time_zone: TimeZone | None = Field(default=None, description="Where the buyer's days begin and end.")


class ReturnParcel(Value):
    """The goods on their way back."""

    shipped_at: Moment | None = None
    picked_up_at: Moment | None = Field(default=None, description="The courier's scan at the door.")
    received_at: Moment | None = None
    carrier: Word | None = None
    tracking_number: Word | None = None


class Item(Value):
    """One line of the order that the claim is about."""

    item_id: Id
    category: Category = Field(description="A dotted path: `food.fresh.fruit`.")
    quantity: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    unit_price: Money | None = None
    guarantees: list[Code] | None = Field(default=None, max_length=32, description="Promised at purchase.")
    opened: bool | None = None
    no_return_confirmed: bool | None = Field(
        default=None, description="The buyer confirmed at purchase that this item cannot be returned."
    )
    intact: bool | None = None
    affected_share: Share | None = Field(default=None, description="Where it differs from the claim's.")


class Device(Value):
    """Where the claim was made."""

    device_id: Id | None = None
    ip: Annotated[str, StringConstraints(min_length=2, max_length=45, pattern=r"^[0-9A-Fa-f:.]+$")] | None = None


class Evidence(Value):
    """One piece of proof; the file itself stays with the caller."""

    evidence_id: Id
    kind: EvidenceKind
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    content_type: Word | None = None
    captured_at: Moment | None = None


class Claim(Value):
    """A buyer's request for money back."""

    claim_id: Id
    submitted_at: Moment
    reason: Reason
    remedy: Remedy
    amount: Annotated[int, Field(ge=1, le=MAX_MONEY, description="Minor units, without a decimal point.")]
    currency: Currency
    description: Text | None = None
    return_method: ReturnMethod | None = None
    affected_share: Share | None = Field(default=None, description="Of fresh goods: the share that is spoiled or missing.")
    buyer: Buyer
    merchant: Merchant
    order: Order
    # Lists, not tuples: pydantic stops at the first member too many of a list, and reads a tuple to its end.
    items: list[Item] = Field(min_length=1, max_length=100)
    device: Device | None = None
    return_parcel: ReturnParcel | None = None
    extra: Annotated[dict[SignalName, Signal], AfterValidator(_in_order)] = Field(
        default_factory=dict, max_length=64, json_schema_extra={"additionalProperties": False}
    )
    evidence: list[Evidence] = Field(default=[], max_length=50)


def principal_item(claim: Claim) -> Item:
    """The item that carries most of the money; the first of equals."""
    return max(claim.items, key=lambda item: (item.unit_price or 0) * (item.quantity or 1))


def facts(claim: Claim) -> dict[str, Any]:
    """The claim as the flat columns of a history: what features are computed from."""
    order, buyer, item = claim.order, claim.buyer, principal_item(claim)
    kinds = [evidence.kind for evidence in claim.evidence]
    return {
        "submitted_at": microseconds(claim.submitted_at),
        "paid_at": microseconds(order.paid_at),
        "shipped_at": _moment(order.shipped_at),
        "promised_by": _moment(order.promised_by),
        "delivered_at": _moment(order.delivered_at),
        "registered_at": _moment(buyer.registered_at),
        "amount": claim.amount,
        "paid_amount": order.paid_amount,
        "refunded_amount": order.refunded_amount,
        "unit_price": item.unit_price,
        "quantity": item.quantity,
        "item_count": len(claim.items),
        "affected_share": claim.affected_share,
        "verified": _flag(buyer.verified),
        "guest": _flag(buyer.guest),
        "opened": _flag(item.opened),
        "no_return_confirmed": _flag(item.no_return_confirmed),
        "photo_count": kinds.count("photo"),
        "video_count": kinds.count("video"),
        "certificate_count": kinds.count("certificate"),
        "scan_count": kinds.count("parcel_scan"),
        "chat_count": kinds.count("chat"),
        "reason": claim.reason,
        "remedy": claim.remedy,
        "channel": order.channel,
        "return_method": claim.return_method,
        "carrier": order.carrier,
        "category": item.category,
        "description": claim.description,
        "tracking_number": order.tracking_number,
        "currency": claim.currency,
        "buyer_id": buyer.buyer_id,
        "merchant_id": claim.merchant.merchant_id,
        "merchant_guarantees": promises(claim.merchant),
        "item_guarantees": promises(item),
        **return_moments(claim),
    }


def promises(party: Merchant | Item) -> str | None:
    """The codes that were promised, in one order and with spaces between; None where nobody said."""
    return None if party.guarantees is None else " ".join(sorted({*party.guarantees}))


def item_ids(claim: Claim) -> list[str]:
    """The items that a claim is about, each once."""
    return sorted({item.item_id for item in claim.items})


def tracking_number(claim: Claim) -> str | None:
    """Of the parcel that goes back, however it is spelt: letters and digits alone tell one parcel from another."""
    told = claim.return_parcel.tracking_number if claim.return_parcel else None
    spelt = "".join(filter(str.isalnum, unicodedata.normalize("NFKC", told or ""))).upper()
    return spelt or None


def return_moments(claim: Claim) -> dict[str, int | None]:
    """What is known of goods that go back, or that never arrive."""
    order, parcel = claim.order, claim.return_parcel
    return {
        "intercepted_at": _moment(order.intercepted_at),
        "lost_at": _moment(order.lost_at),
        "return_shipped_at": _moment(parcel.shipped_at if parcel else None),
        "return_picked_up_at": _moment(parcel.picked_up_at if parcel else None),
        "return_received_at": _moment(parcel.received_at if parcel else None),
    }


def parties(claim: Claim) -> dict[str, str | None]:
    """The ids of everybody whose past counts, by entity name."""
    order = claim.order
    return {
        "buyer": claim.buyer.buyer_id,
        "device": claim.device.device_id if claim.device else None,
        "address": order.address_id,
        "payment": order.payment_id,
        "merchant": claim.merchant.merchant_id,
        "creator": order.creator_id,
        "item": principal_item(claim).item_id,
    }


def _moment(moment: datetime | None) -> int | None:
    return None if moment is None else microseconds(moment)


def _flag(flag: bool | None) -> int | None:
    return None if flag is None else int(flag)
