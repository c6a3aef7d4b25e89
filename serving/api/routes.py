"""Every call of the claims interface."""

import json
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

import psycopg
import structlog
from flask import Blueprint, Response, request
from pydantic import BaseModel, Field, StringConstraints
from werkzeug.exceptions import BadRequest, NotFound, RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.routing import BaseConverter

from risk.claim import Claim, Value, microseconds
from risk.errors import Unavailable
from risk.gates import EVERYTHING
from risk.promise.certificate import standing
from serving.answer import promise_part, reason_part, timestamp
from serving.api.auth import caller, required
from serving.api.problems import RETRY_AFTER_SECONDS, problem_part
from serving.components import components
from serving.events import EventBatch
from serving.service import Conflict
from serving.store.audits import audits_of

log = structlog.get_logger()
api = Blueprint("claims", __name__)
BATCH_BYTES = 8 * 1024 * 1024
MAX_ID = 128
Model = TypeVar("Model", bound=BaseModel)


class ClaimBatch(Value):
    """Up to a thousand claims, each decided on its own, answered in order."""

    claims: list[Claim] = Field(min_length=1, max_length=1000)


class SwitchTurn(Value):
    """Approving at once, turned off or on."""

    segment: str = Field(default=EVERYTHING, max_length=64, description="Of the appetite, or `all` of them.")
    on: bool
    why: Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*\S[^\x00]*$"), Field(description="For the trail.")]


class OpaqueId(BaseConverter):
    """The rest of a path as it is: an id may hold slashes, even two in a row."""

    regex = ".+"
    part_isolating = False


def _body(model: type[Model]) -> Model:
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("a body of type application/json is expected")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise UnsupportedMediaType("a body without Content-Encoding is expected")
    data, most = request.get_data(cache=False), request.max_content_length
    # A body sent in chunks has no length to be refused by, and is cut off at the limit.
    if request.content_length is None and most is not None and len(data) >= most:
        raise RequestEntityTooLarge
    return model.model_validate_json(data)


def _json(text: str, status: int = 200) -> Response:
    return Response(text, status=status, content_type="application/json")


@api.post("/v1/claims")
@required("claims:write")
def decide() -> Response:
    """Score one claim, decide, store, answer."""
    return _json(components().service.answer(_body(Claim)))


@api.post("/v1/claims:batch")
@required("claims:write")
def decide_batch() -> Response:
    """Decide up to 1,000 claims; each answer is a decision or a problem, in order."""
    request.max_content_length = BATCH_BYTES
    answers = [_batch_answer(claim) for claim in _body(ClaimBatch).claims]
    return _json(f'{{"answers":[{",".join(answers)}]}}')


def _batch_answer(claim: Claim) -> str:
    try:
        return components().service.answer(claim)
    except Conflict as error:
        return json.dumps(problem_part(HTTPStatus.CONFLICT, str(error)))
    except (Unavailable, psycopg.Error):
        detail = f"no decision was written down; send this claim again in {RETRY_AFTER_SECONDS} s"
        return json.dumps(problem_part(HTTPStatus.SERVICE_UNAVAILABLE, detail))
    except Exception as error:
        # Claims before this one are decided: their answers must not be lost with it.
        log.exception("unexpected", claim_id=claim.claim_id, error=str(error))
        return json.dumps(problem_part(HTTPStatus.INTERNAL_SERVER_ERROR, "something went wrong on our side; nothing was approved"))


@api.get("/v1/claims/<opaque_id:claim_id>")
@required("claims:read")
def read(claim_id: str) -> Response:
    """A decision as it was frozen, its review state and its outcome."""
    row = components().decisions.read(claim_id) if _storable(claim_id) else None
    if row is None:
        raise NotFound(f"no decision on a claim {claim_id!r}")
    answer = json.loads(row["answer"])
    values = json.loads(row["features"]) if row["features"] else None
    if not answer["reasons"] and values and row["model_version"]:
        # Approved claims are explained on demand, from their frozen features and the bundle that scored them.
        reasons = components().service.explain_frozen(row["model_version"], values)
        answer["reasons"] = [reason_part(reason) for reason in reasons]
    names = json.loads(row["feature_names"]) if row["feature_names"] else None
    answer["review"] = (
        {
            "state": row["case_state"],
            "kind": row["case_kind"],
            "opened_at": timestamp(row["opened_at"]),
            "due_at": _due(row["due_at"]),
        }
        if row["case_id"]
        else None
    )
    answer["outcome"] = json.loads(row["outcome"]) if row["outcome"] else None
    answer["features"] = dict(zip(names, values, strict=True)) if names and values else None
    return _json(json.dumps(answer, ensure_ascii=False))


