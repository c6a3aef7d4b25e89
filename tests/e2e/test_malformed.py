"""Bodies made from the interface's own description, broken and sound, against a running service."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemathesis import Case, GenerationMode

from tests.service import Server

MALFORMED = {"POST /v1/claims": 300, "POST /v1/claims:batch": 50, "POST /v1/events": 660}
SOUND = {"POST /v1/claims": 60, "POST /v1/claims:batch": 10, "POST /v1/events": 60}
OTHERS = [
    "GET /v1/claims/{claim_id}", "GET /v1/cases", "GET /v1/promise", "GET /v1/switch", "GET /healthz", "GET /readyz", "GET /metrics",
]  # fmt: skip
APART = ["POST /v1/switch"]
"""Would turn this server off for all other tests; tried in tests/integration/test_switch.py."""

schemathesis.openapi.format(
    "date-time",
    st.datetimes(datetime(1990, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC)).map(datetime.isoformat),
)


def every(strategy: Any, examples: int, check: Callable[[Case], None]) -> None:
    """Check so many cases, the same ones in every run."""
    given(strategy)(
        settings(
            max_examples=examples, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(lambda case: check(case))
    )()


@pytest.fixture(scope="module")
def operations(server: Server) -> dict[str, Any]:
    """Every call of the description, by method and path."""
    schema = schemathesis.openapi.from_dict(server.api.get("/openapi.json", key=None).json)
    found = [result.ok() for result in schema.get_all_operations()]
    return {f"{operation.method.upper()} {operation.path}": operation for operation in found}


def answered(server: Server, case: Case) -> Any:
    return case.call(base_url=server.base, headers={"Authorization": f"Bearer {server.api.key}"})


def without_points(body: Any) -> Any:
    """The same body with 1 for 1.0: to JSON Schema they are one number, but money is never written with a point."""
    if isinstance(body, dict):
        return {name: without_points(part) for name, part in body.items()}
    if isinstance(body, list):
        return [without_points(part) for part in body]
    return int(body) if isinstance(body, float) and body.is_integer() and abs(body) < 2**53 else body


def names_its_errors(response: Any) -> bool:
    """Whether a refusal is a problem that says where each error is."""
    assert response.headers["content-type"] == ["application/problem+json"], response.headers
    body = response.json()
    assert body["status"] == response.status_code
    assert body["detail"]
    if response.status_code in (400, 422) and response.request.method == "POST":
        assert body["errors"]
        assert all(error["detail"] and (error["pointer"] == "" or error["pointer"][0] == "/") for error in body["errors"])
    return True


def test_every_call_is_tried(operations: dict[str, Any]) -> None:
    assert {*operations} == {*MALFORMED, *OTHERS, *APART}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_body_is_refused_with_every_error_named_and_never_breaks_anything(
    server: Server, operations: dict[str, Any], name: str
) -> None:
    statuses: Counter[int] = Counter()
    description = server.api.get("/openapi.json", key=None).json
    body = description["paths"][name.split()[1]]["post"]["requestBody"]["content"]["application/json"]["schema"]
    sound = Draft202012Validator({**body, "components": description["components"]})

    def check(case: Case) -> None:
        response = answered(server, case)
        statuses[response.status_code] += 1
        assert response.status_code < 500, response.text[:500]
        if response.status_code == 200:
            # Not every change breaks a body; then the description has to allow what came out.
            sound.validate(json.loads(response.request.body))
        else:
            assert names_its_errors(response)

    every(operations[name].as_strategy(generation_mode=GenerationMode.NEGATIVE), MALFORMED[name], check)
    assert sum(count for status, count in statuses.items() if status >= 400) >= MALFORMED[name] * 0.8, statuses


@pytest.mark.parametrize("name", SOUND)
def test_a_body_that_the_description_allows_is_accepted(server: Server, operations: dict[str, Any], name: str) -> None:
    # An event may speak of a claim that nobody knows, and an id may come twice.
    allowed = {200, 409} | ({422} if "events" in name else set())

    def check(case: Case) -> None:
        case.body = without_points(case.body)
        response = answered(server, case)
        assert response.status_code in allowed, (response.status_code, response.text[:1_000])
        case.operation.validate_response(response)

    every(operations[name].as_strategy(generation_mode=GenerationMode.POSITIVE), SOUND[name], check)


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("name", OTHERS)
def test_calls_without_a_body_never_break(server: Server, operations: dict[str, Any], name: str, mode: GenerationMode) -> None:
    operation = operations[name]
    if mode is GenerationMode.NEGATIVE and not (operation.path_parameters or operation.query):
        pytest.skip("nothing that could be malformed")

    def check(case: Case) -> None:
        response = answered(server, case)
        assert response.status_code < 500, response.text[:500]
        assert response.status_code == 200 or names_its_errors(response)

    every(operation.as_strategy(generation_mode=mode), 40, check)
