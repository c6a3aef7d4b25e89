"""Who may call what: `Authorization: Bearer KEY`, a clear 401 without a known key and 403 without the scope."""

from collections.abc import Callable
from functools import wraps
from ipaddress import ip_address
from typing import ParamSpec

from flask import Response, g, request

from serving.api.problems import problem
from serving.components import components

_OF_PROXIES = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP")
Arguments = ParamSpec("Arguments")
View = Callable[Arguments, Response]


def required(scope: str) -> Callable[[View[Arguments]], View[Arguments]]:
    """Let a view run only for a key with this scope."""

    def decorate(view: View[Arguments]) -> View[Arguments]:
        @wraps(view)
        def guarded(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Response:
            refusal = refused(scope)
            return refusal if refusal is not None else view(*args, **kwargs)

        return guarded

    return decorate


def refused(scope: str) -> Response | None:
    """The answer for a caller who may not, or None."""
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text:
        return problem(401, "send `Authorization: Bearer KEY`; keys are made with `python -m serving keys create`")
    key = components().keys.check(text.strip())
    if key is None:
        return problem(401, "the key is unknown or was revoked")
    if scope not in key.scopes:
        return problem(403, f"the key {key.name!r} lacks the scope {scope}")
    g.key = key
    return None


def caller() -> str:
    """Who calls, for the trail: the name and the id of the key."""
    return f"{g.key.name} (key {g.key.key_id})"


def from_loopback() -> bool:
    """Whether the caller sits on this very machine, with no proxy in between."""
    if any(name in request.headers for name in _OF_PROXIES):
        return False
    try:
        return ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False
