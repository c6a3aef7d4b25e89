"""The money of one order: what was paid, and everything that may have gone back already. Pure values."""

from dataclasses import dataclass, replace

from risk.features import Facts


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
    """Refunded by others, as far as the caller's figures told."""
    told: int = 0
    """Refunded by others, as far as events told: outcomes of reviews, charge-backs."""
    paid: int | None = None
    """The price: from the event `order_paid` where there was one, else the smallest that a claim named."""
    currency: str | None = None
    buyer_id: str | None = None
    merchant_id: str | None = None

    def refunded_elsewhere(self, refunded: int | None) -> int:
        """The most that others are known to have refunded; two tellings of it are taken for the same money."""
        return max(self.elsewhere, self.told, (refunded or 0) - self.approved)

    def left(self, facts: Facts) -> int:
        """What may still be paid for the order; negative where more is gone than was paid."""
        prices = [price for price in (facts["paid_amount"], self.paid) if price is not None]
        spent = self.approved + self.waiting + self.refunded_elsewhere(facts["refunded_amount"])
        return min(prices, default=0) - spent

    def differing(self, facts: Facts) -> list[str]:
        """What the claim says of the order otherwise than is known."""
        names = ("buyer_id", "merchant_id", "currency")
        known = {name: (getattr(self, name), facts[name]) for name in names}
        return [name for name, (ours, theirs) in known.items() if None not in (ours, theirs) and ours != theirs]

    def after(self, facts: Facts, *, approved: bool) -> "OrderAccount":
        """The account once this claim was approved at once, or handed to a person."""
        amount, price = out_of_order(facts["remedy"], facts["amount"]), facts["paid_amount"]
        return replace(
            self,
            approved=self.approved + (amount if approved else 0),
            waiting=self.waiting + (0 if approved else amount),
            elsewhere=max(self.elsewhere, (facts["refunded_amount"] or 0) - self.approved),
            paid=price if self.paid is None else min(self.paid, price if price is not None else self.paid),
            currency=self.currency or facts["currency"],
            buyer_id=self.buyer_id or facts["buyer_id"],
            merchant_id=self.merchant_id or facts["merchant_id"],
        )


def out_of_order(remedy: str | None, amount: int) -> int:
    """What a claim asks for out of its order (minor units); the freight of a return is the insurer's money."""
    return 0 if remedy == "freight" else amount


UNKNOWN = OrderAccount()
"""An order that nothing is known of."""
