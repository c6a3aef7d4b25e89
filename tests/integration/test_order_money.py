"""Money of an order: no more than was paid goes back, whoever paid and whatever a claim says."""

import json
import random
from typing import Any

import pytest

from risk.claim import Claim, facts
from risk.order import UNKNOWN
from risk.promise.appetite import load_appetite
from tests.service import (
    Api,
    Server,
    a_claim,
    a_purchase,
    an_order,
    an_outcome,
    at_once,
    failed,
    merged,
    rows,
    stamp,
    unique,
    value,
)

LARGEST = load_appetite().largest["CNY"]


def test_no_more_than_what_is_left_of_the_order_is_approved(api: Api) -> None:
    purchase = a_purchase()
    first, second = (api.decide(a_claim(**purchase, amount=amount)) for amount in (6_000, 3_900))
    assert [first["decision"], second["decision"]] == ["approve", "approve"]
    assert second["quota"] == {"limit": 9_900, "used": 6_000, "reserved": 3_900}
    third = api.decide(a_claim(**purchase, amount=1))
    assert failed(third)[0] == "order_amount"
    assert "1 asked, 0 left" in third["gates"][4]["detail"]


def test_what_a_person_may_yet_pay_is_no_longer_there_until_it_is_known_to_be_refused(api: Api) -> None:
    purchase = a_purchase()
    waits = a_claim(**purchase, amount=6_000, evidence=[])
    assert failed(api.decide(waits))[0] == "cover"
    assert failed(api.decide(a_claim(**purchase, amount=3_901)))[0] == "order_amount"
    api.tell(an_outcome(waits["claim_id"], outcome="refused"))
    assert failed(api.decide(a_claim(**purchase, amount=6_000)))[0] == "order_amount"  # 3,901 wait
    assert api.decide(a_claim(**purchase, amount=1))["decision"] == "review"  # and 6,000 more


@pytest.mark.parametrize(
    ("outcome", "amount", "left"),
    [("approved", None, 3_900), ("approved", 6_000, 3_900), ("part", 1_000, 8_900), ("refused", None, 9_900),
     ("withdrawn", None, 9_900)],
)  # fmt: skip
def test_what_a_person_paid_is_gone_and_the_case_leaves_the_list(api: Api, outcome: str, amount: int | None, left: int) -> None:
    purchase = a_purchase()
    waits = a_claim(**purchase, amount=6_000, evidence=[])
    drawn = api.decide(waits)["audit"]["selected"]
    api.tell(an_outcome(waits["claim_id"], outcome=outcome, **({} if amount is None else {"amount": amount})))
    # A drawn claim stays on the list until it has its label.
    assert api.read(waits["claim_id"])["review"]["state"] == ("open" if drawn else "closed")
    answer = api.decide(a_claim(**purchase, amount=left))
    assert (answer["decision"], answer["quota"]["limit"]) == ("approve", left)
    assert failed(api.decide(a_claim(**purchase, amount=1)))[0] == "order_amount"


def test_a_later_outcome_replaces_the_earlier_one(api: Api) -> None:
    purchase = a_purchase()
    waits = a_claim(**purchase, amount=6_000, evidence=[])
    api.decide(waits)
    for outcome in ({"outcome": "approved"}, {"outcome": "part", "amount": 500}, {"outcome": "refused"}):
        api.tell(an_outcome(waits["claim_id"], **outcome))
    assert api.decide(a_claim(**purchase, amount=9_900))["decision"] == "approve"


def test_what_the_bank_took_back_is_gone(api: Api) -> None:
    purchase = a_purchase()
    order_id = purchase["order"]["order_id"]
    api.tell({"type": "chargeback", "event_id": unique("event"), "occurred_at": stamp(), "order_id": order_id, "amount": 9_000})
    assert failed(api.decide(a_claim(**purchase, amount=901)))[0] == "order_amount"
    assert failed(api.decide(a_claim(**purchase, amount=900)))[0] == "order_amount"  # 901 wait


