"""A real service for tests: its database, its bundle, its process, and the claims that are sent to it."""

import copy
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any, Self, TypeVar

import lightgbm
import numpy as np
import psycopg
import requests
from flask import Flask
from numpy.typing import NDArray

from risk.bundle import MANIFEST, MODEL, write_bundle
from risk.claim import microseconds
from risk.features import load_features
from risk.promise.appetite import Appetite, load_appetite
from risk.vocabulary import CHANNELS, GUARANTEES, REASONS, REMEDIES, RETURN_METHODS
from serving.store import embedded
from serving.store.database import Database
from serving.store.keys import SCOPES, Keys
from serving.store.reconcile import Account, reconcile

ROOT = Path(__file__).resolve().parent.parent
BUNDLE_KEY = "a key for tests only, of thirty-two bytes and more"
THRESHOLD = 0.4
SIGNAL = "x_trust"
CATEGORIES = {
    "reason": list(REASONS),
    "remedy": list(REMEDIES),
    "channel": list(CHANNELS),
    "return_method": list(RETURN_METHODS),
    "carrier": ["swift", "slow"],
    "category": ["food.fresh.fruit", "beauty.skincare"],
    "category_group": ["food", "beauty"],
    "cover_status": ["covered", "unproven", "not_covered", "none"],
    "cover_guarantee": list(GUARANTEES),
}
_numbers = itertools.count(1)
Result = TypeVar("Result")


# --- claims and events -------------------------------------------------------------------------------------------


def unique(prefix: str) -> str:
    """An id that no other test has."""
    return f"{prefix}-{os.getpid()}-{next(_numbers)}"


def stamp(*, days: float = 0.0, hours: float = 0.0) -> str:
    """A moment before now, as RFC 3339."""
    return (datetime.now(UTC) - timedelta(days=days, hours=hours, seconds=1)).isoformat()


