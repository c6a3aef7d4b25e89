"""What a cover says to the buyer and to a reviewer: never the opposite of what was found."""

import pytest

from risk.policy.cover import Cover
from risk.policy.definition import Exclusion, Policy
from risk.policy.texts import sentences, unmet
from tests.scenario import Scenario, scenarios


def of(shows: str, guarantee: str) -> tuple[Policy, Cover]:
    scenario = next(one for one in scenarios() if one.shows == shows)
    assert scenario.policy is not None
    return scenario.policy, next(cover for cover in scenario.judgement.covers if cover.guarantee == guarantee)


def test_what_a_failing_rule_asks_for_is_not_told_as_if_it_were_the_case() -> None:
    policy, cover = of("The shop did not promise it", "damage_return")
    assert sentences(policy, cover) == {
        "en": "Not covered by “Damaged goods taken back”, which asks for this: The shop promised to take damaged goods back.",
        "zh": "不符合“坏损包退”的要求：商家承诺坏损包退。",
    }
    assert unmet(cover) == "damage_return/promised: asks for this: The shop promised to take damaged goods back. (not promised)"


def test_an_exclusion_says_itself_what_speaks_against_the_claim() -> None:
    policy, cover = of("Custom-made goods are always excluded", "seven_day_return")
    assert sentences(policy, cover) == {
        "en": "Not covered by “Seven-day return”. Goods made to order cannot be returned without a reason.",
        "zh": "不在“七天无理由退货”范围内。定制商品不适用无理由退货。",
    }
    assert unmet(cover) == "seven_day_return/exclusion/1: Goods made to order cannot be returned without a reason. (category custom.engraved)"


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.shows)
def test_every_text_begins_with_what_was_found(scenario: Scenario) -> None:
    policy = scenario.policy
    for cover in scenario.judgement.covers:
        assert policy is not None
        text = sentences(policy, cover)["en"]
        rule = cover.deciding.rule if cover.deciding else None
        assert text.startswith("Not covered by") == (cover.status == "not_covered")
        assert text.startswith("Not proven yet") == (cover.status == "unproven")
        assert ("which asks for this: " in text) == (cover.status == "not_covered" and not isinstance(rule, Exclusion))


def test_money_in_advance_says_what_lets_it_go_out() -> None:
    covers = [(one.policy, cover) for one in scenarios() for cover in one.judgement.covers]
    advances = [(policy, cover) for policy, cover in covers if cover.guarantee == "express_refund" and cover.status == "covered"]
    assert advances
    for policy, cover in advances:
        assert policy is not None
        trigger = policy.triggers[cover.findings[0].fact]
        assert sentences(policy, cover) == {"en": f"Express refund: {trigger.en}", "zh": f"极速退款：{trigger.zh}"}
