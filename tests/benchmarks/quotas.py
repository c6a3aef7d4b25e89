"""What quotas cost: approvals with and without them over HTTP, in turns, on a store of their own.

Three kinds of load, every claim approved, each on the service as it is and without its quotas: buyers who have nothing in
common but a few hundred merchants; one merchant for all; a ring that shares device, address and payment instrument. The past
of all parties is empty at first, so the decision itself costs the least it can, and the quotas the most of it.
"""

import dataclasses
import itertools
import json
import logging
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import structlog
from flask import Flask

from risk import decision
from risk.claim import Claim
from risk.gates import Gate
from serving.app import create_app
from serving.components import build
from serving.service import ClaimService
from serving.settings import Settings
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
_WARM = 100
"""Blocks before anything counts: a planner that sees a few rows may choose plans that grow with them."""
MERCHANTS = 300
LOADS = ("distinct", "merchant", "ring")
FIGURES = ("rate", "p50", "p99")
"""Approvals a second, milliseconds, milliseconds."""


@contextmanager
def no_quotas() -> Iterator[None]:
    """The service as it would be without quotas: nothing is looked up, checked or reserved for them."""
    recorded = ClaimService._record

    def record(self: ClaimService, *args: Any) -> decisions.Record:
        return dataclasses.replace(recorded(self, *args), settles_at=None)

    replaced = (
        (decisions, "reserve", lambda approved, after: "none AS (SELECT 1)"),
        (decisions, "CHECKED", "NULL"),
        (lookup, "_BALANCES", "NULL::bigint[]"),
        (decision, "quota_gate", lambda rooms, amount: Gate("quota", passed=True, detail="")),
        (decision.Decider, "_rooms", lambda *_: ()),
        (Quotas, "slots", lambda *_: {}),
        (ClaimService, "_record", record),
    )
    before = [(place, name, getattr(place, name)) for place, name, _ in replaced]
    for place, name, value in replaced:
        setattr(place, name, value)
    try:
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)


def without_quotas() -> Flask:
    """The application of a worker that has none."""
    no_quotas().__enter__()
    return create_app()


def processor(root: Path, *, blocks: int = 60, size: int = 40) -> dict[str, Any]:
    """CPU microseconds of one approval in one process and its PostgreSQL backend, with and without quotas in short turns."""
    _prepare(root)
    url = embedded.start(root / "postgres")
    settings = Settings(data_dir=root / "var", bundle_dir=root / "bundles" / "champion", appetite=root / "appetite.toml")
    lines, numbers = itertools.cycle((root / "distinct.jsonl").read_text().splitlines()), itertools.count()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    spent: dict[str, list[tuple[float, float]]] = {"without": [], "with": []}
    parts = {}
    for which, around in _AROUND.items():
        with around():
            parts[which] = build(settings, _fresh(url, f"processor_{which}"))
            parts[which].champion.refresh()
    for block in range(2 * blocks + _WARM):
        if block == _WARM:
            for part in parts.values():
                _analyze(part.database.url)
        which = ("without", "with")[block % 2]
        with _AROUND[which]():
            claims = [Claim.model_validate_json(next(lines).replace("@", f"c{next(numbers)}", 1)) for _ in range(size)]
            backend = Path(f"/proc/{parts[which].database.connection().info.backend_pid}/schedstat")
            start, there = time.process_time(), _nanoseconds(backend)
            answers = [parts[which].service.answer(claim) for claim in claims]
            used = (1e6 * (time.process_time() - start) / size, (_nanoseconds(backend) - there) / 1000 / size)
        assert all('"decision":"approve"' in answer for answer in answers)
        if block >= _WARM:
            spent[which].append(used)
    found = {
        which: {name: round(statistics.median(part[number] for part in runs)) for number, name in enumerate(("python", "postgres"))}
        for which, runs in spent.items()
    }
    more = statistics.median(sum(own) / sum(plain) for own, plain in zip(spent["with"], spent["without"], strict=True))
    return found | {"with_to_without": round(more, 3)}


_AROUND: dict[str, Callable[[], AbstractContextManager[None]]] = {"without": no_quotas, "with": nullcontext}


def _nanoseconds(file: Path) -> int:
    """On a processor so far."""
    return int(file.read_text().split()[0])


def run(root: Path, *, rounds: int = 5, seconds: int = 6) -> dict[str, Any]:
    """Rates and their ratios, medians over the rounds; CPU of one approval, which others on the machine disturb less."""
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
            if number == 1:
                for one in places.values():
                    _analyze(one.database or "")
            for turn in turns:
                which, name = turn
                address, _process = running[which]
                done = load(
                    place, address + "/v1/claims", root / f"{name}.jsonl", keys[which], seconds if number else 2, first[turn]
                )
                first[turn] += int(done["requests"]) + 500
                if number:
                    results[turn].append(done)
        shares = {name: _approved(places[name].database or "") for name in places}
    cpu = processor(root)
    embedded.stop(root / "postgres")
    return _summary(results) | {"approved_share": shares, "cpu_us": cpu}


def _prepare(root: Path) -> Place:
    root.mkdir(parents=True, exist_ok=True)
    # Other processes of the benchmark are told in their environment; this one signs and checks with it as well.
    os.environ["BUNDLE_KEY"] = BUNDLE_KEY
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


def _analyze(url: str) -> None:
    """Statements that were planned on empty tables are planned anew, on both sides at the same moment."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ANALYZE")


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
        found[name] = medians | {"with_to_without": round(medians["with"]["rate"] / medians["without"]["rate"], 3)}
    return found
