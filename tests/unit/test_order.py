"""The money of one order: what is left of it after everything that may have gone back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.order import UNKNOWN, OrderAccount

MONEY = st.integers(0, 10_000)


def facts(amount: int = 0, paid: int | None = 9_000, refunded: int | None = None, **parties: str) -> dict[str, Any]:
    return {"amount": amount, "paid_amount": paid, "refunded_amount": refunded, "currency": "CNY", "buyer_id": "b",
            "merchant_id": "m", "remedy": "refund_only", "paid_at": None,
            "shipped_at": None, "delivered_at": None} | parties  # fmt: skip


@pytest.mark.parametrize(
    ("order", "refunded", "left"),
    [
        (UNKNOWN, None, 9_000),
        (UNKNOWN, 300, 8_700),
        (OrderAccount(approved=300), None, 8_700),
        (OrderAccount(approved=300), 300, 8_700),
        (OrderAccount(approved=300), 200, 8_700),
        (OrderAccount(approved=300), 700, 8_300),
        (OrderAccount(approved=3_000, elsewhere=3_000), 3_000, 3_000),
        (OrderAccount(waiting=4_000), None, 5_000),
        (OrderAccount(charged_back=4_000), None, 5_000),
        (OrderAccount(charged_back=4_000, elsewhere=4_000), 4_000, 1_000),
        (OrderAccount(paid=100), None, 100),
        (OrderAccount(paid=20_000), None, 9_000),
        (OrderAccount(approved=9_000, charged_back=9_000), None, -9_000),
    ],
)
def test_what_is_left_is_the_smaller_price_less_everything_that_may_be_gone(
    order: OrderAccount, refunded: int | None, left: int
) -> None:
    assert order.left(facts(refunded=refunded)) == left


def test_a_refund_that_somebody_else_made_is_not_taken_for_ours_because_the_figures_are_equal() -> None:
    # A person refunded 3,000 of 9,000; we approve 3,000 as well; the caller's figure does not know of ours yet.
    order = UNKNOWN.after(facts(3_000, refunded=3_000), ["i"], approved=True)
    assert order.left(facts(refunded=3_000)) == 3_000


@given(st.lists(st.tuples(MONEY, MONEY, st.booleans()), max_size=8), MONEY)
def test_whatever_is_refunded_beside_us_and_however_late_the_caller_tells_no_more_than_the_price_goes_out(
    steps: list[tuple[int, int, bool]], price: int
) -> None:
    """Each step: a refund by somebody else, an amount asked for, and whether the caller knows of our approvals by then."""
    order, others, ours = UNKNOWN, 0, 0
    for other, amount, fresh in steps:
        others += min(other, max(0, price - others - ours))
        claim = facts(amount, price, others + (ours if fresh else 0))
        approved = amount <= order.left(claim)
        order = order.after(claim, ["i"], approved=approved)
        ours += amount if approved else 0
        if not fresh and ours:
            return  # What others refund before the caller has caught up with us cannot be known.
        assert others + ours <= price


@given(st.lists(st.tuples(MONEY, st.none() | MONEY, st.booleans()), min_size=1, max_size=8), MONEY)
def test_what_is_left_never_grows_by_a_claim(steps: list[tuple[int, int | None, bool]], price: int) -> None:
    order = UNKNOWN
    for amount, refunded, approved in steps:
        claim = facts(amount, price, refunded)
        before = order.left(claim)
        order = order.after(claim, ["i"], approved=approved)
        assert order.left(claim) <= before


def test_what_was_asked_for_an_item_counts_for_that_item_alone_and_once() -> None:
    order = UNKNOWN.after(facts(300), ["a", "b", "a"], approved=True).after(facts(200), ["b"], approved=False)
    assert (order.asked(["a"]), order.asked(["b"]), order.asked(["b", "b", "a"]), order.asked(["c"])) == (300, 500, 800, 0)


@pytest.mark.parametrize(
    ("known", "said", "differing"),
    [
        ({"delivered": True}, {}, ["delivered_at"]),
        ({"shipped": True}, {}, ["shipped_at"]),
        ({"shipped": True, "delivered": True}, {"delivered_at": 5}, []),
        ({"shipped": True}, {"delivered_at": 5}, []),
        ({"paid_at": 86_400_000_001}, {"paid_at": 0}, ["paid_at"]),
        ({"paid_at": 86_400_000_000}, {"paid_at": 0}, []),
    ],
)
def test_what_is_known_of_the_parcel_and_the_purchase_is_not_forgotten_because_a_claim_leaves_it_out(
    known: dict[str, Any], said: dict[str, Any], differing: list[str]
) -> None:
    assert OrderAccount(**known).differing(facts() | said) == differing


def test_the_freight_of_a_return_is_not_the_orders_money() -> None:
    freight = facts(5_000) | {"remedy": "freight"}
    assert UNKNOWN.after(freight, ["i"], approved=True).left(facts()) == 9_000
    assert UNKNOWN.after(freight, ["i"], approved=False).left(facts()) == 9_000


def test_what_a_claim_says_otherwise_is_named_and_what_nobody_said_is_no_difference() -> None:
    order = UNKNOWN.after(facts(), ["i"], approved=False)
    assert order.differing(facts()) == []
    assert order.differing(facts(buyer_id="x", currency="JPY")) == ["buyer_id", "currency"]
    assert UNKNOWN.differing(facts()) == []
    assert order.differing(facts() | {"currency": None}) == []
