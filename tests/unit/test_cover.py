"""What holds for every claim, whatever it says: proof never hurts, time never helps, no money twice."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from risk.claim import microseconds
from risk.policy.calendar import HOUR
from risk.policy.cover import PLACES, Cover, Goods, Judgement, Request, judge, judge_whole
from risk.policy.definition import MOMENTS, Policy, load_policies
from risk.vocabulary import EVIDENCE_KINDS, GUARANTEES, REASONS, REMEDIES
from tests.scenario import Scenario, scenarios

POLICIES = load_policies().all
RANK = {"not_covered": 0, "unproven": 1, "covered": 2}
PAID = microseconds(datetime(2026, 3, 1, 2, tzinfo=UTC))
DAY = 24 * HOUR
CATEGORIES = ("food.fresh.fruit", "food.fresh.live", "food.dry", "beauty.skincare", "clothing", "electronics.phone", "home.cup",
              "digital", "custom", "print.periodical", "other", "antiques", None)  # fmt: skip
flags = st.sampled_from((None, False, True))
promises = st.none() | st.frozensets(st.sampled_from(GUARANTEES))
goods = st.builds(
    Goods, item_id=st.just(""), category=st.sampled_from(CATEGORIES), value=st.none() | st.integers(0, 60_000), promises=promises,
    opened=flags, no_return_confirmed=flags, intact=flags,
    affected_share=st.none() | st.floats(0, 1) | st.sampled_from((0.0, 0.1, 0.3, 0.5, 0.7, 1.0)),
)  # fmt: skip
# Mostly a course of things that can be true: each moment some time after the one before.
steps = st.none() | st.integers(0, 9 * DAY) | st.integers(0, 80 * DAY)


@st.composite
def requests(draw: Any) -> Request:
    moments: dict[str, int | None] = dict.fromkeys(MOMENTS)
    moments["paid_at"] = at = PAID
    for name in ("shipped_at", "delivered_at", "return_shipped_at"):
        step = draw(steps)
        moments[name] = None if step is None else at + step
        at += step or 0
    for name in ("promised_by", "lost_at", "intercepted_at", "return_picked_up_at"):
        step = draw(st.none() | st.none() | st.integers(-2 * DAY, 20 * DAY))
        moments[name] = None if step is None else PAID + step
    lines = tuple(replace(one, item_id=f"item {place}") for place, one in enumerate(draw(st.lists(goods, min_size=1, max_size=3))))
    return Request(
        reason=draw(st.sampled_from(REASONS)), remedy=draw(st.sampled_from(REMEDIES)), amount=draw(st.integers(1, 90_000)),
        currency=draw(st.sampled_from((None, "CNY", "CNY", "CNY", "EUR"))), submitted_at=at + draw(st.integers(-HOUR, 90 * DAY)),
        moments=moments, goods=lines, evidence=draw(st.frozensets(st.sampled_from(EVIDENCE_KINDS))), promises=draw(promises),
        freight=draw(st.none() | st.integers(0, 2_000)), left=draw(st.none() | st.integers(-100, 90_000)),
        used=draw(st.frozensets(st.sampled_from(("order", "tracking_number")))), tracking_number=draw(st.none() | st.just("SF1")),
    )  # fmt: skip


policies = st.sampled_from(POLICIES)
many = settings(deadline=None, max_examples=250, derandomize=True)


def by_code(judgement: Judgement) -> dict[str, Cover]:
    return {cover.guarantee: cover for cover in judgement.covers}


def never_worse(policy: Policy, less: Request, more: Request) -> None:
    before, after, remedy = judge(policy, less), judge(policy, more), less.remedy
    later = by_code(after)
    for code, cover in by_code(before).items():
        assert RANK[later[code].status] >= RANK[cover.status], code
        if cover.status == "covered":
            assert later[code].max_amount >= cover.max_amount, code
    # Once something is paid at once, what waits for a person is no longer counted: only then may the sum be smaller.
    if pays_at_once(before, remedy) == pays_at_once(after, remedy):
        assert after.supported >= before.supported


def pays_at_once(judgement: Judgement, remedy: str) -> bool:
    assert judgement.policy is not None
    paying = [judgement.policy.guarantees[cover.guarantee] for cover in judgement.covers if cover.status == "covered"]
    return any(guarantee.at_once and guarantee.pays_money and remedy in guarantee.remedies for guarantee in paying)


@given(policies, requests(), st.integers(1, 60 * DAY))
@many
def test_a_later_claim_is_never_covered_more_where_only_windows_count(policy: Policy, request_: Request, later: int) -> None:
    # Time may also pass a promise or make a moment of the future true: those are facts that come, not windows that end.
    assume(all(moment is None or moment <= request_.submitted_at for moment in request_.moments.values()))
    never_worse(policy, replace(request_, submitted_at=request_.submitted_at + later), request_)


@given(policies, requests(), st.frozensets(st.sampled_from(EVIDENCE_KINDS)))
@many
def test_more_evidence_never_lowers_cover(policy: Policy, request_: Request, more: frozenset[str]) -> None:
    never_worse(policy, request_, replace(request_, evidence=request_.evidence | more))


@given(policies, requests())
@many
def test_facts_that_are_filled_in_without_contradiction_never_lower_cover(policy: Policy, request_: Request) -> None:
    # Nothing was opened, everything promised that somebody could have promised, a price and a number where none was told.
    whole = tuple(
        replace(
            one,
            opened=False if one.opened is None else one.opened,
            intact=True if one.intact is None else one.intact,
            no_return_confirmed=False if one.no_return_confirmed is None else one.no_return_confirmed,
            value=100 if one.value is None else one.value,
            affected_share=1.0 if one.affected_share is None else one.affected_share,
        )
        for one in request_.goods
    )
    told = replace(
        request_, goods=whole, promises=frozenset(GUARANTEES) if request_.promises is None else request_.promises,
        tracking_number="SF1", currency=request_.currency or "CNY",
    )  # fmt: skip
    # Promises told by one side settle the question for the other: only where neither spoke may both be filled in.
    assume(request_.promises is not None or all(one.promises is None for one in request_.goods))
    never_worse(policy, request_, told)


@given(policies, requests())
@many
def test_what_is_asked_for_is_what_was_missing(policy: Policy, request_: Request) -> None:
    """Handing in one place of each entry settles an unproven right: nothing else turns out to be missing."""
    for code, cover in by_code(judge(policy, request_)).items():
        # What is paid in another currency than the policy's stays unproven whatever is handed in.
        foreign = request_.currency == "EUR"
        assert bool(cover.needs) == (cover.status == "unproven") or (foreign and cover.status == "unproven")
        if cover.status != "unproven" or foreign or cover.guarantee == "express_refund":
            continue
        if any(place.endswith("/category") or place in PLACES.values() for need in cover.needs for place in need.split("|")):
            continue  # Which rules follow from a category or a moment depends on what it turns out to be.
        answered = by_code(judge(policy, _answered(request_, [need.split("|")[0] for need in cover.needs])))[code]
        assert answered.status == "covered", cover.needs


@given(policies, requests())
@many
def test_whoever_hands_in_what_is_needed_is_not_asked_for_it_again(policy: Policy, request_: Request) -> None:
    needs = [need.split("|") for need in judge(policy, request_).needs]
    handed_in = [places[0] for places in needs if not places[0].endswith("/category") and places[0] not in PLACES.values()]
    after = judge(policy, _answered(request_, handed_in))
    assert {place for need in after.needs for place in need.split("|")}.isdisjoint(handed_in)


def _answered(request_: Request, places: list[str]) -> Request:
    lines = list(request_.goods)
    for place in places:
        part, _, name = place.rpartition("/")
        if part.startswith("items/"):
            answer = {"opened": False, "unit_price": 100, "guarantees": frozenset(GUARANTEES)}[name]
            field = {"unit_price": "value", "guarantees": "promises"}.get(name, name)
            number = int(part.removeprefix("items/"))
            lines[number] = replace(lines[number], **{field: answer})
        elif part == "evidence":
            request_ = replace(request_, evidence=request_.evidence | {name})
        elif place == "affected_share":
            lines = [replace(one, affected_share=1.0 if one.affected_share is None else one.affected_share) for one in lines]
        else:
            assert place in ("merchant/guarantees", "return_parcel/tracking_number"), place
            change = {"promises": frozenset(GUARANTEES)} if part == "merchant" else {"tracking_number": "SF1"}
            request_ = replace(request_, **change)  # type: ignore[arg-type]
    return replace(request_, goods=tuple(lines))


@given(policies, requests(), st.lists(requests(), max_size=5), st.integers(0, 100_000))
@settings(many, max_examples=100)
def test_claim_after_claim_no_more_is_supported_than_was_paid(policy: Policy, first: Request, others: list[Request], paid: int) -> None:
    left = paid
    for one in [first, *others, first]:
        judgement = judge(policy, replace(one, left=left))
        assert 0 <= judgement.supported <= left
        assert all(0 <= cover.max_amount <= left for cover in judgement.covers)
        left -= judgement.supported
    assert left >= 0


@given(policies, requests(), st.randoms(use_true_random=False))
@many
def test_the_order_of_the_items_has_no_effect(policy: Policy, request_: Request, chance: Any) -> None:
    # Two items of one value may fail for different reasons: which of them is named is decided by the clause, not the place.
    places = list(range(len(request_.goods)))
    chance.shuffle(places)
    one, other = judge(policy, request_), judge(policy, replace(request_, goods=tuple(request_.goods[place] for place in places)))
    assert (one.supported, one.trigger, set(one.problems)) == (other.supported, other.trigger, set(other.problems))
    assert (one.best and one.best.guarantee) == (other.best and other.best.guarantee)
    for cover, same in zip(one.covers, other.covers, strict=True):
        assert (cover.guarantee, cover.status, cover.clause, cover.max_amount, cover.margin, dict(cover.by_item)) == (
            same.guarantee, same.status, same.clause, same.max_amount, same.margin, dict(same.by_item)
        )  # fmt: skip
        # A need names its item by place: put back where it was it is the same.
        back = {"|".join(_placed(place, places) for place in need.split("|")) for need in same.needs}
        assert set(cover.needs) == back


def _placed(place: str, places: list[int]) -> str:
    if not place.startswith("items/"):
        return place
    _, number, name = place.split("/")
    return f"items/{places[int(number)]}/{name}"


@given(policies, requests())
@many
def test_every_answer_is_one_that_can_be_read(policy: Policy, request_: Request) -> None:
    judgement = judge(policy, request_)
    for cover in judgement.covers:
        rank = {finding.holds for finding in cover.findings}
        assert (cover.deciding is None) == (cover.status == "covered")
        assert cover.clause == (cover.guarantee if cover.deciding is None else cover.deciding.clause)
        assert cover.clause.split("/")[0] == cover.guarantee
        assert cover.status != "not_covered" or (False in rank and cover.max_amount == 0 and not cover.by_item)
        assert cover.margin is None or policy.guarantees[cover.guarantee].window
        assert sum(cover.by_item.values()) >= cover.max_amount or cover.guarantee == "express_refund"
    assert judgement.supported <= sum(cover.max_amount for cover in judgement.covers if cover.status == "covered")
    assert judge(policy, request_) == judgement


def test_two_lines_of_one_item_are_both_paid() -> None:
    scenario = next(one for one in scenarios() if one.shows == "Two damaged items, freight once")
    same = replace(scenario.request, goods=tuple(replace(one, item_id="the same") for one in scenario.request.goods))
    assert judge(scenario.policy, same).supported == scenario.judgement.supported == 10_500


@pytest.mark.parametrize("cap", [1, 999, 3_500, 10_499, 10_500, 10_501])
def test_a_cap_holds_for_what_is_supported_and_is_shared_in_proportion(cap: int) -> None:
    scenario = next(one for one in scenarios() if one.shows == "Two damaged items, freight once")
    assert scenario.policy is not None
    guarantee = scenario.policy.guarantees["damage_return"]
    capped = guarantee.model_copy(update={"amount": guarantee.amount.model_copy(update={"most": cap})})
    fields = {name: getattr(scenario.policy, name) for name in Policy.model_fields}
    policy = Policy.model_validate(fields | {"guarantees": {"damage_return": capped}})
    judgement = judge(policy, scenario.request)
    assert min(cap, 10_500) - 2 <= judgement.supported <= cap
    assert sum(judgement.covers[0].by_item.values()) == judgement.covers[0].max_amount == judgement.supported


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.shows)
def test_leaving_a_guarantee_at_its_first_failing_rule_changes_no_answer(scenario: Scenario) -> None:
    thorough, quick = scenario.judgement, judge_whole(scenario.policy, scenario.request).within(scenario.request.left)

    def answers(judgement: Judgement) -> list[Cover]:
        kept = [cover if cover.status == "covered" else cover._replace(margin=None) for cover in judgement.covers]
        return [cover._replace(findings=()) for cover in kept]

    assert answers(quick) == answers(thorough)
    assert (quick.supported, quick.trigger, quick.problems) == (thorough.supported, thorough.trigger, thorough.problems)
    assert quick.needs == thorough.needs
