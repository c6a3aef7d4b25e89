"""Quotas as pure values: steps, limits, the gate, the dealing of shares, and what became of an approval."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.promise.appetite import load_appetite
from risk.promise.quota import (
    KINDS,
    OPEN,
    Balance,
    Balances,
    Fate,
    Room,
    Told,
    deal,
    fate_of,
    limits_of,
    quota_gate,
    rooms_of,
    share_of,
    shared_ids,
    step_of,
    weight,
)

APPETITE = load_appetite()
NOW = 1_795_000_000_000_000
DAY = 86_400_000_000


def a_step(**known: Any) -> str:
    """The step of a buyer who would be trusted, but for what is changed."""
    trusted = {"orders": 12, "spent": 200_000, "settled": 2, "account_days": 180.0, "lost_at": None, "abuse": 0, "now": NOW}
    return step_of(APPETITE, **(trusted | known)).name


@pytest.mark.parametrize(
    ("known", "step"),
    [
        ({}, "trusted"),
        ({"settled": 1}, "known"),
        ({"orders": 11}, "known"),
        ({"spent": 199_999}, "known"),
        ({"spent": 12}, "new"),
        ({"account_days": 179.9}, "known"),
        ({"orders": 2}, "new"),
        ({"account_days": 29.9}, "new"),
        ({"orders": 3, "settled": 0, "account_days": 30.0}, "known"),
        ({"lost_at": NOW}, "new"),
        ({"lost_at": NOW - 180 * DAY + 1}, "new"),
        ({"lost_at": NOW - 180 * DAY}, "trusted"),
        ({"abuse": 1}, "new"),
        ({"abuse": -1}, "trusted"),
    ],
)
def test_a_buyer_stands_on_the_last_step_whose_conditions_hold_and_on_the_first_after_a_loss(known: dict[str, Any], step: str) -> None:
    assert a_step(**known) == step


def test_the_buyers_limit_is_that_of_the_step_and_the_others_are_the_appetites() -> None:
    limits = limits_of(APPETITE, "CNY", APPETITE.trust.step[1])
    assert {*limits} == {*KINDS}
    assert (limits["buyer"], limits["device"], limits["hour"]) == (200_000, 800_000, 50_000_000)
    assert limits_of(APPETITE, "JPY", APPETITE.trust.step[1]) == {}


def test_hours_and_days_are_those_of_utc() -> None:
    ids = shared_ids("m", None, 1_795_816_799_999_999)
    assert ids == {"merchant": "m", "guarantee": None, "hour": "2026-11-27T21", "day": "2026-11-27"}
    assert shared_ids("m", None, 1_795_816_800_000_000)["hour"] == "2026-11-27T22"


def test_a_claim_occupies_no_quota_of_a_party_that_it_does_not_name() -> None:
    step = APPETITE.trust.step[0]
    balances = Balances({"buyer": Balance(used=7), "device": Balance(used=9)}, {("merchant", "m"): 5, ("merchant", "other"): 6})
    ids = {"buyer": "b", "device": None, "payment": "p", "merchant": "m", "hour": "h"}
    rooms = rooms_of(limits_of(APPETITE, "CNY", step), ids, balances, step)
    assert [(room.kind, room.used, room.step) for room in rooms] == [
        ("buyer", 7, "new"), ("payment", 0, None), ("merchant", 5, None), ("hour", None, None),
    ]  # fmt: skip


def test_what_could_not_be_read_is_not_said_to_be_nothing() -> None:
    step = APPETITE.trust.step[0]
    rooms = rooms_of(limits_of(APPETITE, "CNY", step), {"buyer": "b"}, Balances(parties=None), step)
    assert [(room.kind, room.used) for room in rooms] == [("buyer", None)]


@pytest.mark.parametrize(("used", "passed"), [(0, True), (90, True), (91, False), (200, False)])
def test_the_gate_lets_pass_exactly_what_has_room_in_every_quota(used: int, passed: bool) -> None:
    rooms = [Room("buyer", "b", 1_000, 0, "known"), Room("device", "d", 100, used), Room("hour", "h", 50, None)]
    gate = quota_gate(rooms, 10)
    assert (gate.gate, gate.passed) == ("quota", passed)
    assert gate.detail == f"device: 10 asked, {used} of 100 in use"


def test_the_gate_names_the_step_of_the_buyer() -> None:
    assert quota_gate([Room("buyer", "b", 200_000, 12_000, "known")], 19_500).detail == (
        "buyer (known): 19500 asked, 12000 of 200000 in use"
    )


def test_without_a_quota_in_the_currency_nothing_passes() -> None:
    gate = quota_gate([Room("buyer", "b", None, 0, "new"), Room("hour", "h", None, None)], 1)
    assert (gate.passed, gate.detail) == (False, "buyer (new): no quota in this currency")
    assert not quota_gate([Room("buyer", "b", 10, 0, "new"), Room("hour", "h", None, None)], 1).passed


# --- dealing -----------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**15), st.integers(1, 40))
def test_first_shares_are_the_limit_together(limit: int, slots: int) -> None:
    assert sum(share_of(limit, slot, slots) for slot in range(slots)) == limit


@given(
    st.integers(1, 10**6), st.lists(st.integers(0, 10**5), min_size=1, max_size=20), st.integers(1, 10**5), st.integers(0, 10**6),
    st.data(),
)  # fmt: skip
def test_what_is_dealt_is_the_limit_and_has_room_for_the_asker_and_for_what_is_in_use(
    limit: int, used: list[int], amount: int, scarce: int, data: st.DataObject
) -> None:
    slot = data.draw(st.integers(0, len(used) - 1))
    dealt = deal(limit, used, slot, amount, scarce)
    if sum(used) + amount > limit:
        assert dealt is None
        return
    assert dealt is not None
    assert sum(dealt.shares) == limit
    assert all(share >= taken for share, taken in zip(dealt.shares, used, strict=True))
    assert dealt.shares[dealt.slot] >= used[dealt.slot] + amount
    together = limit - sum(used) < scarce
    assert dealt.slot == (0 if together else slot)
    assert not together or dealt.shares[1:] == used[1:]


# --- what became of an approval ----------------------------------------------------------------------------------

STAYS = Told(amount=1_000, comes_back=False, due=False)
BACK = replace(STAYS, comes_back=True)


@pytest.mark.parametrize(
    ("told", "state", "lost"),
    [
        (STAYS, "open", 0),
        (replace(STAYS, due=True), "settled", 0),
        (BACK, "open", 0),
        (replace(BACK, due=True), "lost", 1_000),
        (replace(BACK, due=True, back=True), "settled", 0),
        (replace(BACK, back=True), "open", 0),
        (replace(BACK, back=True, returned=True), "settled", 0),
        (replace(BACK, due=True, back=True, returned=True, late=True), "recovered", 0),
        (replace(BACK, overdue=True), "lost", 1_000),
        (replace(BACK, overdue=True, back=True, returned=True), "recovered", 0),
        (replace(BACK, overdue=True, back=True), "lost", 1_000),
        (replace(STAYS, label="legitimate"), "settled", 0),
        (replace(BACK, label="legitimate"), "open", 0),
        (replace(BACK, label="legitimate", due=True), "lost", 1_000),
        (replace(BACK, label="legitimate", back=True), "settled", 0),
        (replace(BACK, outcome="approved", paid=1_000, back=True), "open", 0),
        (replace(STAYS, label="undecided"), "open", 0),
        (replace(STAYS, label="abuse", due=True), "lost", 1_000),
        (replace(BACK, label="abuse", back=True, returned=True), "lost", 1_000),
        (replace(STAYS, label="abuse", recovered=400), "lost", 600),
        (replace(STAYS, label="abuse", recovered=1_000), "recovered", 0),
        (replace(STAYS, recovered=400), "open", 0),
        (replace(STAYS, recovered=1_200), "recovered", 0),
        (replace(STAYS, charged_back=True, due=True), "lost", 1_000),
        (replace(STAYS, outcome="refused", paid=1_000), "lost", 1_000),
        (replace(STAYS, outcome="part", paid=300), "lost", 700),
        (replace(STAYS, outcome="part", paid=300, due=True, recovered=700), "recovered", 0),
        (replace(STAYS, outcome="approved", paid=1_000), "open", 0),
        (replace(BACK, outcome="approved", paid=1_000), "open", 0),
        (replace(STAYS, outcome="withdrawn", paid=1_000), "recovered", 0),
        (replace(BACK, outcome="withdrawn", paid=1_000, due=True), "recovered", 0),
        (replace(BACK, outcome="withdrawn", paid=1_000, due=True, overdue=True), "lost", 1_000),
    ],
)
def test_what_became_of_an_approval(told: Told, state: str, lost: int) -> None:
    fate = fate_of(told)
    assert (fate.state, fate.lost) == (state, lost)
    assert (fate.cause is None) == (fate == OPEN)


def test_an_open_approval_occupies_everything_and_a_lost_one_its_parties_alone() -> None:
    of = {state: weight(Fate(state, lost), 1_000) for state, lost in (("open", 0), ("settled", 0), ("lost", 400), ("recovered", 0))}  # type: ignore[arg-type]
    assert {state: (w.used, w.lost, w.settled, w.shared) for state, w in of.items()} == {
        "open": (1_000, 0, 0, 1_000), "settled": (0, 0, 1, 0), "lost": (400, 400, 0, 0), "recovered": (0, 0, 0, 0),
    }  # fmt: skip
