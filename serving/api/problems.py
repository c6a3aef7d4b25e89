"""Errors as `application/problem+json`, one shape on every route."""

import json
from collections.abc import Sequence
from http import HTTPStatus

import psycopg
import structlog
from flask import Flask, Response
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from risk.errors import InputError, Problem, Unavailable
from risk.validation import problems_of
from serving import metrics
from serving.service import Conflict
from serving.store.events import EventConflict

log = structlog.get_logger()
RETRY_AFTER_SECONDS = 1


def problem_part(status: int, detail: str, errors: Sequence[Problem] = ()) -> dict[str, object]:
    """A problem as JSON."""
    title = HTTPStatus(status).phrase
    part: dict[str, object] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if errors:
        part["errors"] = [{"pointer": error.where, "detail": error.detail} for error in errors]
    return part


def problem(status: int, detail: str, errors: Sequence[Problem] = ()) -> Response:
    """A problem as an answer."""
    body = json.dumps(problem_part(status, detail, errors), ensure_ascii=False)
    response = Response(body, status=status, content_type="application/problem+json")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        metrics.UNAVAILABLE.inc()
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def register(app: Flask) -> None:
    """Turn every error that may reach the edge into a problem."""

    @app.errorhandler(ValidationError)
    def bad_body(error: ValidationError) -> Response:
        return problem(400, "the body is not what this call takes", problems_of(error))

    @app.errorhandler(InputError)
    def bad_input(error: InputError) -> Response:
        return problem(422, "the body contradicts what is known", error.problems)

    @app.errorhandler(Conflict)
    def conflict(error: Conflict) -> Response:
        return problem(409, str(error))

    @app.errorhandler(EventConflict)
    def event_conflict(error: EventConflict) -> Response:
        return problem(409, str(error), error.problems)

    @app.errorhandler(Unavailable)
    def unavailable(error: Unavailable) -> Response:
        log.error("unavailable", error=str(error))
        return problem(503, "the service cannot write decisions down at the moment; try again")

    @app.errorhandler(psycopg.Error)
    def refused_by_database(error: psycopg.Error) -> Response:
        log.error("database_refused", error=str(error))
        return problem(503, "the database did not answer in time; try again")

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        answer = problem(error.code or 500, error.description or error.name)
        if (allowed := getattr(error, "valid_methods", None)) is not None:
            answer.headers["Allow"] = ", ".join(sorted(allowed))
        return answer

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        log.error("unexpected", error=str(error), exc_info=error)
        return problem(500, "something went wrong on our side; nothing was approved")