def a_claim(**changes: Any) -> dict[str, Any]:
    """An ordinary claim of a new buyer that is approved at once; `changes` go into it, part by part."""
    claim: dict[str, Any] = {
        "claim_id": unique("claim"),
        "submitted_at": stamp(),
        "reason": "damaged",
        "remedy": "refund_only",
        "amount": 4_900,
        "currency": "CNY",
        "buyer": {"buyer_id": unique("buyer"), "verified": True, "registered_at": stamp(days=700)},
        "merchant": {"merchant_id": unique("merchant"), "guarantees": ["fresh_spoilage"]},
        "order": {
            "order_id": unique("order"),
            "paid_at": stamp(days=5),
            "paid_amount": 9_900,
            "shipped_at": stamp(days=4),
            "delivered_at": stamp(hours=6),
        },
        "items": [{"item_id": unique("item"), "category": "food.fresh.fruit", "quantity": 1}],
        "affected_share": 1.0,
        "evidence": [{"evidence_id": unique("photo"), "kind": "photo"}],
    }
    return merged(claim, changes)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with changes; objects are merged part by part, everything else is replaced."""
    result = copy.deepcopy(dict(base))
    for name, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(result.get(name), Mapping)
        result[name] = merged(result[name], value) if both else value
    return result


def a_purchase() -> dict[str, Any]:
    """The parts of a claim that say which order it is about, to make several claims on one order."""
    claim = a_claim()
    return {part: claim[part] for part in ("buyer", "merchant", "order")}


def failed(decision: Mapping[str, Any]) -> list[str]:
    """The gates that sent a claim to a person."""
    return [gate["gate"] for gate in decision["gates"] if not gate["passed"]]


def a_label(claim_id: str, label: str = "abuse", **changes: Any) -> dict[str, Any]:
    """An event that says what is known about abuse."""
    return {
        "type": "abuse_label", "event_id": unique("event"), "occurred_at": stamp(), "claim_id": claim_id,
        "label": label, "source": "reviewer", **changes,
    }  # fmt: skip


def an_outcome(claim_id: str, outcome: str = "approved", **changes: Any) -> dict[str, Any]:
    """An event that says what became of the money."""
    return {
        "type": "claim_outcome", "event_id": unique("event"), "occurred_at": stamp(), "claim_id": claim_id,
        "outcome": outcome, **changes,
    }  # fmt: skip


def an_order(**changes: Any) -> dict[str, Any]:
    """An event that says that an order was paid."""
    return {
        "type": "order_paid", "event_id": unique("event"), "occurred_at": stamp(), "order_id": unique("order"),
        "buyer_id": unique("buyer"), "merchant_id": unique("merchant"), "amount": 9_900, **changes,
    }  # fmt: skip


# --- bundles -----------------------------------------------------------------------------------------------------


def small_bundle(
    path: Path, *, seed: int = 7, key: str = BUNDLE_KEY, threshold: float = THRESHOLD, **changes: Any
) -> str:
    """A small real model over every feature, for which confirmed abuse is decisive; returns its version."""
    features = load_features()
    columns = (*features.names, SIGNAL)
    rows, abuse = _invented(columns, features.categorical, np.random.default_rng(seed))
    parameters = {
        "objective": "binary", "num_leaves": 15, "max_depth": 5, "learning_rate": 0.15, "min_child_samples": 20,
        "seed": seed, "deterministic": True, "force_row_wise": True, "num_threads": 1, "verbosity": -1,
        "monotone_constraints": [features.monotone.get(name, 0) for name in columns],
    }  # fmt: skip
    train_set = lightgbm.Dataset(
        rows, abuse, params=parameters, categorical_feature=[columns.index(name) for name in features.categorical]
    )
    booster = lightgbm.train(parameters, train_set, num_boost_round=40)
    model = booster.model_to_string()
    manifest = {
        "trained_until": "2026-06-30T00:00:00+00:00",
        "seed": seed,
        "threshold": threshold,
        "certificate": a_certificate(model, threshold),
        "calibrator": {"slope": 1.1, "intercept": -0.05},
        "features": {
            "fingerprint": features.fingerprint,
            "names": list(features.names),
            "signals": [SIGNAL],
            "categories": CATEGORIES,
        },
    }
    return write_bundle(path, model, merged(manifest, changes), key.encode())


def a_certificate(model: str, threshold: float | None, appetite: Appetite | None = None, **changes: Any) -> dict[str, Any]:
    """What `certify` would have put into the manifest of a model that keeps the promise up to a threshold."""
    appetite = appetite or load_appetite()
    now = microseconds(datetime.now(UTC))
    evidence = {
        "error": 0.025, "status": "certified", "threshold": threshold, "drawn": 900, "abusive": 12, "unresolved": 2,
        "bound": 0.021, "missing": 0, "detail": "held", "curve": [],
    }  # fmt: skip
    certificate = {
        "certificate_id": "cert-test",
        "model": hashlib.sha256(model.encode()).hexdigest(),
        "method": "test",
        "issued_at": now,
        "valid_until": now + 90 * 86_400_000_000,
        "appetite_version": appetite.version,
        "population": appetite.population,
        "delta": appetite.promise.delta,
        "look": 1,
        "looks": appetite.promise.looks,
        "data": {
            "history": {}, "start": 0, "end": now, "labels_until": now, "claims": 5000, "eligible": 2500, "policies": {},
        },
        "segments": {
            segment.name: {"alpha": appetite.alpha_of(segment), **evidence} for segment in appetite.segment
        },
    }  # fmt: skip
    return merged(certificate, changes)


def _invented(
    columns: tuple[str, ...], categorical: Iterable[str], rng: np.random.Generator, count: int = 4000
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rows without any structure but one: earlier abuse, shared devices and missing photos go with abuse."""
    rows = rng.exponential(60.0, (count, len(columns)))
    for place, name in enumerate(columns):
        if name in categorical:
            rows[:, place] = rng.integers(0, len(CATEGORIES[name]), count)
        elif "rate" in name or name in ("share_of_order", "refunded_share", "verified", "guest", SIGNAL):
            rows[:, place] = rng.random(count)
        elif name.startswith(("buyer_", "device_", "address_", "payment_")) or name.endswith("_count"):
            rows[:, place] = rng.poisson(0.4, count)
        if "abuse_365d" not in name:
            rows[rng.random(count) < 0.3, place] = np.nan
    seen = {name: np.nan_to_num(rows[:, columns.index(name)]) for name in columns}
    logit = -4.0 + 6.0 * (seen["buyer_abuse_365d"] > 0) + 1.5 * (seen["device_buyers_90d"] > 1)
    logit += 0.8 * (seen["photo_count"] == 0) - 1.5 * seen[SIGNAL]
    return rows, (rng.random(count) < 1.0 / (1.0 + np.exp(-logit))).astype(np.int64)


def promise_up_to(folder: Path, threshold: float, **changes: Any) -> None:
    """Gives a trained bundle a certificate as if it had been shown to keep the promise up to a threshold."""
    manifest = json.loads((folder / MANIFEST).read_text())
    model = (folder / MODEL).read_text()
    write_bundle(folder, model, manifest | {"certificate": a_certificate(model, threshold, **changes)}, BUNDLE_KEY.encode())