def _due(moment: int | None) -> str | None:
    return None if moment is None else timestamp(moment)


def _storable(text: str) -> bool:
    return 0 < len(text) <= MAX_ID and "\0" not in text


@api.get("/v1/cases")
@required("claims:read")
def cases() -> Response:
    """What waits for a person, the longest waiting first."""
    limit = request.args.get("limit", "50")
    kind = request.args.get("kind")
    if not (limit.isascii() and limit.isdecimal() and len(limit) < 5 and 1 <= int(limit) <= 500):
        raise BadRequest("limit: a whole number from 1 to 500 is expected")
    if kind not in (None, "review", "audit"):
        raise BadRequest("kind: review or audit is expected")
    found = components().decisions.cases(kind=kind, after=_after(request.args.get("after")), limit=int(limit) + 1)
    page, more = found[: int(limit)], len(found) > int(limit)
    parts = [
        {
            **{name: value for name, value in case.items() if name != "answer"},
            "opened_at": timestamp(case["opened_at"]),
            "due_at": _due(case["due_at"]),
            "reasons": json.loads(case["answer"])["reasons"],
        }
        for case in page
    ]
    following = f"{page[-1]['opened_at']}.{page[-1]['case_id']}" if more else None
    return _json(json.dumps({"cases": parts, "next": following}, ensure_ascii=False))


def _after(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    moment, _, case_id = text.partition(".")
    if not (moment.isascii() and moment.isdecimal() and len(moment) < 18 and _storable(case_id)):
        raise BadRequest("after: the `next` of the page before is expected")
    return int(moment), case_id


@api.get("/v1/promise")
@required("claims:read")
def promise() -> Response:
    """What is promised of each segment, and what audits have shown since."""
    parts, now = components(), microseconds(components().service.clock())
    bundle, appetite = parts.champion.current()[0], parts.service.decider.appetite
    certificate, on = bundle.certificate if bundle else None, parts.switches.state()
    found = []
    for segment in appetite.segment:
        stands = standing(certificate, segment, appetite, now)
        audits = None
        if certificate is not None:
            audits = parts.database.run(partial(audits_of, certificate=certificate, segment=segment, appetite=appetite, now=now))
        found.append(promise_part(segment.name, stands, audits, on=on[segment.name] and on[EVERYTHING]))
    body = {"appetite_version": appetite.version, "certificate_id": certificate.certificate_id if certificate else None}
    return _json(json.dumps(body | {"segments": found}, ensure_ascii=False))


@api.get("/v1/switch")
@required("admin")
def switches() -> Response:
    """How the switches stand, and the latest turns."""
    return _json(json.dumps(_switches(), ensure_ascii=False))


@api.post("/v1/switch")
@required("admin")
def turn_switch() -> Response:
    """Turn approving at once off or on, for everything or a segment."""
    turn = _body(SwitchTurn)
    components().switches.turn(turn.segment, on=turn.on, who=caller(), why=turn.why)
    return _json(json.dumps(_switches(), ensure_ascii=False))


def _switches() -> dict[str, Any]:
    turns = [vars(turn) | {"turned_at": timestamp(turn.turned_at)} for turn in components().switches.turns()]
    return {"switches": components().switches.state(), "turns": turns}


@api.post("/v1/events")
@required("events:write")
def events() -> Response:
    """Record a batch of what happened, all or none."""
    request.max_content_length = BATCH_BYTES
    batch = _body(EventBatch)
    now = microseconds(components().service.clock())
    results = components().events.record(batch.events, now)
    parts = [{"event_id": event.event_id, "status": status} for event, status in zip(batch.events, results, strict=True)]
    return _json(json.dumps({"events": parts}, ensure_ascii=False))
