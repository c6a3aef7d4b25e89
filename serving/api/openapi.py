"""The interface description (OpenAPI 3.1), from the very models that validate requests."""

from functools import lru_cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from risk import __version__
from risk.claim import Claim
from serving.answer import (
    BatchAnswer,
    CaseList,
    DecisionAnswer,
    EventsAnswer,
    FrozenDecision,
    ProblemAnswer,
    PromiseAnswer,
    SwitchAnswer,
)
from serving.api import examples
from serving.api.routes import ClaimBatch, SwitchTurn
from serving.events import EventBatch

_REFUSALS = {401: "No known key.", 403: "The key lacks the scope."}
_BODY = {400: "The body is not what this call takes; every error is named.", 413: "The body is too large.",
         415: "The body is not JSON."}  # fmt: skip
_OF_A_CLAIM = {
    "reason": "Why the buyer wants money back: it decides which guarantees are about the claim.",
    "remedy": "What the buyer asks for: the money while keeping the goods, the money for the goods returned, the goods again, or "
    "the freight of a return.",
    "return_method": "How the goods go back, where they do.",
}
_AWAY = {503: "No decision could be written down; try again after `Retry-After` seconds."}


@lru_cache(maxsize=1)
def description() -> dict[str, Any]:
    """The whole description."""
    models: list[type[BaseModel]] = [Claim, ClaimBatch, EventBatch, SwitchTurn]
    answers: list[type[BaseModel]] = [DecisionAnswer, BatchAnswer, FrozenDecision, CaseList, EventsAnswer, PromiseAnswer, SwitchAnswer, ProblemAnswer]
    schemas = models_json_schema(
        [*((model, "validation") for model in models), *((model, "serialization") for model in answers)],
        ref_template="#/components/schemas/{model}",
    )[1]["$defs"]
    for name, said in _OF_A_CLAIM.items():
        schemas["Claim"]["properties"][name]["description"] = said
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Refund-claim risk service",
            "version": __version__,
            "description": "Scores refund claims for abuse, approves low-risk ones at once and hands the rest to a person. "
            "It never denies.",
        },
        "paths": _paths(),
        "components": {"schemas": schemas, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def _paths() -> dict[str, Any]:
    claim_id = {"name": "claim_id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1, "maxLength": 128}}
    return {
        "/v1/claims": {
            "post": _call(
                "decide", "Score one claim, decide, store, answer", "claims:write", DecisionAnswer, body=Claim,
                more={409: "The claim id was used with another body."} | _AWAY,
            )
        },
        "/v1/claims:batch": {
            "post": _call("decideBatch", "Decide up to 1,000 claims", "claims:write", BatchAnswer, body=ClaimBatch, more=_AWAY)
        },
        "/v1/claims/{claim_id}": {
            "get": _call(
                "read", "The decision as it was frozen, its review state and its outcome", "claims:read", FrozenDecision,
                parameters=[claim_id], more={404: "No such claim."} | _AWAY,
            )
        },
        "/v1/cases": {
            "get": _call(
                "cases", "What waits for a person, the longest waiting first", "claims:read", CaseList,
                parameters=[
                    _query("limit", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}),
                    _query("kind", {"type": "string", "enum": ["review", "audit"]}),
                    _query("after", {"type": "string", "pattern": r"^[0-9]{1,17}\..{1,128}$"}),
                ],
                more={400: "A parameter makes no sense."} | _AWAY,
            )
        },
        "/v1/events": {
            "post": _call(
                "events", "Record what happened, all or none", "events:write", EventsAnswer, body=EventBatch,
                more={409: "An event id was used with another body.", 422: "An event speaks of an unknown claim."} | _AWAY,
            )
        },
        "/v1/promise": {
            "get": _call("promise", "What is promised of each segment, and what audits have shown", "claims:read", PromiseAnswer, more=_AWAY)
        },
        "/v1/switch": {
            "get": _call("switches", "Whether approving at once is turned on, and who turned it", "admin", SwitchAnswer, more=_AWAY),
            "post": _call(
                "turnSwitch", "Turn approving at once off or on, for everything or a segment", "admin", SwitchAnswer,
                body=SwitchTurn, more={422: "No such segment."} | _AWAY,
            ),
        },
        "/healthz": {"get": _open("alive", "The process answers", {200: "Alive."})},
        "/readyz": {"get": _open("ready", "Ready to decide, or what is missing", {200: "Ready.", 503: "Not ready."})},
        "/metrics": {"get": _open("metrics", "Prometheus text, for loopback or a key with `admin`", {200: "Metrics.", **_REFUSALS})},
    }  # fmt: skip


def _query(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _call(
    name: str,
    summary: str,
    scope: str,
    answer: type[BaseModel],
    *,
    body: type[BaseModel] | None = None,
    parameters: list[dict[str, Any]] | None = None,
    more: dict[int, str],
) -> dict[str, Any]:
    problems = _REFUSALS | (_BODY if body else {}) | more
    call: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "description": f"Needs a key with the scope `{scope}`.",
        "security": [{"key": []}],
        "responses": {
            "200": {"description": "The answer.", "content": _content("application/json", answer, _shown(answer))},
            **{str(s): {"description": text, "content": _content("application/problem+json", ProblemAnswer)}
               for s, text in sorted(problems.items())},
        },
    }  # fmt: skip
    if body:
        shown = {shows: {"value": value} for shows, value in examples.bodies()[name].items()}
        call["requestBody"] = {"required": True, "content": _content("application/json", body, shown)}
    if parameters:
        call["parameters"] = parameters
    return call


def _open(name: str, summary: str, answers: dict[int, str]) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "responses": {str(status): {"description": text} for status, text in answers.items()},
    }


def _shown(answer: type[BaseModel]) -> dict[str, Any]:
    return {"Approved at once": {"value": examples.answer()}} if answer is DecisionAnswer else {}


def _content(kind: str, model: type[BaseModel], shown: dict[str, Any] | None = None) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
    return {kind: content | ({"examples": shown} if shown else {})}
