"""What happened after a purchase: recorded once, all or none, and seen by the next claim."""

import itertools
import random
from typing import Any

import pytest

from tests.conftest import Service
from tests.service import (
    Api,
    Server,
    a_claim,
    a_label,
    an_order,
    an_outcome,
    at_once,
    rows,
    stamp,
    unique,
    value,
)  # fmt: skip

LABELS_OF = "SELECT abuse, legitimate FROM past WHERE claim_id = %s AND event = 'l' ORDER BY seq"


def decided(api: Api, **changes: Any) -> dict[str, Any]:
    """A claim that has its decision."""
    claim = a_claim(**changes)
    api.decide(claim)
    return claim


def features_of_next(api: Api, **changes: Any) -> dict[str, Any]:
    """The features of a claim that is made now."""
    found: dict[str, Any] = api.read(decided(api, **changes)["claim_id"])["features"]
    return found


@pytest.fixture(autouse=True, scope="module")
def _features_are_named(service: Service) -> None:
    service.app.extensions["housekeeping"].once()


def every_kind(claim: dict[str, Any]) -> list[dict[str, Any]]:
    """One event of each type."""
    order_id, merchant_id = claim["order"]["order_id"], claim["merchant"]["merchant_id"]

    def event(kind: str, **fields: Any) -> dict[str, Any]:
        return {"type": kind, "event_id": unique("event"), "occurred_at": stamp(), **fields}

    return [
        an_order(order_id=order_id, currency="CNY", channel="live", creator_id="c", address_id="a", payment_id="p"),
        event("order_shipped", order_id=order_id, carrier="swift", tracking_number="T"),
        event("order_delivered", order_id=order_id),
        event("return_shipped", order_id=order_id, claim_id=claim["claim_id"]),
        event("return_received", order_id=order_id),
        an_outcome(claim["claim_id"], amount=100, note="seen"),
        a_label(claim["claim_id"], audit_probability=0.25),
        event("chargeback", order_id=order_id, amount=100),
        event("merchant_sanction", merchant_id=merchant_id, note="late"),
        event("creator_sanction", creator_id="c"),
    ]


def test_every_kind_of_event_is_recorded_and_a_repeat_is_a_duplicate(service: Service, api: Api) -> None:
    events = every_kind(decided(api))
    assert api.tell(*events) == ["recorded"] * 10
    before = value(service.url, "SELECT count(*) FROM past")
    assert api.tell(*events) == ["duplicate"] * 10
    assert api.tell(*reversed(events)) == ["duplicate"] * 10
    assert value(service.url, "SELECT count(*) FROM past") == before


def test_a_label_is_seen_by_the_buyers_next_claim_at_once(api: Api) -> None:
    claim = decided(api)
    assert features_of_next(api, buyer=claim["buyer"])["buyer_abuse_365d"] == 0
    api.tell(a_label(claim["claim_id"]))
    assert features_of_next(api, buyer=claim["buyer"])["buyer_abuse_365d"] == 1
    api.tell(a_label(claim["claim_id"], "legitimate"))
    found = features_of_next(api, buyer=claim["buyer"])
    assert (found["buyer_abuse_365d"], found["buyer_legitimate_365d"]) == (0, 1)


def test_a_label_counts_for_every_party_of_the_claim(api: Api) -> None:
    shared = {"device": {"device_id": unique("device")}, "order": {"address_id": unique("address"), "payment_id": unique("pay")}}
    claim = decided(api, **shared)
    api.tell(a_label(claim["claim_id"]))
    shared["order"] |= {"order_id": unique("order")}
    found = features_of_next(api, merchant=claim["merchant"], items=claim["items"], **shared)
    assert [found[f"{party}_abuse_365d"] for party in ("buyer", "device", "address", "payment")] == [0, 1, 1, 1]
    assert (found["merchant_abuse_rate_90d"], found["item_abuse_rate_30d"]) == (1.0, 1.0)


def test_an_order_is_seen_by_the_buyers_next_claim_at_once(api: Api) -> None:
    buyer = unique("buyer")
    api.tell(an_order(buyer_id=buyer, amount=500), an_order(buyer_id=buyer, amount=700))
    found = features_of_next(api, buyer={"buyer_id": buyer})
    assert (found["buyer_orders_30d"], found["buyer_order_amount_mean_365d"]) == (2, 600.0)


