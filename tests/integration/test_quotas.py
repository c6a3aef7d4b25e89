"""Quotas that hold: over real HTTP on two workers, through events and time, and computed again."""

import json
import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from risk.claim import Claim, microseconds
from risk.decision import Past
from risk.promise.appetite import PARTIES
from risk.promise.quota import KINDS, Room
from serving.__main__ import main
from serving.events import EventBatch
from serving.store.database import Database, Prepared
from serving.store.decisions import Decisions
from serving.store.lookup import numbered
from serving.store.quotas import CHECKED, SLOTS, Quotas, kind_without_room, reserve
from serving.store.reconcile import Account, Difference, mend
from serving.store.releases import forget_old, revisit, settle_due
from tests.conftest import Service, run_service
from tests.service import (
    Api,
    Server,
    a_claim,
    a_label,
    account,
    an_appetite,
    an_order,
    an_outcome,
    at_once,
    failed,
    merged,
    new_database,
    rows,
    stamp,
    unique,
    value,
    wait_until,
)

LIMITS = {"device": 500_000, "address": 600_000, "payment": 700_000, "merchant": 550_000, "guarantee": 200_000_000, "hour": 400_000_000, "day": 500_000_000}
DAY = 86_400_000_000


def all_well(url: str) -> bool:
    """Whether no balance differs, and there are some."""
    found = account(url)
    assert found.differences == ()
    return found.approvals > 0 and found.balances > 0


# --- a hundred at once -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scarce(postgres: str, template: str, promoted: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers with small quotas."""
    folder = tmp_path_factory.mktemp("scarce")
    appetite = an_appetite(folder / "appetite.toml", **LIMITS)
    with Server(new_database(postgres, template=template), promoted, folder, appetite=appetite) as running:
        yield running


def ring(seed: int, count: int = 100, **shared: Any) -> list[dict[str, Any]]:
    """Claims of different buyers on different orders that have something in common; odd amounts, so that units count."""
    rng = random.Random(seed)
    amounts = [rng.randint(4_001, 17_777) for _ in range(count)]
    return [merged(a_claim(amount=amount, order={"paid_amount": amount}), shared) for amount in amounts]


def everywhere(kind: str, name: str) -> dict[str, Any]:
    """The part of a claim that names a party."""
    return {
        "device": {"device": {"device_id": name}},
        "address": {"order": {"address_id": name}},
        "payment": {"order": {"payment_id": name}},
        "merchant": {"merchant": {"merchant_id": name}},
    }[kind]


def check_limit(claims: list[dict[str, Any]], answers: list[Any], limit: int) -> int:
    """No unit more than the limit is approved, and nobody is sent to a person who would have had room; what was approved."""
    assert {answer.status for answer in answers} == {200}
    decided = [answer.json for answer in answers]
    approved = sum(decision["approved_amount"] for decision in decided)
    assert approved <= limit
    for claim, decision in zip(claims, decided, strict=True):
        if decision["decision"] == "review":
            assert failed(decision) == ["quota"]
            assert approved + claim["amount"] > limit
    return approved


@pytest.mark.parametrize("kind", ["device", "address", "payment", "merchant"])
@pytest.mark.parametrize("seed", range(2))
def test_a_hundred_requests_at_once_from_one_ring_take_no_unit_more_than_the_quota(scarce: Server, kind: str, seed: int) -> None:
    name = unique("shared")
    claims = ring(seed, **everywhere(kind, name))
    answers = at_once(lambda number: scarce.api.post("/v1/claims", claims[number]), len(claims))
    approved = check_limit(claims, answers, LIMITS[kind])
    table = "party_quota" if kind in PARTIES else "shared_quota"
    assert value(scarce.url, f"SELECT sum(used) FROM {table} WHERE kind = %s AND id = %s", kind, name) == approved
    assert all_well(scarce.url)
    assert "deadlock" not in scarce.log


def test_a_ring_that_shares_everything_in_other_orders_neither_locks_up_nor_takes_more_than_the_smallest_quota(scarce: Server) -> None:
    names = [unique("shared") for _ in range(3)]
    rng, claims = random.Random(5), ring(5)
    for claim in claims:
        device, address, payment = (rng.choice(names) for _ in range(3))
        claim["device"] = {"device_id": device}
        claim["order"] |= {"address_id": address, "payment_id": payment}
        claim["merchant"]["merchant_id"] = rng.choice(names)
    answers = at_once(lambda number: scarce.api.post("/v1/claims", claims[number]), len(claims))
    assert {answer.status for answer in answers} == {200}
    taken: dict[tuple[str, str], int] = defaultdict(int)
    for claim, answer in zip(claims, answers, strict=True):
        for kind, name in (
            ("device", claim["device"]["device_id"]), ("address", claim["order"]["address_id"]),
            ("payment", claim["order"]["payment_id"]), ("merchant", claim["merchant"]["merchant_id"]),
        ):  # fmt: skip
            taken[kind, name] += answer.json["approved_amount"]
    assert all(used <= LIMITS[kind] for (kind, _name), used in taken.items())
    assert any(answer.json["decision"] == "review" for answer in answers) or sum(taken.values()) < 4 * 3 * 500_000
    assert all_well(scarce.url)
    assert "deadlock" not in scarce.log


