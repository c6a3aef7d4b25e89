"""What a policy judges, out of a claim with all its items, or out of the flat facts of its principal one."""

from collections.abc import Iterable

from risk.claim import Claim, Item, facts, promises, tracking_number
from risk.features import Facts
from risk.policy.cover import Goods, Request
from risk.policy.definition import MOMENTS, Policy

_EVIDENCE = {"photo": "photo_count", "video": "video_count", "certificate": "certificate_count",
             "parcel_scan": "scan_count", "chat": "chat_count"}  # fmt: skip


def request_of(claim: Claim, known: Facts | None = None, *, left: int | None = None, used: Iterable[str] = ()) -> Request:
    """A live claim. `known` are its facts where they are at hand; `left` and `used` are what the store knows of its order."""
    known = facts(claim) if known is None else known
    return Request(
        reason=claim.reason,
        remedy=claim.remedy,
        amount=claim.amount,
        currency=claim.currency,
        submitted_at=known["submitted_at"],
        moments={name: known[name] for name in MOMENTS},
        goods=tuple(_goods(claim, item) for item in claim.items),
        evidence=frozenset(evidence.kind for evidence in claim.evidence),
        promises=_codes(known["merchant_guarantees"]),
        freight=claim.order.freight_amount,
        left=left,
        time_zone=claim.order.time_zone,
        used=frozenset(used),
        tracking_number=tracking_number(claim),
    )


def told_by_facts(claim: Claim, policy: Policy | None) -> bool:
    """Whether the flat facts say all of a claim that its policy looks at: then both are judged alike."""
    if policy is None:
        return True
    item, order = claim.items[0], claim.order
    once = any(promise.guarantee.single_use for promise in policy.promises.get(claim.reason, ()))
    return (
        len(claim.items) == 1
        and claim.currency == policy.currency
        and (order.freight_amount, order.time_zone, item.intact, item.affected_share) == (None, None, None, None)
        and not once
    )


def request_of_facts(known: Facts, *, currency: str | None = None, left: int | None = None) -> Request:
    """The principal item of a claim alone: what a history has of it, and what the score's features look at."""
    goods = Goods(
        item_id="",
        category=known["category"],
        value=_value(known["unit_price"], known["quantity"], known["paid_amount"], only=(known["item_count"] or 1) == 1),
        promises=_codes(known["item_guarantees"]),
        opened=_flag(known["opened"]),
        no_return_confirmed=_flag(known["no_return_confirmed"]),
        affected_share=known["affected_share"],
    )
    return Request(
        reason=known["reason"] or "",
        remedy=known["remedy"] or "",
        amount=known["amount"],
        currency=currency,
        submitted_at=known["submitted_at"],
        moments={name: known[name] for name in MOMENTS},
        goods=(goods,),
        evidence=frozenset(kind for kind, column in _EVIDENCE.items() if known[column]),
        promises=_codes(known["merchant_guarantees"]),
        left=left,
    )


def _goods(claim: Claim, item: Item) -> Goods:
    only = len(claim.items) == 1
    return Goods(
        item_id=item.item_id,
        category=item.category,
        value=_value(item.unit_price, item.quantity, claim.order.paid_amount - (claim.order.freight_amount or 0), only=only),
        promises=_codes(promises(item)),
        opened=item.opened,
        no_return_confirmed=item.no_return_confirmed,
        intact=item.intact,
        affected_share=item.affected_share if item.affected_share is not None else claim.affected_share,
    )


def _value(unit_price: int | None, quantity: int | None, paid: int | None, *, only: bool) -> int | None:
    """What was paid for an item: its price, never more than the whole order; the order itself where it is the only one."""
    if unit_price is None:
        return paid if only else None
    price = unit_price * (quantity or 1)
    return price if paid is None else max(0, min(price, paid))


def _codes(text: str | None) -> frozenset[str] | None:
    return None if text is None else frozenset(text.split())


def _flag(flag: int | None) -> bool | None:
    return None if flag is None else bool(flag)