def test_the_price_and_the_parties_of_the_purchase_count_whatever_a_claim_says(api: Api) -> None:
    purchase = a_purchase()
    buyer_id, merchant_id = purchase["buyer"]["buyer_id"], purchase["merchant"]["merchant_id"]
    paid_at, order_id = purchase["order"]["paid_at"], purchase["order"]["order_id"]
    api.tell(
        an_order(order_id=order_id, buyer_id=buyer_id, merchant_id=merchant_id, amount=100, currency="CNY", occurred_at=paid_at)
    )
    assert failed(api.decide(a_claim(**purchase, amount=101)))[0] == "order_amount"
    assert failed(api.decide(a_claim(**purchase, currency="JPY", amount=1)))[:2] == ["order", "order_amount"]
    other = purchase | {"buyer": a_claim()["buyer"]}
    assert failed(api.decide(a_claim(**other, amount=1)))[:2] == ["order", "order_amount"]


def test_a_larger_price_in_a_later_claim_is_not_believed(api: Api) -> None:
    purchase = a_purchase()
    assert api.decide(a_claim(**purchase, amount=9_900))["decision"] == "approve"
    dearer = merged(purchase, {"order": {"paid_amount": 100_000}})
    assert failed(api.decide(a_claim(**dearer, amount=9_900)))[0] == "order_amount"


def test_a_purchase_that_is_told_twice_counts_once(server: Server) -> None:
    order = an_order()
    server.api.tell(order)
    server.api.tell(order | {"event_id": unique("event")}, order | {"event_id": unique("event"), "amount": 5})
    assert value(server.url, "SELECT sum(orders) FROM past WHERE buyer_id = %s", order["buyer_id"]) == 1


@pytest.mark.parametrize("seed", range(5))
def test_the_store_keeps_an_order_as_the_pure_account_does(server: Server, seed: int) -> None:
    rng, purchase, account = random.Random(seed), a_purchase(), UNKNOWN
    for _turn in range(8):
        changes = {"amount": rng.randint(1, 4_000), "evidence": rng.choice(([], [{"evidence_id": "p", "kind": "photo"}]))}
        order = purchase["order"] | {"refunded_amount": rng.choice((0, account.approved, 1_500)), "paid_amount": rng.choice((9_900, 8_000))}
        claim = a_claim(**purchase | {"order": order}, **changes)
        expected = changes["amount"] <= account.left(known := facts(Claim.model_validate_json(json.dumps(claim)))) and claim["evidence"]
        decision = server.api.decide(claim)
        assert (decision["decision"] == "approve") == bool(expected)
        account = account.after(known, [claim["items"][0]["item_id"]], approved=decision["decision"] == "approve")
        columns = ("approved", "waiting", "elsewhere", "charged_back", "paid", "paid_at", "currency", "buyer_id", "merchant_id",
                   "shipped", "delivered", "items")
        stored = rows(server.url, f"SELECT {', '.join(columns)} FROM order_account WHERE order_id = %s", order["order_id"])
        assert stored == [tuple(getattr(account, name) for name in columns)]


@pytest.mark.parametrize(("refunded", "approved"), [(0, True), (4_900, True), (5_000, True), (5_001, False), (9_900, False)])
def test_what_the_caller_refunded_before_is_no_longer_there(api: Api, refunded: int, approved: bool) -> None:
    answer = api.decide(a_claim(order={"refunded_amount": refunded}))
    assert (answer["decision"] == "approve") == approved


def test_a_refund_that_we_approved_and_the_caller_reports_counts_once(api: Api) -> None:
    purchase = a_purchase()
    api.decide(a_claim(**purchase, amount=4_000))
    again = merged(purchase, {"order": {"refunded_amount": 4_000}})
    assert api.decide(a_claim(**again, amount=5_900))["decision"] == "approve"