def test_what_is_approved_in_an_hour_stays_within_its_quota_however_many_ask(
    postgres: str, template: str, promoted: Path, tmp_path: Path
) -> None:
    appetite = an_appetite(tmp_path / "appetite.toml", hour=500_000, day=500_000)
    with Server(new_database(postgres, template=template), promoted, tmp_path, appetite=appetite) as server:
        claims = ring(3)
        answers = at_once(lambda number: server.api.post("/v1/claims", claims[number]), len(claims))
        # Where the hour or the day turned meanwhile, there are two quotas.
        days = {answer.json["decided_at"][:10] for answer in answers}
        hours = {answer.json["decided_at"][:13] for answer in answers}
        if len(hours) == 1:
            check_limit(claims, answers, 500_000)
        for kind, names in (("hour", hours), ("day", days)):
            for name in names:
                approved = sum(answer.json["approved_amount"] for answer in answers if answer.json["decided_at"].startswith(name))
                stored = value(server.url, "SELECT sum(used) FROM shared_quota WHERE kind = %s AND id = %s", kind, name)
                assert (stored or 0) == approved <= 500_000
        assert all_well(server.url)


def test_a_claim_that_is_sent_many_times_at_once_reserves_once(
    own_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, both = a_claim(device={"device_id": unique("device")}), threading.Barrier(2, timeout=20)
    look_up = Decisions.look_up

    def together(decisions: Decisions, sent: Claim, now: int) -> tuple[bool, Past]:
        found = look_up(decisions, sent, now)
        # Neither has been written down when the other is looked up.
        both.wait()
        return found

    monkeypatch.setattr(Decisions, "look_up", together)

    def work(_number: int) -> str:
        try:
            return own_service.parts.service.answer(Claim.model_validate_json(json.dumps(claim)))
        finally:
            own_service.parts.database.close()

    answers = at_once(work, 2)
    assert answers[0] == answers[1]
    shared = rows(own_service.url, "SELECT kind, sum(used)::bigint FROM shared_quota GROUP BY kind ORDER BY kind")
    assert shared == [(kind, claim["amount"]) for kind in ("day", "guarantee", "hour", "merchant")]
    assert all_well(own_service.url)


def test_a_full_quota_is_named_and_a_smaller_claim_still_fits(scarce: Server) -> None:
    shared = everywhere("merchant", unique("merchant"))
    for amount, decision in ((500_000, "approve"), (60_000, "review"), (50_000, "approve"), (1, "review")):
        answer = scarce.api.decide(merged(a_claim(amount=amount, order={"paid_amount": amount}), shared))
        assert answer["decision"] == decision
    assert answer["gates"][-1]["detail"] == "merchant: 1 asked, 550000 of 550000 in use"


# --- slots -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def connections(database_url: str) -> Iterator[list[tuple[Database, Quotas]]]:
    """Several connections, each with its slot."""
    databases = [Database(database_url) for _ in range(4)]
    yield [(database, Quotas(database)) for database in databases]
    for database in databases:
        database.close()


_STATEMENT, _ORDER = numbered(f"WITH first AS (SELECT 1), {reserve('true', 'first')} SELECT {CHECKED}")
RESERVE = Prepared(b"reserve_alone", _STATEMENT.encode())


def take(part: tuple[Database, Quotas], merchant: str, amount: int, limit: int, *, attempts: int, largest: int) -> int | None:
    """Reserve in a merchant's quota alone as a decision does; the slot, or None where it is found full."""
    database, quotas = part
    nothing = {name: None for name in _ORDER} | {f"limit_{kind}": 0 for kind in KINDS}
    for _attempt in range(attempts):
        slot = quotas.slots([Room("merchant", merchant, limit, None)], "CNY")["merchant"]
        given = nothing | {"merchant_id": merchant, "limit_merchant": limit, "amount": amount, "currency": "CNY", "merchant_slot": slot}
        try:
            database.fetch(RESERVE, [given[name] for name in _ORDER])
            return slot
        except (psycopg.errors.CheckViolation, psycopg.errors.InvalidTextRepresentation) as error:
            assert kind_without_room(error) == "merchant"
            if not quotas.deal("merchant", merchant, "CNY", limit=limit, amount=amount, largest=largest):
                return None
    raise AssertionError(f"{attempts} times dealt in vain")


def give_back(database: Database, merchant: str, slot: int, amount: int) -> None:
    statement = "UPDATE shared_quota SET used = used - %s WHERE id = %s AND slot = %s"
    database.run(lambda connection: connection.execute(statement, (amount, merchant, slot)))


STEP = st.tuples(st.integers(0, 3), st.integers(1, 400), st.booleans())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(
    limits=st.lists(st.integers(1, 1_500), min_size=1, max_size=3),
    steps=st.lists(STEP, max_size=30),
    largest=st.sampled_from((1, 20, 400)),
)
def test_slots_never_take_more_than_the_limit_and_refuse_nothing_that_has_room_overall(
    connections: list[tuple[Database, Quotas]], database_url: str, limits: list[int], steps: list[tuple[int, int, bool]],
    largest: int,
) -> None:
    merchant, out = unique("merchant"), []
    for place, (worker, amount, back) in enumerate(steps):
        limit = limits[place * len(limits) // len(steps)]
        if back and out:
            slot, taken = out.pop(amount % len(out))
            give_back(connections[worker][0], merchant, slot, taken)
            continue
        used = sum(taken for _slot, taken in out)
        slot = take(connections[worker], merchant, amount, limit, attempts=2, largest=largest)
        assert (slot is not None) == (used + amount <= limit)
        if slot is not None:
            out.append((slot, amount))
        stored = value(database_url, "SELECT sum(used) FROM shared_quota WHERE id = %s", merchant)
        assert (stored or 0) == sum(taken for _slot, taken in out)


@pytest.mark.parametrize("largest", [1, 6_000])
def test_slots_hold_while_many_take_and_give_back_at_once(database_url: str, largest: int) -> None:
    merchant, limit, most = unique("merchant"), 50_000, [0]
    stopped = threading.Event()

    def watch() -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            while not stopped.is_set():
                row = connection.execute("SELECT coalesce(sum(used), 0) FROM shared_quota WHERE id = %s", (merchant,)).fetchone()
                most[0] = max(most[0], int(row[0]) if row else 0)

    def work(number: int) -> int:
        rng, database = random.Random(number), Database(database_url)
        part, out = (database, Quotas(database)), []
        for _ in range(150):
            amount = rng.randint(100, 6_000)
            if out and rng.random() < 0.4:
                give_back(database, merchant, *out.pop())
            elif (slot := take(part, merchant, amount, limit, attempts=40, largest=largest)) is not None:
                out.append((slot, amount))
        database.close()
        return sum(amount for _slot, amount in out)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        kept = at_once(work, 6)
    finally:
        stopped.set()
        watcher.join()
    assert value(database_url, "SELECT sum(used) FROM shared_quota WHERE id = %s", merchant) == sum(kept)
    assert limit // 2 < most[0] <= limit


def test_connections_have_slots_of_their_own_as_long_as_there_are_enough(fresh_url: str) -> None:
    databases = [Database(fresh_url) for _ in range(SLOTS + 2)]
    rooms = [Room("merchant", "m", 1, None)]
    slots = [Quotas(database).slots(rooms, "CNY")["merchant"] for database in databases]
    assert sorted(slots[:SLOTS]) == list(range(SLOTS))
    assert all(0 <= slot < SLOTS for slot in slots)
    for database in databases:
        database.close()


# --- events and time ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def careful(postgres: str, template: str, promoted: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An application with the limits that are shipped, but steps that leave room for the claims of these tests."""
    folder = tmp_path_factory.mktemp("careful")
    appetite = an_appetite(folder / "appetite.toml", steps=(50_000, 200_000, 600_000))
    yield from run_service(new_database(postgres, template=template), promoted, folder, appetite)


@pytest.fixture(scope="module")
def quick(careful: Service) -> Api:
    return careful.api


def approved(api: Api, **changes: Any) -> dict[str, Any]:
    """A claim that was approved, of a buyer with a device, an address and a payment instrument."""
    claim = a_claim(
        device={"device_id": unique("device")}, order={"address_id": unique("address"), "payment_id": unique("payment")}
    )
    claim = merged(claim, changes)
    assert api.decide(claim)["decision"] == "approve"
    return claim


def going_back(api: Api, **changes: Any) -> dict[str, Any]:
    """An approved claim whose goods are on their way back."""
    parcel = {"shipped_at": stamp(hours=3), "tracking_number": unique("track"), "carrier": "swift"}
    return approved(api, reason="no_reason", remedy="return_and_refund", return_parcel=parcel, evidence=[],
                    items=[{"item_id": unique("item"), "category": "beauty.skincare"}],
                    merchant={"guarantees": ["no_reason_7d"]}, **changes)  # fmt: skip


def balance(service: Service, claim: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """What the buyer has in use, lost and settled, and what the merchant has in use."""
    buyer, merchant = claim["buyer"]["buyer_id"], claim["merchant"]["merchant_id"]
    found = rows(service.url, "SELECT used, lost, settled FROM party_quota WHERE kind = 'buyer' AND id = %s", buyer)
    shared = value(service.url, "SELECT sum(used)::bigint FROM shared_quota WHERE kind = 'merchant' AND id = %s", merchant)
    return {"buyer": tuple(found[0]), "merchant": (shared,)}


def an_event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "event_id": unique("event"), "occurred_at": stamp(), **fields}


def time_passes(service: Service, *claims: dict[str, Any], now: int | None = None) -> int:
    """The claims' time to settle is over, and housekeeping does its work; how many were due."""
    rows(service.url, "UPDATE decision SET settles_at = (SELECT moment + 1 FROM settled_until) + 1000 WHERE claim_id = ANY(%s)",
         [claim["claim_id"] for claim in claims])  # fmt: skip
    due = 0
    with psycopg.connect(service.url) as connection:
        moment = now if now is not None else value(service.url, "SELECT extract(epoch FROM now())::bigint * 1000000")
        while (count := settle_due(connection, moment)) is not None:
            due += count
    return due


AMOUNT = 4_900
OPEN = {"buyer": (AMOUNT, 0, 0), "merchant": (AMOUNT,)}
SETTLED = {"buyer": (0, 0, 1), "merchant": (0,)}
LOST = {"buyer": (AMOUNT, AMOUNT, 0), "merchant": (0,)}
FREE = {"buyer": (0, 0, 0), "merchant": (0,)}
Told = Callable[[dict[str, Any]], dict[str, Any]]


def received(claim: dict[str, Any]) -> dict[str, Any]:
    return an_event("return_received", order_id=claim["order"]["order_id"], claim_id=claim["claim_id"])


def received_for_order(claim: dict[str, Any]) -> dict[str, Any]:
    return an_event("return_received", order_id=claim["order"]["order_id"])


def overdue(claim: dict[str, Any]) -> dict[str, Any]:
    return an_event("return_overdue", claim_id=claim["claim_id"])


def paid_back(amount: int | None = None) -> Told:
    return lambda claim: an_event("refund_recovered", claim_id=claim["claim_id"], **({} if amount is None else {"amount": amount}))


def label(word: str) -> Told:
    return lambda claim: a_label(claim["claim_id"], word)


def outcome(word: str, **more: Any) -> Told:
    return lambda claim: an_outcome(claim["claim_id"], word, **more)


def chargeback(claim: dict[str, Any]) -> dict[str, Any]:
    return an_event("chargeback", order_id=claim["order"]["order_id"], amount=100)


@pytest.mark.parametrize(
    ("make", "told", "expected"),
    [
        (approved, [], OPEN),
        (going_back, [received], SETTLED),
        (going_back, [received_for_order], SETTLED),
        (approved, [received_for_order], OPEN),
        (going_back, [overdue], LOST),
        (going_back, [overdue, received], FREE),
        (going_back, [received, overdue], FREE),
        (going_back, [overdue, paid_back()], FREE),
        (going_back, [overdue, paid_back(900)], {"buyer": (4_000, 4_000, 0), "merchant": (0,)}),
        (going_back, [overdue, paid_back(900), paid_back(4_000)], FREE),
        (approved, [label("abuse")], LOST),
        (approved, [label("abuse"), label("legitimate")], SETTLED),
        (approved, [label("legitimate")], SETTLED),
        (approved, [label("legitimate"), label("abuse")], LOST),
        (approved, [label("abuse"), label("undecided")], OPEN),
        (going_back, [label("legitimate")], OPEN),
        (going_back, [received, label("abuse")], LOST),
        (approved, [chargeback], LOST),
        (approved, [outcome("withdrawn")], FREE),
        (approved, [outcome("refused")], LOST),
        (approved, [outcome("part", amount=4_000)], {"buyer": (900, 900, 0), "merchant": (0,)}),
        (approved, [outcome("approved")], OPEN),
        (going_back, [outcome("approved")], OPEN),
        (approved, [outcome("refused"), outcome("approved")], OPEN),
    ],
)
def test_an_event_frees_what_an_approval_occupied_or_makes_it_a_loss(
    careful: Service, quick: Api, make: Callable[[Api], dict[str, Any]], told: list[Told], expected: dict[str, tuple[int, ...]]
) -> None:
    claim = make(quick)
    assert balance(careful, claim) == OPEN
    for event in told:
        quick.tell(event(claim))
    assert balance(careful, claim) == expected
    assert all_well(careful.url)
    parties = "SELECT DISTINCT used, lost, settled FROM party_quota WHERE id = ANY(%s)"
    others = [claim["device"]["device_id"], claim["order"]["address_id"], claim["order"]["payment_id"]]
    assert rows(careful.url, parties, others) == [expected["buyer"]]


@pytest.mark.parametrize(
    ("make", "before", "after", "expected"),
    [
        (approved, [], [], SETTLED),
        (going_back, [], [], LOST),
        (going_back, [], [received], FREE),
        (going_back, [label("legitimate")], [], LOST),
        (approved, [], [label("abuse")], LOST),
        (approved, [label("abuse")], [], LOST),
        (approved, [], [chargeback, paid_back()], FREE),
        (going_back, [outcome("withdrawn")], [], FREE),
    ],
)
def test_time_settles_what_nothing_else_did_and_goods_that_are_not_back_are_lost(
    careful: Service, quick: Api, make: Callable[[Api], dict[str, Any]], before: list[Told], after: list[Told], expected: dict[str, tuple[int, ...]]
) -> None:
    claim, waits = make(quick), approved(quick)
    for event in before:
        quick.tell(event(claim))
    assert time_passes(careful, claim) == 1
    for event in after:
        quick.tell(event(claim))
    assert balance(careful, claim) == expected
    assert balance(careful, waits) == OPEN
    assert all_well(careful.url)


def test_goods_that_were_back_before_the_decision_are_not_lost_when_time_is_over(careful: Service, quick: Api) -> None:
    purchase = {"order": {"order_id": unique("order")}}
    quick.tell(an_event("return_received", order_id=purchase["order"]["order_id"]))
    claim = going_back(quick, **purchase)
    assert balance(careful, claim) == OPEN
    assert time_passes(careful, claim) == 1
    assert balance(careful, claim) == SETTLED


def test_an_earlier_parcel_of_the_order_does_not_hide_that_the_goods_of_a_later_claim_are_overdue(careful: Service, quick: Api) -> None:
    purchase = {"order": {"order_id": unique("order")}}
    quick.tell(an_event("return_received", order_id=purchase["order"]["order_id"]))
    claim = going_back(quick, **purchase)
    quick.tell(overdue(claim))
    assert balance(careful, claim) == LOST
    quick.tell(received(claim))
    assert balance(careful, claim) == FREE


def test_an_event_that_an_approval_on_its_way_waited_for_is_not_forgotten(careful: Service, quick: Api) -> None:
    claim = approved(quick)
    # As if it had been recorded while the approval, stamped before it, was not there to be seen.
    quick.tell(chargeback(claim))
    rows(careful.url, "DELETE FROM release WHERE claim_id = %s", claim["claim_id"])
    buyer, merchant = claim["buyer"]["buyer_id"], claim["merchant"]["merchant_id"]
    ids = [buyer, claim["device"]["device_id"], claim["order"]["address_id"], claim["order"]["payment_id"]]
    rows(careful.url, "UPDATE party_quota SET lost = 0, lost_at = NULL WHERE id = ANY(%s)", ids)
    slots = "SELECT merchant_slot FROM decision WHERE claim_id = %s"
    rows(careful.url, f"UPDATE shared_quota SET used = %s WHERE id = %s AND slot = ({slots})", AMOUNT, merchant, claim["claim_id"])
    rows(
        careful.url,
        "UPDATE shared_quota SET used = used + %s WHERE kind = 'guarantee' AND (id, slot) = "
        "(SELECT guarantee, guarantee_slot FROM decision WHERE claim_id = %s)",
        AMOUNT,
        claim["claim_id"],
    )
    assert {difference.table for difference in account(careful.url).differences} == {"release"}
    with psycopg.connect(careful.url) as connection:
        assert revisit(connection, value(careful.url, "SELECT (extract(epoch FROM now()) * 1000000)::bigint")) == 1
    assert balance(careful, claim) == LOST
    assert all_well(careful.url)


def test_goods_that_came_back_in_time_are_no_loss_once_time_is_over(own_service: Service) -> None:
    claim = going_back(own_service.api)
    own_service.api.tell(received(claim))
    now = value(own_service.url, "SELECT (extract(epoch FROM now()) * 1000000)::bigint")
    rows(own_service.url, "UPDATE decision SET settles_at = %s", now)
    with psycopg.connect(own_service.url) as connection:
        # A decision that is still on its way may be stamped some seconds ago: so long nothing is due.
        assert settle_due(connection, now) is None
        wait_until(lambda: settle_due(connection, now + DAY) == 1, what="it is due")
    assert balance(own_service, claim) == SETTLED
    assert all_well(own_service.url)


def test_many_that_are_due_at_the_same_moment_are_all_settled_and_none_twice(careful: Service, quick: Api) -> None:
    purchase = merged(a_claim(), {"order": {"paid_amount": 9_900}})
    claims = [approved(quick, amount=10, merchant=purchase["merchant"]) for _ in range(12)]
    assert time_passes(careful, *claims) == 12
    assert time_passes(careful) == 0
    assert [balance(careful, claim)["buyer"] for claim in claims] == [(0, 0, 1)] * 12
    assert all_well(careful.url)


def test_events_about_the_same_parties_in_any_order_do_not_lock_up_with_claims_of_theirs(server: Server) -> None:
    shared = {"device": {"device_id": unique("device")}, "merchant": {"merchant_id": unique("merchant")}}
    claims = [a_claim(**shared, amount=50) for _ in range(24)]
    for claim in claims:
        server.api.decide(claim)
    more = [a_claim(**shared, amount=50) for _ in range(24)]

    def work(number: int) -> int:
        if number % 2:
            return server.api.post("/v1/claims", more[number // 2]).status
        order = random.Random(number).sample(claims, 8)
        events = [a_label(claim["claim_id"], random.Random(number).choice(("abuse", "legitimate"))) for claim in order]
        return server.api.post("/v1/events", {"events": events}).status

    assert set(at_once(work, 48)) == {200}
    assert all_well(server.url)
    assert "deadlock" not in server.log


def past_of(service: Service, claim: dict[str, Any]) -> tuple[int, int]:
    """Abuse and legitimate, as the features of later claims and the watch read them."""
    [(abuse, legitimate)] = rows(service.url, "SELECT sum(abuse), sum(legitimate) FROM past WHERE claim_id = %s", claim["claim_id"])
    return abuse, legitimate


@pytest.mark.parametrize(("earlier", "later", "past", "expected"), [("legitimate", "abuse", (1, 0), LOST), ("abuse", "legitimate", (0, 1), SETTLED)])
def test_of_two_labels_in_one_batch_the_later_counts_for_quotas_as_for_the_past(
    careful: Service, quick: Api, earlier: str, later: str, past: tuple[int, int], expected: dict[str, tuple[int, ...]]
) -> None:
    claim = approved(quick)
    quick.tell(a_label(claim["claim_id"], later, occurred_at=stamp(days=1)), a_label(claim["claim_id"], earlier, occurred_at=stamp(days=2)))
    assert (past_of(careful, claim), balance(careful, claim)) == (past, expected)
    assert all_well(careful.url)


def tell_as_of(service: Service, now: int, event: dict[str, Any]) -> None:
    """What a worker records that read its clock at `now` (microseconds)."""
    batch = EventBatch.model_validate_json(json.dumps({"events": [event]}))
    assert service.parts.events.record(batch.events, now) == ["recorded"]


def test_of_two_labels_at_the_same_moment_one_counts_for_quotas_and_past_whichever_is_recorded_first(careful: Service, quick: Api) -> None:
    claim, now = approved(quick), microseconds(careful.parts.service.clock())
    tell_as_of(careful, now, a_label(claim["claim_id"], "abuse"))
    tell_as_of(careful, now - 1_000, a_label(claim["claim_id"], "legitimate"))
    assert (past_of(careful, claim), balance(careful, claim)) == ((1, 0), LOST)
    assert all_well(careful.url)


def test_of_two_outcomes_at_the_same_moment_one_counts_for_the_order_and_for_who_reads_whichever_is_recorded_first(
    careful: Service, quick: Api
) -> None:
    claim = a_claim(evidence=[])
    assert quick.decide(claim)["decision"] == "review"
    now = microseconds(careful.parts.service.clock())
    tell_as_of(careful, now, an_outcome(claim["claim_id"], "approved"))
    tell_as_of(careful, now - 1_000, an_outcome(claim["claim_id"], "refused"))
    assert quick.read(claim["claim_id"])["outcome"]["outcome"] == "approved"
    order = "SELECT waiting, elsewhere FROM order_account WHERE order_id = %s"
    assert rows(careful.url, order, claim["order"]["order_id"]) == [(0, AMOUNT)]


def test_an_event_about_a_claim_that_nobody_knows_is_refused(quick: Api) -> None:
    events = [an_event("return_overdue", claim_id="nobody"), an_event("refund_recovered", claim_id="nobody")]
    answer = quick.post("/v1/events", {"events": events})
    assert (answer.status, answer.pointers) == (422, ["/events/0/claim_id", "/events/1/claim_id"])


def test_old_hours_and_days_are_deleted_and_nobody_misses_them(own_service: Service) -> None:
    api, url = own_service.api, own_service.url
    approved(api)
    claim = approved(api, merchant={"merchant_id": "2026"})
    past = "UPDATE decision SET decided_at = decided_at - %s, settles_at = settles_at - %s WHERE claim_id = %s"
    rows(url, past, 50 * DAY, 50 * DAY, claim["claim_id"])
    rows(url, "UPDATE shared_quota SET used = used - %s WHERE kind IN ('hour', 'day')", AMOUNT)
    day = value(url, "SELECT id FROM reservation WHERE kind = 'day' AND claim_id = %s", claim["claim_id"])
    rows(url, "INSERT INTO shared_quota VALUES ('day', %s, 'CNY', 0, 9900, 9900, 4900)", day)
    with psycopg.connect(url) as connection:
        assert forget_old(connection, value(url, "SELECT extract(epoch FROM now())::bigint * 1000000")) == 1
    assert value(url, "SELECT count(*) FROM shared_quota") == 5
    assert all_well(url)


def test_a_machine_whose_clock_is_ahead_does_not_free_the_present_hour_and_day(own_service: Service) -> None:
    approved(own_service.api)
    with psycopg.connect(own_service.url) as connection:
        assert forget_old(connection, microseconds(own_service.parts.service.clock()) + 60 * DAY) == 0
    assert all_well(own_service.url)


# --- trust -------------------------------------------------------------------------------------------------------


def step(decision: dict[str, Any]) -> tuple[str, int]:
    """The buyer's step and limit."""
    quota = next(quota for quota in decision["quotas"] if quota["party"] == "buyer")
    return quota["step"], quota["limit"]


def orders_of(claim: dict[str, Any], count: int) -> list[dict[str, Any]]:
    return [an_order(buyer_id=claim["buyer"]["buyer_id"], amount=20_000) for _ in range(count)]


def test_a_buyers_quota_grows_with_what_went_well_and_falls_after_a_loss(quick: Api) -> None:
    first = approved(quick)
    buyer = {"buyer": first["buyer"]}
    assert step(quick.read(first["claim_id"])) == ("new", 50_000)
    quick.tell(*orders_of(first, 12))
    second = approved(quick, **buyer)
    assert step(quick.read(second["claim_id"])) == ("known", 200_000)
    quick.tell(a_label(first["claim_id"], "legitimate"), a_label(second["claim_id"], "legitimate"))
    third = going_back(quick, **buyer)
    assert step(quick.read(third["claim_id"])) == ("trusted", 600_000)
    quick.tell(overdue(third))
    fourth = a_claim(**buyer)
    decision = quick.decide(fourth)
    assert step(decision) == ("new", 50_000)
    assert next(quota for quota in decision["quotas"] if quota["party"] == "buyer")["used"] == AMOUNT
    quick.tell(received(third))
    assert step(quick.decide(a_claim(**buyer))) == ("trusted", 600_000)


def test_abuse_in_a_claim_that_a_person_decided_lowers_the_step_as_well(quick: Api) -> None:
    reviewed = a_claim(evidence=[])
    quick.tell(*orders_of(reviewed, 3))
    assert step(quick.decide(reviewed)) == ("known", 200_000)
    quick.tell(a_label(reviewed["claim_id"], "abuse"))
    assert step(quick.decide(a_claim(buyer=reviewed["buyer"]))) == ("new", 50_000)


def test_the_answer_says_what_the_parties_have_in_use_and_a_review_reserves_nothing(quick: Api) -> None:
    claim = approved(quick)
    again = merged(claim, {"claim_id": unique("claim"), "order": {"order_id": unique("order"), "paid_amount": 60_000}})
    fits = quick.decide(again | {"amount": 45_100})
    assert fits["quotas"][0] == {"party": "buyer", "step": "new", "limit": 50_000, "used": 4_900, "reserved": 45_100}
    assert [(quota["party"], quota["used"], quota["reserved"]) for quota in fits["quotas"][1:]] == [
        ("device", 4_900, 45_100), ("address", 4_900, 45_100), ("payment", 4_900, 45_100),
    ]  # fmt: skip
    assert (fits["gates"][-1]["gate"], fits["gates"][-1]["passed"]) == ("quota", True)
    full = quick.decide(merged(again, {"claim_id": unique("claim"), "amount": 1, "order": {"order_id": unique("order")}}))
    assert failed(full) == ["quota"]
    assert full["gates"][-1]["detail"] == "buyer (new): 1 asked, 50000 of 50000 in use"
    assert {quota["reserved"] for quota in full["quotas"]} == {0}


# --- computed again ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("break_it", "table"),
    [
        ("UPDATE party_quota SET used = used + 1 WHERE id = %s", "party_quota"),
        ("UPDATE party_quota SET settled = 3 WHERE id = %s", "party_quota"),
        ("UPDATE party_quota SET lost_at = 5 WHERE id = %s", "party_quota"),
        ("DELETE FROM party_quota WHERE id = %s", "party_quota"),
        ("UPDATE shared_quota SET used = used + 1 WHERE id = (SELECT merchant_id FROM past WHERE buyer_id = %s LIMIT 1)", "shared_quota"),
        ("UPDATE shared_quota SET share = dealt + 1 WHERE id = (SELECT merchant_id FROM past WHERE buyer_id = %s LIMIT 1)", "shares"),
        ("UPDATE shared_quota SET used = used + 9 WHERE kind = 'day' AND slot = 0 AND %s <> ''", "clocked"),
        ("DELETE FROM shared_quota WHERE kind = 'hour' AND %s <> ''", "clocked"),
        ("DELETE FROM shared_quota WHERE id = (SELECT merchant_id FROM past WHERE buyer_id = %s LIMIT 1)", "shared_quota"),
        ("UPDATE order_account SET approved = 7 WHERE buyer_id = %s", "order_account"),
        ("UPDATE order_account SET waiting = 7 WHERE buyer_id = %s", "order_account"),
        ("UPDATE order_account SET charged_back = 7 WHERE buyer_id = %s", "order_account"),
        ("INSERT INTO release SELECT claim_id, 'settled', 0, 'time', 0 FROM past WHERE buyer_id = %s", "release"),
    ],
)
def test_a_planted_difference_is_found_and_mended(
    careful: Service, quick: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], break_it: str, table: str
) -> None:
    claim = approved(quick)
    assert all_well(careful.url)
    rows(careful.url, break_it, claim["buyer"]["buyer_id"])
    found = account(careful.url).differences
    assert table in {difference.table for difference in found}
    monkeypatch.setenv("DATABASE_URL", careful.url)
    assert main(["reconcile"]) == 1
    out, err = capsys.readouterr()
    assert table in out and "stored" in out
    assert "differ" in err
    assert main(["reconcile", "--mend"]) == 0
    assert "0 differences" in capsys.readouterr().out
    assert all_well(careful.url)
    assert balance(careful, claim) == OPEN
    # Its merchant's quota goes on.
    assert quick.decide(merged(a_claim(), {"merchant": claim["merchant"]}))["decision"] == "approve"
    assert all_well(careful.url)


@pytest.mark.parametrize("broken", ["UPDATE party_quota SET used = 0 WHERE id = ANY(%s)", "DELETE FROM party_quota WHERE id = ANY(%s)"])
def test_what_became_of_an_approval_is_mended_although_its_balances_are_too_low_to_be_freed(
    careful: Service, quick: Api, broken: str
) -> None:
    claim = approved(quick)
    quick.tell(a_label(claim["claim_id"], "legitimate"))
    rows(careful.url, "DELETE FROM release WHERE claim_id = %s", claim["claim_id"])
    rows(careful.url, broken, [claim["buyer"]["buyer_id"], claim["device"]["device_id"]])
    with psycopg.connect(careful.url, autocommit=True) as connection:
        mend(connection, account(careful.url), 0)
    assert balance(careful, claim) == SETTLED
    assert all_well(careful.url)


@pytest.mark.parametrize("table", ["party_quota", "shared_quota"])
def test_a_balance_that_is_too_low_keeps_neither_events_nor_time_from_freeing_others(own_service: Service, table: str) -> None:
    api, url = own_service.api, own_service.url
    broken, told, due = (approved(api) for _ in range(3))
    rows(url, f"UPDATE {table} SET used = 5 WHERE id = ANY(%s)", [broken["buyer"]["buyer_id"], broken["merchant"]["merchant_id"]])
    api.tell(a_label(told["claim_id"], "legitimate"), a_label(broken["claim_id"], "legitimate"))
    assert time_passes(own_service, broken, due) == 2
    assert [balance(own_service, claim) for claim in (told, due)] == [SETTLED, SETTLED]
    with psycopg.connect(url, autocommit=True) as connection:
        mend(connection, account(url), 0)
    assert all_well(url)


def test_what_waits_for_a_person_and_what_the_bank_took_back_are_computed_again(careful: Service, quick: Api) -> None:
    purchase = {part: a_claim()[part] for part in ("buyer", "merchant", "order")}
    first, second = (a_claim(**purchase, evidence=[], amount=amount) for amount in (300, 500))
    for claim in (first, second, a_claim(**purchase, amount=70)):
        quick.decide(claim)
    quick.tell(an_outcome(first["claim_id"], "refused"), an_event("chargeback", order_id=first["order"]["order_id"], amount=100))
    order = "SELECT approved, waiting, charged_back FROM order_account WHERE order_id = %s"
    expected = rows(careful.url, order, first["order"]["order_id"])
    assert expected == [(70, 500, 100)]
    assert all_well(careful.url)
    rows(careful.url, "UPDATE order_account SET approved = 1, waiting = 2, charged_back = 3 WHERE order_id = %s", first["order"]["order_id"])
    found = account(careful.url)
    assert {difference.what for difference in found.differences} == {"approved", "waiting", "charged_back"}
    with psycopg.connect(careful.url, autocommit=True) as connection:
        mend(connection, found, 0)
    assert rows(careful.url, order, first["order"]["order_id"]) == expected
    assert all_well(careful.url)


def everything(url: str, claims: list[dict[str, Any]]) -> Account:
    """As if every balance and order of these claims, and what became of them, differed."""
    names = [claim["claim_id"] for claim in claims]
    quotas = "(SELECT kind, id, currency, slot FROM reservation WHERE claim_id = ANY(%s)) AS reserved"
    keys = {
        "party_quota": f"SELECT DISTINCT kind, id, currency FROM {quotas} WHERE kind IN ('buyer', 'device', 'address', 'payment')",
        "shared_quota": f"SELECT DISTINCT kind, id, currency, slot FROM {quotas} WHERE kind IN ('merchant', 'guarantee')",
        "clocked": f"SELECT DISTINCT kind, id, currency FROM {quotas} WHERE kind IN ('hour', 'day')",
        "shares": f"SELECT DISTINCT kind, id, currency FROM {quotas} WHERE kind IN ('merchant', 'hour')",
        "order_account": "SELECT order_id FROM decision WHERE claim_id = ANY(%s)",
        "release": "SELECT claim_id FROM decision WHERE settles_at IS NOT NULL AND claim_id = ANY(%s)",
    }
    return Account(0, 0, tuple(Difference(table, key, "", 0, 1) for table, query in keys.items() for key in rows(url, query, names)))


def test_mending_everything_beside_a_running_service_harms_nothing(scarce: Server) -> None:
    stop, device, mended = threading.Event(), unique("device"), [0]
    claims = ring(11, 80, device={"device_id": device}, merchant={"merchant_id": unique("merchant")})

    def mend_all() -> None:
        while not stop.is_set():
            with psycopg.connect(scarce.url, autocommit=True) as connection:
                mend(connection, everything(scarce.url, claims), microseconds(datetime.now(UTC)))
            mended[0] += 1

    def work(number: int) -> list[int]:
        answers = [scarce.api.post("/v1/claims", claims[number])]
        if answers[0].json.get("decision") == "approve":
            events = [a_label(claims[number]["claim_id"], random.Random(number).choice(("legitimate", "undecided")))]
            answers.append(scarce.api.post("/v1/events", {"events": events}))
        return [answer.status for answer in answers]

    mender = threading.Thread(target=mend_all)
    mender.start()
    try:
        statuses = at_once(work, len(claims), threads=8)
    finally:
        stop.set()
        mender.join()
    assert {status for found in statuses for status in found} == {200}
    assert mended[0] > 1
    used = value(scarce.url, "SELECT used FROM party_quota WHERE kind = 'device' AND id = %s", device)
    assert 0 < used <= LIMITS["device"]
    assert all_well(scarce.url)
    assert "deadlock" not in scarce.log


def test_reconciling_a_running_service_finds_nothing(scarce: Server) -> None:
    stop = threading.Event()
    found: list[Account] = []

    def watch() -> None:
        while not stop.is_set():
            found.append(account(scarce.url))

    watcher = threading.Thread(target=watch)
    watcher.start()
    claims = ring(9, 60, **everywhere("device", unique("device")))
    try:
        at_once(lambda number: scarce.api.post("/v1/claims", claims[number]), len(claims))
    finally:
        stop.set()
        watcher.join()
    assert found
    assert all(one.differences == () for one in found)


def test_decisions_from_before_there_were_quotas_reserve_nothing(careful: Service, quick: Api) -> None:
    claim = approved(quick)
    with psycopg.connect(careful.url) as connection:
        connection.execute("UPDATE decision SET settles_at = NULL WHERE claim_id = %s", (claim["claim_id"],))
        connection.commit()
    with psycopg.connect(careful.url, autocommit=True) as connection:
        mend(connection, account(careful.url), 0)
    assert balance(careful, claim) == FREE
    quick.tell(a_label(claim["claim_id"], "abuse"))
    assert balance(careful, claim) == FREE
    assert all_well(careful.url)
