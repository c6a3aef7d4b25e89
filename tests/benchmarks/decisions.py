"""The full durable decision over HTTP against the echo route and against a tutorial's endpoint, in turns.

Two workers with two threads each, eight connections, load generator on the same machine. Each run starts from a fresh
copy of the loaded store and posts no claim twice: a body that came again would ask for an order that is spent already.
"""

import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.marketplace import Place, fresh_copy, prepare

CONNECTIONS, WORKERS, THREADS, GENERATORS = 8, 2, 2, 2
SLACK = 500
"""The generator's threads do not go equally far: so many bodies are passed over between two runs."""
LUA = Path(__file__).with_name("load.lua")


def run(root: Path, *, claims: int = 120_000, rounds: int = 3, seconds: int = 10) -> dict[str, Any]:
    """Figures of all three, medians over the rounds."""
    if shutil.which("wrk") is None:
        sys.exit("the benchmark needs the load generator wrk: apt-get install wrk")
    place = fresh_copy(prepare(root, claims))
    key = place.command("serving", "keys", "create", "--name", "bench", "--scope", "claims:write", "--scope", "admin")
    results: dict[str, list[dict[str, float]]] = {"echo": [], "decision": [], "tutorial": []}
    with server(place, "tests.benchmarks.applications:with_echo", "/healthz") as (url, process):
        first = int(load(place, url + "/v1/claims", place.bodies, key, 3)["requests"]) + SLACK
        for _round in range(rounds):
            results["echo"].append(load(place, url + "/echo", place.bodies, key, seconds))
            results["decision"].append(load(place, url + "/v1/claims", place.bodies, key, seconds, first))
            first += int(results["decision"][-1]["requests"]) + SLACK
        steps, approved, memory = step_times(url), approved_share(url), resident(process)
    with server(place, "tests.benchmarks.applications:tutorial", "/") as (url, _process):
        for _round in range(rounds):
            results["tutorial"].append(load(place, url + "/predict", place.flat, key, seconds))
    repeated = max(0, first - place.bodies.read_bytes().count(b"\n"))
    return summary(results) | {
        "steps_ms": steps, "approved_share": approved, "memory_mb": memory, "bodies_posted_twice": repeated
    }  # fmt: skip


@contextmanager
def server(place: Place, factory: str, path: str, **settings: str) -> Iterator[tuple[str, psutil.Process]]:
    """An application on Granian with the benchmark's workers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = (
        "from serving.commands.run import serve; from serving.settings import Settings; "
        "from serving.store.embedded import database_url; s = Settings.from_environment(); "
        f"serve(s, database_url(s), {factory!r})"
    )
    environment = place.environment | {"PORT": str(port), "WORKERS": str(WORKERS), "THREADS": str(THREADS)} | settings
    with (place.root / "service.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=log, stdout=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url + path)
        yield url, psutil.Process(process.pid)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _wait(url: str) -> None:
    for _attempt in range(200):
        with suppress(OSError):
            try:
                urllib.request.urlopen(url, timeout=2).close()
            except urllib.error.HTTPError:
                return
            return
        time.sleep(0.2)
    sys.exit("the service did not start; see service.log")


def load(place: Place, url: str, bodies: Path, key: str, seconds: int, first: int = 0) -> dict[str, float]:
    """One run of the load generator, from body number `first` on."""
    run_id = f"{time.time_ns():x}-"
    command = ["wrk", f"-t{GENERATORS}", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(LUA), url, "--",
               str(bodies), key, run_id, str(first), str(GENERATORS)]  # fmt: skip
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures: dict[str, float] = json.loads(printed.strip().splitlines()[-1])
    if figures["bad"]:
        sys.exit(f"{figures['bad']} of {figures['requests']} requests to {url} failed")
    return figures | {"rate": figures["requests"] / figures["seconds"]}


def step_times(url: str) -> dict[str, float]:
    """Mean milliseconds of each step of a decision, from the service's own metrics."""
    text = urllib.request.urlopen(url + "/metrics").read().decode()
    found = dict(re.findall(r'^risk_step_seconds_(\w+\{step="\w+"\}) ([\d.e+-]+)$', text, re.MULTILINE))
    names = sorted({re.search(r'"(\w+)"', name)[1] for name in found})  # type: ignore[index]
    return {
        name: 1000 * float(found[f'sum{{step="{name}"}}']) / float(found[f'count{{step="{name}"}}']) for name in names
    }


def approved_share(url: str) -> float:
    """Share of the decisions that approved: reviews cost an explanation more."""
    text = urllib.request.urlopen(url + "/metrics").read().decode()
    counts = re.findall(r'^risk_decisions_total\{decision="(\w+)",.*\} ([\d.e+]+)$', text, re.MULTILINE)
    total = sum(float(count) for _decision, count in counts)
    return round(sum(float(count) for decision, count in counts if decision == "approve") / total, 3)


def resident(process: psutil.Process) -> list[float]:
    """Resident memory of each worker in MB."""
    workers = [child for child in process.children(recursive=True) if child.memory_info().rss > 50e6]
    return sorted(round(child.memory_info().rss / 1e6, 1) for child in workers)


def summary(results: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians over the rounds, and the ratios of the rates."""
    medians = {
        name: {figure: round(statistics.median(run[figure] for run in runs), 3) for figure in ("rate", "p50", "p99")}
        for name, runs in results.items()
    }
    rate = medians["decision"]["rate"]
    return medians | {
        "decision_to_echo": round(rate / medians["echo"]["rate"], 3),
        "decision_to_tutorial": round(rate / medians["tutorial"]["rate"], 1),
    }
