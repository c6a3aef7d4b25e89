"""What happened after a purchase, as the platform reports it."""

from typing import Annotated, Literal

from pydantic import Field

from risk.claim import Currency, Id, Moment, Money, Text, Value, Word
from risk.vocabulary import Channel, Label


class _Event(Value):
    event_id: Id = Field(description="Idempotency key.")
    occurred_at: Moment


class OrderPaid(_Event):
    """A purchase: what later claims of the same parties are set against."""

    type: Literal["order_paid"]
    order_id: Id
    buyer_id: Id
    merchant_id: Id
    amount: Money
    currency: Currency | None = None
    channel: Channel | None = None
    creator_id: Id | None = None
    address_id: Id | None = None
    payment_id: Id | None = None
    item_id: Id | None = None


class ParcelMoved(_Event):
    """A parcel's way out or back."""

    type: Literal["order_shipped", "order_delivered", "return_shipped", "return_received"]
    order_id: Id
    claim_id: Id | None = None
    carrier: Word | None = None
    tracking_number: Word | None = None


class ClaimOutcome(_Event):
    """What became of the money; says nothing about abuse."""

    type: Literal["claim_outcome"]
    claim_id: Id
    outcome: Literal["approved", "part", "refused", "withdrawn"]
    amount: Money | None = None
    note: Text | None = None


class ReturnOverdue(_Event):
    """The goods of a claim that was approved at once should have been back by now: its money counts as lost."""

    type: Literal["return_overdue"]
    claim_id: Id


class RefundRecovered(_Event):
    """Money of a claim that was approved at once came back: from the buyer, the merchant or an insurer."""

    type: Literal["refund_recovered"]
    claim_id: Id
    amount: Money | None = Field(default=None, description="All of it where nothing is said.")
    note: Text | None = None


class AbuseLabel(_Event):
    """What is known about abuse; the latest one counts."""

    type: Literal["abuse_label"]
    claim_id: Id
    label: Label
    source: Word
    audit_probability: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None


class Chargeback(_Event):
    """The payer's bank took the money back."""

    type: Literal["chargeback"]
    order_id: Id
    amount: Money
    claim_id: Id | None = None


class MerchantSanction(_Event):
    """A measure against a shop."""

    type: Literal["merchant_sanction"]
    merchant_id: Id
    note: Text | None = None


class CreatorSanction(_Event):
    """A measure against a host."""

    type: Literal["creator_sanction"]
    creator_id: Id
    note: Text | None = None


Event = Annotated[
    OrderPaid | ParcelMoved | ClaimOutcome | ReturnOverdue | RefundRecovered | AbuseLabel | Chargeback | MerchantSanction | CreatorSanction,
    Field(discriminator="type"),
]


class EventBatch(Value):
    """Up to a thousand events, recorded all or none."""

    events: list[Event] = Field(min_length=1, max_length=1000)
