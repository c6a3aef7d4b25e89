"""Cover in the decision: what a guarantee pays is paid at once, and whatever else is asked for goes to a person."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from risk.gates import load_rules
from risk.policy.definition import load_policies
from tests.conftest import Service
from tests.service import Api, Server, a_claim, an_outcome, at_once, failed, rows, stamp, unique, value


def of(answer: dict[str, Any], guarantee: str) -> dict[str, Any]:
    """What an answer says of one guarantee."""
    found: dict[str, Any] = next(cover for cover in answer["cover"] if cover["guarantee"] == guarantee)
    return found


def skincare(days: float, **changes: Any) -> dict[str, Any]:
    """An allergic reaction to cosmetics so many days after sign-for."""
    claim = a_claim(
        reason="allergy",
        remedy="return_and_refund",
        amount=149_000,
        merchant={"guarantees": ["beauty_allergy"]},
        order={"paid_amount": 149_000, "paid_at": stamp(days=days + 4), "shipped_at": stamp(days=days + 3),
               "delivered_at": stamp(days=days)},
        items=[{"item_id": unique("item"), "category": "beauty.skincare"}],
        return_parcel={"shipped_at": stamp(hours=3)},
    )  # fmt: skip
    return claim | changes


def freight(order: dict[str, Any] | None = None, number: str | None = None, **changes: Any) -> dict[str, Any]:
    """The freight of a return, insured."""
    claim = a_claim(
        reason="return_freight", remedy="freight", amount=1_200,
        merchant={"guarantees": ["freight_insurance"]},
        return_parcel={"shipped_at": stamp(hours=3), "tracking_number": number or unique("parcel")},
        evidence=[{"evidence_id": unique("scan"), "kind": "parcel_scan"}],
    )  # fmt: skip
    return claim | ({"order": order} if order else {}) | changes


def test_an_allergy_on_day_29_is_covered_in_full_and_on_day_61_it_is_not(api: Api) -> None:
    answer = api.decide(skincare(29))
    assert (answer["decision"], answer["approved_amount"], answer["guarantee"]) == ("approve", 149_000, "beauty_allergy")
    cover = of(answer, "beauty_allergy")
    assert (cover["status"], cover["max_amount"], cover["needs"]) == ("covered", 149_000, [])
    late = api.decide(skincare(62))
    cover = of(late, "beauty_allergy")
    assert (late["decision"], cover["status"], cover["clause"]) == ("review", "not_covered", "beauty_allergy/window")
    assert "60 days" in cover["text"]["en"]
    assert "60天" in cover["text"]["zh"]


def test_the_goods_have_to_be_on_their_way_back_and_the_answer_says_what_is_missing(api: Api) -> None:
    answer = api.decide(skincare(29, return_parcel=None))
    assert failed(answer) == ["express"]
    assert any("return_parcel/shipped_at" in need for need in answer["needs"])


@pytest.mark.parametrize(("minutes", "status"), [(23 * 60 + 59, "covered"), (24 * 60 + 1, "not_covered")])
def test_spoiled_fresh_goods_are_paid_within_24_hours_and_their_general_right_is_named_after(
    api: Api, minutes: int, status: str
) -> None:
    delivered = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()
    answer = api.decide(a_claim(reason="spoiled", order={"delivered_at": delivered}))
    assert of(answer, "fresh_spoilage")["status"] == status
    assert of(answer, "quality_right")["status"] == "covered"
    assert (answer["decision"] == "approve") == (status == "covered")


def test_what_is_not_proven_is_asked_for_exactly(api: Api) -> None:
    answer = api.decide(a_claim(evidence=[]))
    assert answer["needs"] == ["evidence/photo|evidence/video"]
    assert failed(answer)[0] == "cover"
    assert "a photo or a video" in of(answer, "fresh_spoilage")["text"]["en"]


def test_a_part_that_is_spoiled_is_paid_by_its_band_and_more_goes_to_a_person(api: Api) -> None:
    within = api.decide(a_claim(affected_share=0.3, amount=2_970))
    assert (within["decision"], of(within, "fresh_spoilage")["max_amount"]) == ("approve", 2_970)
    assert failed(api.decide(a_claim(affected_share=0.3, amount=2_971))) == ["cover_amount"]


def test_each_item_is_paid_under_its_own_guarantee(api: Api) -> None:
    claim = a_claim(
        reason="damaged", amount=9_000, order={"paid_amount": 20_000},
        merchant={"guarantees": ["fresh_spoilage", "damage_return"]},
        items=[{"item_id": "fruit", "category": "food.fresh.fruit", "unit_price": 5_000},
               {"item_id": "bowl", "category": "home.kitchen", "unit_price": 4_000}],
    )  # fmt: skip
    answer = api.decide(claim)
    assert answer["decision"] == "approve"
    assert failed(api.decide(claim | {"claim_id": unique("claim"), "amount": 9_001, "order": a_claim()["order"]}))[0] == "cover_amount"


def test_what_exactly_the_policy_said_is_frozen_beside_its_version(server: Server) -> None:
    claim = a_claim()
    server.api.decide(claim)
    frozen = "SELECT policy_version, rules_version FROM decision WHERE claim_id = %s"
    (row,) = rows(server.url, frozen, claim["claim_id"])
    assert row == ("cn-2026-02", f"{load_rules().version}, policy {load_policies().all[-1].digest}")


def test_the_policy_of_the_purchase_is_named(api: Api) -> None:
    assert api.decide(a_claim())["policy_version"] == "cn-2026-02"
    old = stamp(days=3_000)
    answer = api.decide(a_claim(order={"paid_at": old, "shipped_at": old, "delivered_at": old}))
    assert (answer["policy_version"], answer["cover"], answer["guarantee"]) == ("none", [], None)
    assert "no policy was valid at purchase" in answer["gates"][5]["detail"]


def test_goods_that_the_policy_does_not_know_are_named_and_the_rest_is_decided(api: Api) -> None:
    item = [{"item_id": unique("item"), "category": "zzz"}]
    answer = api.decide(a_claim(items=item))
    assert (answer["decision"], of(answer, "fresh_spoilage")["status"]) == ("review", "unproven")
    assert "not relied on: unknown category zzz" in answer["gates"][5]["detail"]
    late = api.decide(a_claim(reason="not_received", items=item, order={"delivered_at": None, "promised_by": stamp(days=1)}))
    assert (late["decision"], late["guarantee"]) == ("approve", "late_or_lost_delivery")


def test_freight_is_paid_once_for_an_order_and_once_for_a_parcel(api: Api) -> None:
    first = freight()
    assert api.decide(first)["decision"] == "approve"
    number = first["return_parcel"]["tracking_number"]
    again = [freight(first["order"], merchant=first["merchant"], buyer=first["buyer"]), freight(number=number)]
    for claim in again:
        answer = api.decide(claim)
        assert (answer["decision"], of(answer, "freight_insurance")["clause"]) == ("review", "freight_insurance/single_use")


@pytest.mark.parametrize("spelt", ["sf{}", "SF {}", "SF-{}", " sf{} ", "ＳＦ{}"])
def test_a_parcel_is_the_same_however_its_number_is_spelt(api: Api, spelt: str) -> None:
    digits = unique("").replace("-", "")
    assert api.decide(freight(number=f"SF{digits}"))["decision"] == "approve"
    assert api.decide(freight(number=spelt.format(digits)))["decision"] == "review"


def test_freight_that_a_person_paid_is_not_paid_again(api: Api) -> None:
    waits = freight(amount=2_600)
    assert api.decide(waits)["decision"] == "review"
    api.tell(an_outcome(waits["claim_id"], outcome="part", amount=2_500))
    again = api.decide(freight(number=waits["return_parcel"]["tracking_number"]))
    assert of(again, "freight_insurance")["clause"] == "freight_insurance/single_use"


def test_freight_that_waits_for_a_person_is_not_paid_at_once_beside_it(api: Api) -> None:
    waits = freight(evidence=[])
    assert api.decide(waits)["decision"] == "review"
    number = waits["return_parcel"]["tracking_number"]
    assert of(api.decide(freight(number=number)), "freight_insurance")["clause"] == "freight_insurance/single_use"
    api.tell(an_outcome(waits["claim_id"], outcome="approved"))
    assert api.decide(freight(number=number))["decision"] == "review"


def test_freight_that_was_refused_may_be_claimed_again_with_what_was_missing(api: Api) -> None:
    waits = freight(evidence=[])
    api.decide(waits)
    api.tell(an_outcome(waits["claim_id"], outcome="withdrawn"))
    assert api.decide(freight(number=waits["return_parcel"]["tracking_number"]))["decision"] == "approve"


def test_many_claims_for_one_parcel_at_once_are_paid_once(server: Server) -> None:
    number = unique("parcel")
    claims = [freight(number=number) for _ in range(24)]
    answers = at_once(lambda n: server.api.decide(claims[n]), 24)
    assert sum(answer["decision"] == "approve" for answer in answers) == 1
    assert value(server.url, "SELECT count(*) FROM taken_once WHERE id = %s", number.replace("-", "").upper()) == 1


def test_a_cover_that_cannot_be_worked_out_sends_the_claim_to_a_person(
    own_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: Any) -> None:
        raise ArithmeticError

    monkeypatch.setattr("risk.decision.judge_whole", broken)
    answer = own_service.api.decide(a_claim())
    assert (answer["decision"], failed(answer)[0], answer["cover"]) == ("review", "bundle", [])
    assert answer["gates"][0]["detail"] == "the claim could not be judged: ArithmeticError"


def test_freight_is_the_insurers_money_and_leaves_the_order_alone(api: Api) -> None:
    first = a_claim(amount=9_900)
    assert api.decide(first)["decision"] == "approve"
    paid = api.decide(freight(first["order"], merchant=first["merchant"] | {"guarantees": ["freight_insurance"]}, buyer=first["buyer"]))
    assert (paid["decision"], paid["approved_amount"], paid["quota"]["reserved"]) == ("approve", 1_200, 0)


def test_an_order_that_was_not_shipped_is_paid_back_before_anything_else(api: Api) -> None:
    claim = a_claim(reason="no_reason", order={"shipped_at": None, "delivered_at": None}, evidence=[])
    answer = api.decide(claim)
    assert (answer["decision"], answer["guarantee"]) == ("approve", "express_refund")