@pytest.mark.parametrize(("amount", "decision"), [(LARGEST, "approve"), (LARGEST + 1, "review")])
def test_the_largest_amount_that_may_be_approved_at_once(api: Api, amount: int, decision: str) -> None:
    assert api.decide(a_claim(amount=amount, order={"paid_amount": amount}))["decision"] == decision


def test_claims_on_one_order_at_once_never_take_more_than_was_paid(server: Server) -> None:
    purchase = merged(a_purchase(), {"order": {"paid_amount": 10_000}})
    order = purchase["order"]
    claims = [a_claim(**purchase, amount=700 + n) for n in range(32)]
    answers = at_once(lambda n: server.api.post("/v1/claims", claims[n]), 32)
    assert {answer.status for answer in answers} == {200}
    approved = sum(answer.json["approved_amount"] for answer in answers)
    assert 0 < approved <= 10_000
    assert value(server.url, "SELECT approved FROM order_account WHERE order_id = %s", order["order_id"]) == approved
    stored = "SELECT sum(amount)::bigint FROM decision WHERE order_id = %s AND decision = 'approve'"
    assert value(server.url, stored, order["order_id"]) == approved
    spent = {gate for answer in answers if answer.json["decision"] == "review" for gate in failed(answer.json)}
    assert spent <= {"order_amount", "order_reservation", "cover_amount"}


def test_batches_that_tell_of_the_same_orders_in_opposite_order_all_get_through(server: Server) -> None:
    orders = [unique("order") for _ in range(40)]

    def batch(number: int) -> list[dict[str, Any]]:
        told, event = orders if number % 2 else orders[::-1], {"type": "chargeback", "occurred_at": stamp(), "amount": 1}
        return [event | {"event_id": unique("event"), "order_id": order} for order in told]

    batches = [batch(number) for number in range(12)]
    answers = at_once(lambda number: server.api.post("/v1/events", {"events": batches[number]}), 12)
    assert {answer.status for answer in answers} == {200}
    assert rows(server.url, "SELECT DISTINCT charged_back FROM order_account WHERE order_id = ANY(%s)", orders) == [(12,)]


def an_event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "event_id": unique("event"), "occurred_at": stamp(), **fields}


def test_one_item_is_paid_once_however_much_of_its_order_is_left(api: Api) -> None:
    purchase = merged(a_purchase(), {"order": {"paid_amount": 40_000}})
    bowl = [{"item_id": "bowl", "category": "food.fresh.fruit", "unit_price": 10_000}]
    assert api.decide(a_claim(**purchase, items=bowl, amount=6_000))["decision"] == "approve"
    again = api.decide(a_claim(**purchase, items=bowl, amount=4_001))
    assert failed(again) == ["cover_amount"]
    assert "4001 asked, 4000 covered" in again["gates"][7]["detail"]
    other = [{"item_id": "plate", "category": "food.fresh.fruit", "unit_price": 10_000}]
    assert api.decide(a_claim(**purchase, items=other, amount=10_000))["decision"] == "approve"


def test_one_item_is_paid_once_by_claims_at_the_same_moment(server: Server) -> None:
    purchase = merged(a_purchase(), {"order": {"paid_amount": 90_000}})
    bowl = [{"item_id": "bowl", "category": "food.fresh.fruit", "unit_price": 10_000}]
    claims = [a_claim(**purchase, items=bowl, amount=4_000) for _ in range(16)]
    answers = at_once(lambda number: server.api.decide(claims[number]), 16)
    assert sum(answer["approved_amount"] for answer in answers) <= 10_000


def test_the_largest_amount_counts_for_the_order_not_for_each_claim_on_it(api: Api) -> None:
    purchase = merged(a_purchase(), {"order": {"paid_amount": 2 * LARGEST}})

    def part(name: str, amount: int) -> dict[str, Any]:
        return a_claim(**purchase, items=[{"item_id": name, "category": "food.fresh.fruit", "unit_price": amount}], amount=amount)

    assert api.decide(part("one", LARGEST - 1_000))["decision"] == "approve"
    assert "may be approved at once" in api.decide(part("two", 1_001))["gates"][4]["detail"]
    assert api.decide(part("three", 1_000))["decision"] == "approve"


