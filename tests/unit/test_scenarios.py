"""What each guarantee pays, scenario by scenario: tests/scenarios/*.yaml, through a real claim."""

from collections import defaultdict
from typing import Any

import pytest

from risk.policy.cover import Cover
from risk.vocabulary import GUARANTEES
from tests.scenario import Scenario, scenarios

ALL = scenarios()
OF_THE_WHOLE = ("best", "supported", "trigger", "problems", "needs")


def told(cover: Cover | None) -> dict[str, Any]:
    if cover is None:
        return {"status": "not about it"}
    return {"status": cover.status, "clause": cover.clause, "max_amount": cover.max_amount, "needs": list(cover.needs)}


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: f"{scenario.file.removesuffix('.yaml')}: {scenario.shows}")
def test_scenario(scenario: Scenario) -> None:
    judgement = scenario.judgement
    covers = {cover.guarantee: cover for cover in judgement.covers}
    whole = {"best": judgement.best.guarantee if judgement.best else "none", "supported": judgement.supported,
             "trigger": judgement.trigger or "none", "problems": list(judgement.problems), "needs": list(judgement.needs)}  # fmt: skip
    wrong = []
    for name, expected in scenario.expect.items():
        if name in OF_THE_WHOLE:
            wanted, found = {name: expected}, whole
        else:
            assert name in GUARANTEES or name == "quality_right", f"no guarantee is called {name}"
            wanted = expected if isinstance(expected, dict) else {"status": expected}
            found = told(covers.get(name))
        wrong += [f"{name} {part}: expected {value!r}, is {found.get(part)!r}" for part, value in wanted.items() if found.get(part) != value]
    if wrong:
        findings = [f"  {one.clause}: {one.holds} ({one.fact})" for cover in judgement.covers for one in cover.findings]
        pytest.fail("\n".join([scenario.shows, *wrong, "judged by", *findings]), pytrace=False)


def test_there_are_enough_scenarios_and_no_two_show_the_same() -> None:
    assert len(ALL) >= 120
    assert len({(scenario.file, scenario.shows) for scenario in ALL}) == len(ALL)


def test_every_service_is_shown_with_every_answer_that_it_can_give() -> None:
    shown = defaultdict(set)
    for scenario in ALL:
        for name in scenario.expect.keys() & {*GUARANTEES, "quality_right"}:
            expected = scenario.expect[name]
            shown[name].add(expected.get("status") if isinstance(expected, dict) else expected)
    lacking = {name: missing for name in (*GUARANTEES, "quality_right") if (missing := {"covered", "not_covered", "unproven"} - shown[name])}
    assert not lacking
