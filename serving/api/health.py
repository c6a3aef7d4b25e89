"""Alive, ready, measured, described."""

import json
import os
from importlib import resources
from pathlib import Path

import psycopg
import structlog
from flask import Blueprint, Response, send_from_directory
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from risk.claim import microseconds
from risk.errors import Unavailable
from risk.promise.certificate import standing
from serving.api.auth import from_loopback, refused
from serving.api.openapi import description
from serving.components import components
from serving.store.migrate import newest
from serving.store.totals import DATABASE_NOW, STALEST

log = structlog.get_logger()
health = Blueprint("health", __name__)
_SWAGGER = Path(str(resources.files("flask_openapi3_swagger"))) / "templates" / "swagger"


@health.get("/healthz")
def alive() -> Response:
    """The process answers."""
    return Response('{"status":"ok"}', content_type="application/json")


@health.get("/readyz")
def ready() -> Response:
    """Ready to decide, or what is missing."""
    missing = _missing()
    body = {"status": "ready" if not missing else "not ready", "missing": missing, "promise": _promise()}
    return Response(json.dumps(body), status=503 if missing else 200, content_type="application/json")


def _promise() -> dict[str, str]:
    """What the certificate allows now, by segment."""
    service, now = components().service, microseconds(components().service.clock())
    bundle, appetite = components().champion.current()[0], service.decider.appetite
    if bundle is None:
        return {}
    return {segment.name: standing(bundle.certificate, segment, appetite, now).detail for segment in appetite.segment}


def _missing() -> dict[str, str]:
    parts, missing = components(), {}
    bundle, version = parts.champion.current()
    if bundle is None:
        # Anybody may ask, but paths and addresses are told on this very machine only.
        log.warning("not_ready", bundle=version)
        missing["bundle"] = version if from_loopback() else "no sound bundle is loaded; the service's log says why"
    try:
        row = parts.database.run(
            lambda connection: connection.execute(
                f"SELECT (SELECT version_num FROM alembic_version), {DATABASE_NOW}"
            ).fetchone()
        )
    except (Unavailable, psycopg.Error) as error:
        log.warning("not_ready", database=str(error))
        return {**missing, "database": str(error) if from_loopback() else "the database does not answer"}
    assert row is not None
    if row[0] != newest():
        missing["schema"] = f"the database has revision {row[0]}, this code needs {newest()}: run `python -m serving migrate`"
    skew = abs(row[1] - int(parts.service.clock().timestamp() * 1_000_000))
    if skew >= STALEST:
        missing["clock"] = f"this server's clock is {skew / 1_000_000:.0f} s off the database's"
    return missing


@health.get("/metrics")
def metrics() -> Response:
    """Prometheus text, for loopback or a key with `admin`."""
    refusal = None if from_loopback() else refused("admin")
    if refusal is not None:
        return refusal
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


@health.get("/openapi.json")
def openapi() -> Response:
    """The interface description."""
    return Response(json.dumps(description(), ensure_ascii=False), content_type="application/json")


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Refund-claim risk service</title><link rel="stylesheet" href="/docs/css/swagger-ui.css"></head>
<body><div id="swagger-ui"></div><script src="/docs/js/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script></body></html>"""
_START = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});'
_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"


@health.get("/docs")
def docs() -> Response:
    """The interface description as a page, with nothing from another host."""
    return Response(_PAGE, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": _POLICY})


@health.get("/docs/start.js")
def docs_start() -> Response:
    """Starts the page."""
    return Response(_START, content_type="text/javascript; charset=utf-8")


@health.get("/docs/<path:name>")
def docs_file(name: str) -> Response:
    """The page's own files."""
    return send_from_directory(_SWAGGER, name)