def an_appetite(file: Path, *, steps: tuple[int, ...] = (600_000, 600_000, 600_000), **quotas: float) -> Path:
    """The shipped appetite in a file, with other limits for the trust steps and other values in `[quota]`."""
    text = resources.files("risk.promise").joinpath("appetite.toml").read_text(encoding="utf-8")
    for limit in steps:
        text = text.replace("limit = { CNY = ", f"limit = {{ CNY= {limit} }}  # ", 1)
    for name, most in quotas.items():
        said = f"{{ CNY = {most} }}" if name != "settle_days" else f"{most}"
        text, replaced = re.subn(rf"^{name} = .*$", f"{name} = {said}", text, flags=re.MULTILINE)
        assert replaced == 1, name
    file.write_text(text)
    return file


_FOLDER = tempfile.TemporaryDirectory(prefix="appetite-")
ROOMY = an_appetite(Path(_FOLDER.name) / "appetite.toml")
"""Every buyer may have the largest amount approved at once: what most tests ask for is not about trust."""


# --- databases ---------------------------------------------------------------------------------------------------


def named(url: str, database: str) -> str:
    """The address of another database on the same server."""
    head, _, options = url.partition("?")
    return f"{head.rpartition('/')[0]}/{database}?{options}"


def new_database(server_url: str, *, template: str | None = None) -> str:
    """A new, empty or copied database; returns its address."""
    name = f"t{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))  # type: ignore[call-overload]
    return named(server_url, name)


