"""The examples of the interface description are what the interface takes and answers."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator

from risk.claim import Claim
from serving.api import examples
from serving.api.openapi import description
from serving.api.routes import ClaimBatch
from serving.events import Event, EventBatch

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
CALLS = {"/v1/claims": Claim, "/v1/claims:batch": ClaimBatch, "/v1/events": EventBatch}


def shown(path: str, *, answer: bool = False) -> tuple[dict[str, Any], list[Any]]:
    """The schema of a body, or of the 200 answer, and its examples."""
    call = description()["paths"][path]["post"]
    content = (call["responses"]["200"] if answer else call["requestBody"])["content"]["application/json"]
    return content["schema"], [example["value"] for example in content["examples"].values()]


def valid(schema: dict[str, Any], example: Any) -> bool:
    return bool(Draft202012Validator({**schema, "components": description()["components"]}).is_valid(example))


@pytest.mark.parametrize("path", CALLS)
def test_every_example_of_a_body_is_one_that_is_taken(path: str) -> None:
    schema, bodies = shown(path)
    assert bodies
    for body in bodies:
        assert valid(schema, body)
        CALLS[path].model_validate_json(json.dumps(body))


def test_the_example_of_a_claim_is_the_one_of_the_readme() -> None:
    body = re.search(r"-d '(\{.*?\})'\n", README, re.DOTALL)
    assert body is not None
    assert shown("/v1/claims")[1] == [json.loads(body[1])]


def test_the_example_of_an_answer_is_one_that_the_description_promises() -> None:
    schema, [answer] = shown("/v1/claims", answer=True)
    assert valid(schema, answer)
    assert (answer["guarantee"], answer["cover"][0]["max_amount"], answer["needs"]) == ("fresh_spoilage", 2_970, [])


def test_there_is_an_example_of_each_type_of_event() -> None:
    models = get_args(get_args(Event)[0])
    types = {kind for model in models for kind in get_args(model.model_fields["type"].annotation)}
    assert types == examples.EVENTS.keys()
    assert [body["events"][0]["type"] for body in shown("/v1/events")[1]] == list(examples.EVENTS)


@pytest.mark.parametrize("name", ["reason", "remedy", "return_method"])
def test_what_a_claim_asks_for_is_explained(name: str) -> None:
    assert description()["components"]["schemas"]["Claim"]["properties"][name]["description"]