def test_two_buyers_at_the_same_moment_are_not_both_paid_for_one_new_order(server: Server) -> None:
    for _turn in range(6):
        order = a_claim()["order"]
        claims = [a_claim(order=order, amount=4_000) for _ in range(4)]
        answers = at_once(lambda number, claims=claims: server.api.decide(claims[number]), 4)  # type: ignore[misc]
        assert sum(answer["decision"] == "approve" for answer in answers) == 1


@pytest.mark.parametrize("kind", ["order_shipped", "order_delivered"])
def test_a_parcel_that_is_known_to_be_on_its_way_was_not_never_shipped(api: Api, kind: str) -> None:
    purchase = merged(a_purchase(), {"order": {"shipped_at": None, "delivered_at": None, "promised_by": stamp(days=1)}})
    claim = a_claim(**purchase, reason="not_shipped", evidence=[])
    api.tell(an_event(kind, order_id=purchase["order"]["order_id"]))
    assert failed(api.decide(claim))[0] == "order"


def test_what_an_earlier_claim_told_of_the_parcel_counts_for_the_next(api: Api) -> None:
    purchase = a_purchase()
    api.decide(a_claim(**purchase, evidence=[], amount=1))
    forgotten = merged(purchase, {"order": {"shipped_at": None, "delivered_at": None, "promised_by": stamp(days=1)}})
    assert failed(api.decide(a_claim(**forgotten, reason="not_shipped", amount=1)))[0] == "order"


def test_a_promise_before_the_payment_is_a_contradiction(api: Api) -> None:
    claim = a_claim(reason="not_received", order={"delivered_at": None, "promised_by": "1995-01-01T00:00:00+08:00"})
    assert "promised_by before paid_at" in api.decide(claim)["gates"][2]["detail"]


def test_what_the_bank_took_back_is_gone_beside_what_the_caller_refunded(api: Api) -> None:
    purchase = merged(a_purchase(), {"order": {"refunded_amount": 4_000}})
    api.tell(an_event("chargeback", order_id=purchase["order"]["order_id"], amount=4_000))
    assert "left of the order" in api.decide(a_claim(**purchase, amount=1_901))["gates"][4]["detail"]
    assert api.decide(a_claim(**purchase, amount=1_900, items=[{"item_id": "x", "category": "food.fresh.fruit"}]))["gates"][4]["passed"] is False


def test_what_people_paid_beyond_an_approval_at_once_is_gone_as_well(api: Api) -> None:
    purchase = a_purchase()
    approved = a_claim(**purchase, amount=2_000)
    api.decide(approved)
    api.tell(an_outcome(approved["claim_id"], outcome="approved", amount=9_000))
    assert failed(api.decide(a_claim(**purchase, amount=901)))[0] == "order_amount"
    api.tell(an_outcome(approved["claim_id"], outcome="approved", amount=2_000))
    assert api.decide(a_claim(**purchase, amount=901, items=[{"item_id": "x", "category": "food.fresh.fruit"}]))["quota"]["limit"] > 2_000


def test_of_two_outcomes_in_one_batch_the_later_counts_as_it_does_for_who_reads(api: Api) -> None:
    purchase = a_purchase()
    waits = a_claim(**purchase, amount=9_000, evidence=[])
    api.decide(waits)
    later = an_outcome(waits["claim_id"], outcome="approved", occurred_at=stamp(hours=1))
    earlier = an_outcome(waits["claim_id"], outcome="refused", occurred_at=stamp(hours=3))
    api.tell(later, earlier)
    assert api.read(waits["claim_id"])["outcome"]["outcome"] == "approved"
    assert failed(api.decide(a_claim(**purchase, amount=901)))[0] == "order_amount"
