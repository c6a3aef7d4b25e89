"""The money and goods of one order: what was paid, and everything that may have gone back already. Pure values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from risk.features import Facts

_DAY = 86_400_000_000


@dataclass(frozen=True)
class OrderAccount:
    """What is known of an order before a claim on it is decided; money in minor units.

    The caller's `refunded_amount` is to hold everything that was refunded, what was approved at once included. It may lag
    behind, so a refund that it once told of beside our own approvals is remembered (`elsewhere`) and never unlearnt.
    """

    approved: int = 0
    """Approved at once."""
    waiting: int = 0
    """Asked for by claims that wait for a person, who may yet pay them."""
    elsewhere: int = 0
    """Refunded by others: what the caller's figures told beside our approvals, and what outcomes told after that."""
    charged_back: int = 0
    """Taken back by the buyer's bank, which is no refund of anybody here."""
    paid: int | None = None
    """The price: from the event `order_paid` where there was one, else the smallest that a claim named."""
    paid_at: int | None = None
    """Microseconds; from the event, else from the first claim."""
    currency: str | None = None
    buyer_id: str | None = None
    merchant_id: str | None = None
    shipped: bool = False
    delivered: bool = False
    items: Mapping[str, int] = field(default_factory=dict)
    """What claims have asked for each item and got, or may yet get."""

    def left(self, facts: Facts) -> int:
        """What may still be paid for the order; negative where more is gone than was paid."""
        prices = [price for price in (facts["paid_amount"], self.paid) if price is not None]
        refunded = max(self.elsewhere, (facts["refunded_amount"] or 0) - self.approved)
        return min(prices, default=0) - self.approved - self.waiting - refunded - self.charged_back

    def asked(self, items: Iterable[str]) -> int:
        """What was asked before for any of these items."""
        return sum(self.items.get(item, 0) for item in {*items})

    def differing(self, facts: Facts) -> list[str]:
        """What the claim says of the order otherwise than is known."""
        names = ("buyer_id", "merchant_id", "currency")
        known = {name: (getattr(self, name), facts[name]) for name in names}
        found = [name for name, (ours, theirs) in known.items() if None not in (ours, theirs) and ours != theirs]
        if self.paid_at is not None and facts["paid_at"] is not None and abs(self.paid_at - facts["paid_at"]) > _DAY:
            found.append("paid_at")
        arrived = facts["delivered_at"] is not None
        if self.delivered and not arrived:
            found.append("delivered_at")
        if self.shipped and not arrived and facts["shipped_at"] is None:
            found.append("shipped_at")
        return found

    def after(self, facts: Facts, items: Iterable[str], *, approved: bool) -> "OrderAccount":
        """The account once this claim on these items was approved at once, or handed to a person."""
        amount, price = out_of_order(facts["remedy"], facts["amount"]), facts["paid_amount"]
        return replace(
            self,
            approved=self.approved + (amount if approved else 0),
            waiting=self.waiting + (0 if approved else amount),
            elsewhere=max(self.elsewhere, (facts["refunded_amount"] or 0) - self.approved),
            paid=price if self.paid is None else min(self.paid, price if price is not None else self.paid),
            paid_at=facts["paid_at"] if self.paid_at is None else self.paid_at,
            currency=self.currency or facts["currency"],
            buyer_id=self.buyer_id or facts["buyer_id"],
            merchant_id=self.merchant_id or facts["merchant_id"],
            shipped=self.shipped or facts["shipped_at"] is not None,
            delivered=self.delivered or facts["delivered_at"] is not None,
            items={**self.items, **{item: self.items.get(item, 0) + amount for item in {*items}}},
        )


def out_of_order(remedy: str | None, amount: int) -> int:
    """What a claim asks for out of its order (minor units); the freight of a return is the insurer's money."""
    return 0 if remedy == "freight" else amount


UNKNOWN = OrderAccount()
"""An order that nothing is known of."""
