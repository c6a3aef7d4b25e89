"""What quotas cost: approvals with and without them over HTTP, in turns, on a store of their own.

Three kinds of load, every claim approved, each on the service as it is and without its quotas: buyers who have nothing in
common but a few hundred merchants; one merchant for all; a ring that shares device, address and payment instrument. The past
of all parties is empty at first, so the decision itself costs the least it can, and the quotas the most of it.
"""

import dataclasses
import json
import shutil
import statistics
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import psycopg
from flask import Flask

from risk import decision
from risk.gates import Gate
from serving.app import create_app
from serving.service import ClaimService
from serving.store import decisions, embedded, lookup
from serving.store.migrate import migrate
from serving.store.quotas import Quotas
from tests.benchmarks.decisions import load, server
from tests.benchmarks.marketplace import Place
from tests.service import BUNDLE_KEY, a_claim, an_appetite, merged, named, new_key, small_bundle
from training.promote import promote

MANY = 10**13
"""Limits that are never reached."""
BODIES = 40_000
MERCHANTS = 300
LOADS = ("distinct", "merchant", "ring")
FIGURES = ("rate", "p50", "p99", "cpu")
"""A second, milliseconds, milliseconds, CPU milliseconds of workers and PostgreSQL a decision."""


def without_quotas() -> Flask:
    """The service as it would be without quotas: nothing is looked up, checked or reserved for them."""
    decisions.reserve = lambda approved, after: "none AS (SELECT 1)"  # type: ignore[assignment]
    decisions.CHECKED = "NULL"
    lookup._BALANCES = "NULL::bigint[]"
    decision.quota_gate = lambda rooms, amount: Gate("quota", passed=True, detail="")  # type: ignore[assignment]
    decision.Decider._rooms = lambda *_: ()  # type: ignore[method-assign]
    Quotas.slots = lambda *_: {}  # type: ignore[method-assign]
    recorded = ClaimService._record

    def record(self: ClaimService, *args: Any) -> decisions.Record:
        return dataclasses.replace(recorded(self, *args), settles_at=None)

    ClaimService._record = record  # type: ignore[method-assign]
    return create_app()


def run(root: Path, *, rounds: int = 5, seconds: int = 6) -> dict[str, Any]:
    """Rates, CPU milliseconds a decision, and their ratios; medians over the rounds."""
    if shutil.which("wrk") is None:
        sys.exit("the benchmark needs the load generator wrk: apt-get install wrk")
    place = _prepare(root)
    turns = [(which, name) for name in LOADS for which in ("without", "with")]
    results: dict[tuple[str, str], list[dict[str, float]]] = {turn: [] for turn in turns}
    with ExitStack() as stack:
        url = embedded.start(root / "postgres")
        places = {name: dataclasses.replace(place, database=_fresh(url, f"quotas_{name}")) for name in ("with", "without")}
        factories = {"with": "serving.app:create_app", "without": "tests.benchmarks.quotas:without_quotas"}
        running = {
            name: stack.enter_context(server(places[name], factory, "/healthz", APPETITE=str(root / "appetite.toml"), BUNDLE_KEY=BUNDLE_KEY))
            for name, factory in factories.items()
        }
        keys = {name: new_key(places[name].database or "", "claims:write", "admin") for name in places}
        first = dict.fromkeys(turns, 0)
        for number in range(rounds + 1):
            for turn in turns:
                which, name = turn
                address, process = running[which]
                before = _cpu(process, url)
                done = load(
                    place, address + "/v1/claims", root / f"{name}.jsonl", keys[which], seconds if number else 2, first[turn]
                )
                first[turn] += int(done["requests"]) + 500
                if number:
                    results[turn].append(done | {"cpu": 1000 * (_cpu(process, url) - before) / done["requests"]})
        shares = {name: _approved(places[name].database or "") for name in places}
    embedded.stop(root / "postgres")
    return _summary(results) | {"approved_share": shares}


def _prepare(root: Path) -> Place:
    root.mkdir(parents=True, exist_ok=True)
    small_bundle(root / "bundles" / "candidate")
    promote(root / "bundles" / "candidate", root / "bundles")
    quotas = dict.fromkeys(("device", "address", "payment", "merchant", "guarantee", "hour", "day"), MANY)
    an_appetite(root / "appetite.toml", steps=(MANY, MANY, MANY), **quotas)
    base = a_claim(claim_id="@", amount=100)
    base["submitted_at"] = datetime.now(UTC).isoformat()
    for name in LOADS:
        (root / f"{name}.jsonl").write_text("".join(json.dumps(_body(base, name, number)) + "\n" for number in range(BODIES)))
    return Place(root)


def _body(base: dict[str, Any], load_name: str, number: int) -> dict[str, Any]:
    shared, merchant = ("ring" if load_name == "ring" else str(number)), ("one" if load_name == "merchant" else str(number % MERCHANTS))
    return merged(
        base,
        {
            "buyer": {"buyer_id": f"b-{load_name}-{number}"},
            "merchant": {"merchant_id": f"m-{merchant}"},
            "order": {"order_id": f"o-{load_name}-{number}", "address_id": f"a-{shared}", "payment_id": f"p-{shared}"},
            "device": {"device_id": f"d-{shared}"},
            "items": [{"item_id": f"i-{number % 5000}", "category": "food.fresh.fruit", "quantity": 1}],
        },
    )


def _fresh(url: str, name: str) -> str:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")  # type: ignore[call-overload]
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
    migrate(named(url, name))
    return named(url, name)


def _cpu(service: psutil.Process, url: str) -> float:
    """CPU seconds of the workers and of PostgreSQL so far."""
    with psycopg.connect(url) as connection:
        postmaster = psutil.Process(connection.info.backend_pid).parent()
    assert postmaster is not None
    processes = [service, *service.children(recursive=True), postmaster, *postmaster.children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes if process.is_running())


def _approved(url: str) -> float:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT avg((decision = 'approve')::int)::float FROM decision").fetchone()
    return round(row[0], 3) if row else 0.0


def _summary(results: dict[tuple[str, str], list[dict[str, float]]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in LOADS:
        medians = {
            which: {figure: round(statistics.median(one[figure] for one in results[which, name]), 3) for figure in FIGURES}
            for which in ("without", "with")
        }
        ratios = {figure: round(medians["with"][figure] / medians["without"][figure], 3) for figure in ("rate", "cpu")}
        found[name] = medians | {"with_to_without": ratios}
    return found