@pytest.mark.parametrize(
    ("labels", "changes"),
    [
        (["abuse"], [(1, 0)]),
        (["abuse", "abuse"], [(1, 0)]),
        (["abuse", "undecided"], [(1, 0), (-1, 0)]),
        (["abuse", "legitimate"], [(1, 0), (-1, 1)]),
        (["legitimate", "abuse", "legitimate"], [(0, 1), (1, -1), (-1, 1)]),
        (["undecided"], []),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_a_label_adds_what_it_changes_and_never_rewrites_the_past(
    service: Service, api: Api, labels: list[str], changes: list[tuple[int, int]], together: bool
) -> None:
    claim = decided(api)
    events = [a_label(claim["claim_id"], label) for label in labels]
    for batch in [events] if together else [[event] for event in events]:
        api.tell(*batch)
    assert rows(service.url, LABELS_OF, claim["claim_id"]) == changes


def test_events_may_come_in_any_order_and_what_was_known_last_counts(service: Service, api: Api) -> None:
    claim = decided(api)
    api.tell(a_label(claim["claim_id"], "legitimate", occurred_at=stamp(days=1)))
    api.tell(a_label(claim["claim_id"], "abuse", occurred_at=stamp(days=30)))
    assert rows(service.url, LABELS_OF, claim["claim_id"]) == [(0, 1), (1, -1)]
    known = rows(service.url, "SELECT known_at FROM past WHERE claim_id = %s ORDER BY seq", claim["claim_id"])
    assert known == sorted(known)


def test_the_last_outcome_of_one_batch_is_the_one_that_is_shown(api: Api) -> None:
    claim = decided(api)
    first = an_outcome(claim["claim_id"], "part", event_id=unique("z"), occurred_at=stamp(days=2))
    last = an_outcome(claim["claim_id"], "withdrawn", event_id=unique("a"), occurred_at=stamp(days=1))
    api.tell(first, last)
    assert api.read(claim["claim_id"])["outcome"]["outcome"] == "withdrawn"


def test_the_same_event_twice_in_a_batch_counts_once(service: Service, api: Api) -> None:
    order = an_order()
    assert api.tell(order, an_order(), order) == ["recorded", "recorded", "duplicate"]
    assert value(service.url, "SELECT sum(orders) FROM past WHERE buyer_id = %s", order["buyer_id"]) == 1


def test_another_body_under_a_known_event_id_is_a_conflict_and_nothing_is_recorded(service: Service, api: Api) -> None:
    claim = decided(api)
    known, other = an_order(), a_label(claim["claim_id"])
    api.tell(known, other)
    fresh = an_order()
    answer = api.post("/v1/events", {"events": [fresh, known | {"amount": 1}, other | {"label": "legitimate"}]})
    assert (answer.status, answer.headers["Content-Type"]) == (409, "application/problem+json")
    assert sorted(answer.pointers) == ["/events/1/event_id", "/events/2/event_id"]
    assert rows(service.url, "SELECT FROM event WHERE event_id = %s", fresh["event_id"]) == []
    assert rows(service.url, "SELECT FROM past WHERE buyer_id = %s", fresh["buyer_id"]) == []
    assert rows(service.url, LABELS_OF, claim["claim_id"]) == [(1, 0)]


def test_two_bodies_under_one_event_id_in_a_batch_are_a_conflict(service: Service, api: Api) -> None:
    order = an_order()
    answer = api.post("/v1/events", {"events": [order, order | {"amount": 1}]})
    assert (answer.status, answer.pointers) == (409, ["/events/1/event_id"])
    assert rows(service.url, "SELECT FROM event WHERE event_id = %s", order["event_id"]) == []


def test_unknown_claims_are_named_and_nothing_is_recorded(service: Service, api: Api) -> None:
    claim, fresh = decided(api), an_order()
    events = [fresh, a_label("unheard of"), a_label(claim["claim_id"]), an_outcome("unheard of"), a_label("nor of this")]
    answer = api.post("/v1/events", {"events": events})
    assert (answer.status, answer.headers["Content-Type"]) == (422, "application/problem+json")
    assert answer.pointers == ["/events/1/claim_id", "/events/3/claim_id", "/events/4/claim_id"]
    found = [rows(service.url, "SELECT FROM event WHERE event_id = %s", event["event_id"]) for event in events]
    assert found == [[]] * 5
    assert rows(service.url, "SELECT FROM past WHERE buyer_id = %s", fresh["buyer_id"]) == []
    assert rows(service.url, LABELS_OF, claim["claim_id"]) == []


def test_everything_that_is_wrong_with_a_batch_is_named_at_once(api: Api) -> None:
    events = [
        a_label("x", "guilty"),
        an_order(amount=1.5, colour="red"),
        {"type": "unheard_of", "event_id": "e"},
        {"event_id": "e"},
        an_outcome("", occurred_at="2026-01-01T10:00:00"),
        a_label("x", audit_probability=0.0),
        None,
    ]
    answer = api.post("/v1/events", {"events": events, "more": 1})
    assert answer.status == 400
    assert sorted(answer.pointers) == [
        "/events/0/label", "/events/1/amount", "/events/1/colour", "/events/2", "/events/3", "/events/4/claim_id",
        "/events/4/occurred_at", "/events/5/audit_probability", "/events/6", "/more",
    ]  # fmt: skip


@pytest.mark.parametrize("events", [[], None, {}, [{}] * 1_001])
def test_a_batch_has_one_to_a_thousand_events(api: Api, events: Any) -> None:
    answer = api.post("/v1/events", {"events": events})
    assert answer.status == 400
    assert any(pointer.startswith("/events") for pointer in answer.pointers)


def test_a_thousand_events_are_recorded_in_one_go(service: Service, api: Api) -> None:
    claims = [decided(api) for _ in range(5)]
    labels = itertools.cycle(("abuse", "legitimate"))
    events = [a_label(claims[n % 5]["claim_id"], next(labels)) for n in range(500)] + [an_order() for _ in range(500)]
    assert api.tell(*events) == ["recorded"] * 1_000
    for claim in claims:
        found = rows(service.url, LABELS_OF, claim["claim_id"])
        assert len(found) == 100
        assert abs(sum(row[0] for row in found)) <= 1


def test_the_same_events_at_once_in_any_order_are_recorded_once_and_nobody_waits_for_ever(server: Server) -> None:
    claims = [decided(server.api) for _ in range(10)]
    events = [a_label(claim["claim_id"]) for claim in claims] + [an_order() for _ in range(40)]
    orders = [random.Random(n).sample(events, len(events)) for n in range(16)]
    answers = at_once(lambda n: server.api.post("/v1/events", {"events": orders[n]}), 16)
    assert {answer.status for answer in answers} == {200}
    statuses = [event["status"] for answer in answers for event in answer.json["events"]]
    assert statuses.count("recorded") == len(events)
    for claim in claims:
        assert rows(server.url, LABELS_OF, claim["claim_id"]) == [(1, 0)]


def test_contradicting_labels_at_once_leave_a_past_that_adds_up(server: Server) -> None:
    claims = [decided(server.api) for _ in range(4)]
    rng = random.Random(5)
    batches = [
        [a_label(claim["claim_id"], rng.choice(["abuse", "legitimate", "undecided"])) for claim in rng.sample(claims, 4)]
        for _ in range(24)
    ]
    answers = at_once(lambda n: server.api.post("/v1/events", {"events": batches[n]}), 24, threads=12)
    assert {answer.status for answer in answers} == {200}
    for claim in claims:
        total = [0, 0]
        for change in rows(server.url, LABELS_OF, claim["claim_id"]):
            total = [total[0] + change[0], total[1] + change[1]]
            assert total in ([0, 0], [1, 0], [0, 1])


def test_a_label_of_a_claim_that_is_decided_at_the_same_moment_is_refused_or_kept_never_lost(server: Server) -> None:
    claims = [a_claim() for _ in range(16)]

    def work(number: int) -> int:
        claim = claims[number // 2]
        if number % 2:
            return server.api.post("/v1/events", {"events": [a_label(claim["claim_id"])]}).status
        return server.api.post("/v1/claims", claim).status

    statuses = at_once(work, 32, threads=16)
    assert set(statuses[0::2]) == {200}
    for number, claim in enumerate(claims):
        kept = rows(server.url, LABELS_OF, claim["claim_id"])
        assert (statuses[2 * number + 1], kept) in ((200, [(1, 0)]), (422, []))