def rows(url: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """What a statement gives, or an empty list."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement, parameters)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []


def value(url: str, statement: str, *parameters: Any) -> Any:
    """The one value that a statement gives."""
    return rows(url, statement, *parameters)[0][0]


def account(url: str) -> Account:
    """All balances of quotas and orders computed again as of one moment, beside whatever goes on."""
    with psycopg.connect(url) as connection:
        connection.isolation_level, connection.read_only = psycopg.IsolationLevel.REPEATABLE_READ, True
        return reconcile(connection)


def new_key(url: str, *scopes: str, name: str = "tests") -> str:
    """A new API key, by default with every scope."""
    database = Database(url)
    try:
        return Keys(database).create(name, list(scopes or SCOPES))
    finally:
        database.close()


# --- talking to it -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which has to be JSON."""
        return json.loads(self.body)

    @property
    def pointers(self) -> list[str]:
        """Where the errors are that this problem names."""
        return [error["pointer"] for error in self.json["errors"]]


class Api:
    """The calls of the interface, over whatever carries them."""

    def __init__(self, send: Callable[[str, str, bytes | None, dict[str, str]], Answer], key: str) -> None:
        self._send = send
        self.key = key

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        data: bytes | str | None = None,
        key: str | None = "",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request; `body` as JSON or `data` as it is; `key=None` sends no key."""
        content = json.dumps(body).encode() if body is not None else data.encode() if isinstance(data, str) else data
        sent = {"Content-Type": "application/json"} if content is not None else {}
        if key is not None:
            sent["Authorization"] = f"Bearer {key or self.key}"
        return self._send(method, path, content, sent | dict(headers or {}))

    def get(self, path: str, **options: Any) -> Answer:
        """GET."""
        return self.call("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        """POST."""
        return self.call("POST", path, body, **options)

    def decide(self, claim: Mapping[str, Any]) -> dict[str, Any]:
        """The decision on a claim that has to be accepted."""
        answer = self.post("/v1/claims", claim)
        assert answer.status == 200, answer.body
        decision: dict[str, Any] = answer.json
        return decision

    def tell(self, *events: Mapping[str, Any]) -> list[str]:
        """The status of each event of a batch that has to be accepted."""
        answer = self.post("/v1/events", {"events": list(events)})
        assert answer.status == 200, answer.body
        return [event["status"] for event in answer.json["events"]]

    def read(self, claim_id: str) -> dict[str, Any]:
        """A frozen decision that has to be there."""
        answer = self.get(f"/v1/claims/{claim_id}")
        assert answer.status == 200, answer.body
        decision: dict[str, Any] = answer.json
        return decision


def flask_api(app: Flask, key: str) -> Api:
    """The interface of an application in this very process."""
    client = app.test_client()

    def send(method: str, path: str, content: bytes | None, headers: dict[str, str]) -> Answer:
        with client.open(path, method=method, data=content, headers=headers) as answer:
            return Answer(answer.status_code, answer.headers, answer.get_data())

    return Api(send, key)


def http_api(base: str, key: str, *, timeout: float = 30.0) -> Api:
    """The interface of a running service."""
    local = threading.local()

    def send(method: str, path: str, content: bytes | None, headers: dict[str, str]) -> Answer:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        answer = local.session.request(method, base + path, data=content, headers=headers, timeout=timeout)
        return Answer(answer.status_code, answer.headers, answer.content)

    return Api(send, key)


def at_once(work: Callable[[int], Result], count: int, *, threads: int | None = None) -> list[Result]:
    """Do the same work `count` times, started together."""
    workers = threads or count
    barrier = threading.Barrier(workers)

    def started(number: int) -> Result:
        if number < workers:
            barrier.wait()
        return work(number)

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(started, range(count)))


def wait_until(true: Callable[[], Any], *, seconds: float = 20.0, what: str = "it") -> Any:
    """The first truthy result; fails after a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := true():
            return result
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s in vain until {what}")


def free_port() -> int:
    """A port on which nobody listens."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Postgres:
    """An embedded PostgreSQL that may be stopped the hard way and started again."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self.data = self.folder / "data"
        self.url = embedded.start(self.data)

    @property
    def pid(self) -> int | None:
        """The postmaster, where it runs."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            os.kill(pid, 0)
        except (OSError, ValueError, IndexError):
            return None
        return pid

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop at once, without tidying up (SIGQUIT), or kill without any notice (SIGKILL)."""
        if (pid := self.pid) is not None:
            os.kill(pid, how)
            wait_until(lambda: self.pid is None, what="PostgreSQL is gone")

    def start(self) -> None:
        """Start again from another process, as an operator would."""
        code = "import sys, pathlib; from serving.store import embedded; embedded.start(pathlib.Path(sys.argv[1]))"
        command = [sys.executable, "-c", code, str(self.data)]
        # After a kill its backends take a moment to notice; until then no new one may start.
        wait_until(lambda: subprocess.run(command, cwd=ROOT, check=False, capture_output=True).returncode == 0, seconds=30)

    def remove(self) -> None:
        """Stop for good."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Server:
    """`python -m serving run` as a process of its own, in a process group of its own."""

    def __init__(
        self, url: str, bundle: Path, folder: Path, *, workers: int = 2, key: str | None = None, appetite: Path = ROOMY
    ) -> None:
        self.url, self.bundle, self.folder = url, bundle, folder
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.api = http_api(self.base, key or new_key(url))
        self._workers = workers
        self._appetite = appetite
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The main process."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What it wrote to standard error."""
        return (self.folder / "server.log").read_text(errors="replace")

    def start(self) -> None:
        """Start and wait until it is ready, or at least answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {
            "DATABASE_URL": self.url, "DATA_DIR": str(self.folder / "var"), "BUNDLE_DIR": str(self.bundle),
            "BUNDLE_KEY": BUNDLE_KEY, "PORT": str(self.port), "WORKERS": str(self._workers), "LOG_LEVEL": "warning",
            "APPETITE": str(self._appetite),
        }  # fmt: skip
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "serving", "run"], cwd=ROOT, env=environment, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        wait_until(self.answers, seconds=30, what=f"the service answers: {self.log[-2000:]}")

    def answers(self) -> bool:
        """Whether it is up, ready or not."""
        assert self._process is not None
        assert self._process.poll() is None, self.log[-4000:]
        try:
            return self.api.get("/readyz", key=None).status in (200, 503)
        except requests.RequestException:
            return False

    def ready(self) -> bool:
        """Whether it says that it is ready."""
        try:
            return self.api.get("/readyz", key=None).status == 200
        except requests.RequestException:
            return False

    def workers(self) -> list[int]:
        """The workers' process ids."""
        children = (_read(task / "children") for task in Path(f"/proc/{self.pid}/task").iterdir())
        pids = [int(pid) for text in children for pid in text.split()]
        return [pid for pid in pids if (command := _read(Path(f"/proc/{pid}/cmdline"))) and b"resource_tracker" not in command]

    def kill(self) -> None:
        """`kill -9` of the whole process group."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait(10)

    def stop(self) -> int:
        """Ask it to stop and return its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)


def _read(file: Path) -> bytes:
    """What is in a file of a process or thread, which may have ended."""
    try:
        return file.read_bytes()
    except OSError:
        return b""
