"""What is answered is kept, whatever breaks: real processes, a real database, real signals."""

import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest
import requests

from serving.commands.run import GRACE_SECONDS
from serving.store.migrate import migrate
from tests.service import (
    Answer,
    Postgres,
    Server,
    a_claim,
    account,
    an_order,
    http_api,
    named,
    new_key,
    rows,
    unique,
    value,
    wait_until,
)  # fmt: skip
from training.promote import promote


class Load:
    """Threads that post distinct claims until stopped, and remember everything that was answered."""

    def __init__(self, server: Server, *, threads: int = 6, seed: int = 0) -> None:
        self.answered: dict[str, bytes] = {}
        self.sent: dict[str, dict[str, Any]] = {}
        self.refused: list[Answer] = []
        self.lost: list[str] = []
        self._server, self._seed = server, seed
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, number: int) -> None:
        rng = random.Random(f"{self._seed}-{number}")
        api = http_api(self._server.base, self._server.api.key, timeout=15)
        while not self._stop.is_set():
            # Some have no photo and go to a person; some share an order.
            claim = a_claim(amount=rng.randint(100, 9_000), evidence=[] if rng.random() < 0.2 else [{"evidence_id": "e", "kind": "photo"}])
            if rng.random() < 0.3:
                shared = f"shared-{self._seed}-{rng.randrange(5)}"
                claim["order"]["order_id"] = claim["buyer"]["buyer_id"] = claim["merchant"]["merchant_id"] = shared
            self.sent[claim["claim_id"]] = claim
            try:
                answer = api.post("/v1/claims", claim)
            except requests.RequestException as error:
                self.lost.append(f"{time.strftime('%X')} {error}")
                time.sleep(0.01)
                continue
            if answer.status == 200:
                self.answered[claim["claim_id"]] = answer.body
            else:
                self.refused.append(answer)

    def wait_for(self, more: int) -> None:
        """Until so many more claims are answered."""
        goal = len(self.answered) + more
        wait_until(lambda: len(self.answered) >= goal, seconds=30, what=f"{goal} claims are answered")


def check_kept(server: Server, load: Load) -> None:
    """Every answer is in the store, identical on repeat; nothing stands there twice or half done."""
    url = server.url
    stored = dict(rows(url, "SELECT claim_id, answer FROM decision"))
    for claim_id, body in load.answered.items():
        assert stored[claim_id].encode() == body
    for claim_id in random.Random(1).sample(sorted(load.sent), min(120, len(load.sent))):
        first, again = (server.api.post("/v1/claims", load.sent[claim_id]) for _ in range(2))
        assert (first.status, first.body) == (200, again.body)
        assert first.body == load.answered.get(claim_id, first.body)
    check_consistent(url)


def check_consistent(url: str) -> None:
    """Past, reservations and cases say the same as the decisions."""
    twice = "SELECT claim_id FROM past WHERE event = 'c' GROUP BY claim_id HAVING count(*) > 1"
    assert rows(url, twice) == []
    apart = """
        SELECT claim_id FROM decision FULL JOIN (SELECT claim_id FROM past WHERE event = 'c') AS p USING (claim_id)
        WHERE decision.digest IS NULL OR p.claim_id IS NULL
    """
    assert rows(url, apart) == []
    assert rows(url, "SELECT FROM decision LEFT JOIN review_case USING (claim_id) WHERE decision = 'review' AND case_id IS NULL") == []
    assert rows(url, "SELECT claim_id FROM review_case GROUP BY claim_id HAVING count(*) > 1") == []
    sums = "SELECT order_id, sum(amount)::bigint FROM decision WHERE decision = 'approve' GROUP BY order_id ORDER BY order_id"
    assert rows(url, sums) == rows(url, "SELECT order_id, approved FROM order_account WHERE approved > 0 ORDER BY order_id")
    waiting = "SELECT order_id, sum(amount)::bigint FROM decision WHERE decision = 'review' GROUP BY order_id ORDER BY order_id"
    assert rows(url, waiting) == rows(url, "SELECT order_id, waiting FROM order_account WHERE waiting > 0 ORDER BY order_id")
    assert rows(url, "SELECT FROM order_account WHERE approved > 9900") == []
    found = account(url)
    assert found.differences == ()
    assert found.approvals == value(url, "SELECT count(*) FROM decision WHERE decision = 'approve'") > 0


@pytest.fixture
def server(fresh_url: str, bundle_store: Path, tmp_path: Path) -> Iterator[Server]:
    """A service that a test may break."""
    with Server(fresh_url, bundle_store / "champion", tmp_path / "server") as running:
        yield running


@pytest.mark.parametrize("seed", range(4))
def test_after_a_kill_under_load_every_answer_is_kept_and_no_claim_is_decided_twice(server: Server, seed: int) -> None:
    rng = random.Random(seed)
    with Load(server, seed=seed) as load:
        load.wait_for(50)
        time.sleep(rng.uniform(0.0, 0.4))
        server.kill()
        assert requests.codes.ok not in {answer.status for answer in load.refused}
    assert load.lost
    server.start()
    assert server.ready()
    check_kept(server, load)


def test_a_killed_worker_is_replaced_and_no_answer_is_lost(server: Server) -> None:
    with Load(server) as load:
        load.wait_for(30)
        for _ in range(2):
            before = set(server.workers())
            assert len(before) == 2
            os.kill(min(before), signal.SIGKILL)
            wait_until(lambda before=before: len(set(server.workers()) - before) == 1, what="a new worker")
            load.wait_for(30)
    check_kept(server, load)


def test_a_stop_finishes_what_is_in_flight(server: Server, fresh_url: str) -> None:
    claims = [a_claim() for _ in range(300)]
    answers: list[Answer] = []

    def batch() -> None:
        answers.append(http_api(server.base, server.api.key, timeout=60).post("/v1/claims:batch", {"claims": claims}))

    def decided() -> int:
        return int(value(fresh_url, "SELECT count(*) FROM decision"))

    thread = threading.Thread(target=batch)
    thread.start()
    wait_until(lambda: decided() > 0, what="the batch has begun")
    assert decided() < 300
    assert server.stop() == 0
    thread.join(30)
    assert answers[0].status == 200
    assert [answer["claim_id"] for answer in answers[0].json["answers"]] == [claim["claim_id"] for claim in claims]
    assert decided() == 300


def test_a_stop_under_load_loses_no_answer(server: Server) -> None:
    with Load(server) as load:
        load.wait_for(50)
        assert server.stop() == 0
    assert all(answer.status == 503 for answer in load.refused)
    server.start()
    check_kept(server, load)


def test_a_stop_while_workers_are_still_loading_is_quick(fresh_url: str, promoted: Path, tmp_path: Path) -> None:
    for number in range(2):
        with Server(fresh_url, promoted, tmp_path / str(number), workers=4) as server:
            started = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - started < GRACE_SECONDS
            assert "refused to gracefully stop" not in server.log


def test_a_bundle_promoted_under_load_loses_no_request(server: Server, bundle_store: Path, candidates: dict[str, Path]) -> None:
    versions = []
    with Load(server) as load:
        for name in ("second", "first", "second"):
            load.wait_for(20)
            versions.append(version := promote(candidates[name], bundle_store))
            wait_until(
                lambda version=version: all(_version(server) == version for _ in range(6)), what=f"{version} is served"
            )
    assert (load.lost, load.refused) == ([], [])
    used = Counter(re.search(rb'"model_version":"([^"]+)"', body)[1].decode() for body in load.answered.values())  # type: ignore[index]
    assert {*used} == {*versions}
    check_kept(server, load)


def _version(server: Server) -> str:
    return str(server.api.decide(a_claim())["risk"]["model_version"])


def test_a_bundle_tampered_with_under_load_loses_no_request_and_approves_nothing_more(server: Server, bundle_store: Path) -> None:
    with Load(server) as load:
        load.wait_for(20)
        manifest = bundle_store / "champion" / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"threshold": 0.4', '"threshold": 0.9'))
        wait_until(lambda: all(server.api.decide(a_claim())["decision"] == "review" for _ in range(8)))
        before = set(load.answered)
        load.wait_for(30)
    assert (load.lost, load.refused) == ([], [])
    later = [body for claim_id, body in load.answered.items() if claim_id not in before]
    # Claims that were on their way at that moment may be among them; six threads have at most six.
    assert sum(b'"decision":"approve"' in body for body in later) <= 6
    check_consistent(server.url)


# --- the database goes away --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL that may be stopped."""
    running = Postgres()
    yield running
    running.remove()


@pytest.fixture
def fragile(own_postgres: Postgres, bundle_store: Path, tmp_path: Path) -> Iterator[Server]:
    """A service on a database that may be stopped."""
    if own_postgres.pid is None:
        own_postgres.start()
    name = unique("d").replace("-", "_")
    rows(own_postgres.url, f"CREATE DATABASE {name}")
    url = named(own_postgres.url, name)
    migrate(url)
    with Server(url, bundle_store / "champion", tmp_path / "server") as running:
        yield running


@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGKILL, signal.SIGINT])
def test_without_its_database_nothing_is_approved_and_afterwards_all_is_well_without_a_restart(
    fragile: Server, own_postgres: Postgres, how: signal.Signals
) -> None:
    with Load(fragile) as load:
        load.wait_for(40)
        own_postgres.stop(how)
        answered, refused = len(load.answered), len(load.refused)
        wait_until(lambda: len(load.refused) > refused + 20, seconds=30, what="claims are refused")
        # An answer may have been on its way when the database stopped.
        assert len(load.answered) - answered <= 6
        started = time.monotonic()
        own_postgres.start()
        back = time.monotonic()
        load.wait_for(40)
        assert time.monotonic() - back < 10, f"start took {back - started:.1f} s"
    assert {answer.status for answer in load.refused} == {503}
    for answer in load.refused:
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert load.lost == []
    assert fragile.ready()
    check_kept(fragile, load)


def test_every_call_says_503_while_the_database_is_away_and_the_service_stays_alive(
    fragile: Server, own_postgres: Postgres
) -> None:
    claim = a_claim()
    fragile.api.decide(claim)
    own_postgres.stop()
    api = fragile.api
    calls = [
        api.post("/v1/claims", claim), api.post("/v1/claims", a_claim()), api.get("/v1/cases"),
        api.get(f"/v1/claims/{claim['claim_id']}"), api.post("/v1/events", {"events": [an_order()]}),
    ]  # fmt: skip
    assert [(answer.status, "Retry-After" in answer.headers) for answer in calls] == [(503, True)] * 5
    assert api.get("/healthz", key=None).status == 200
    ready = api.get("/readyz", key=None)
    assert (ready.status, {*ready.json["missing"]}) == (503, {"database"})
    assert api.get("/metrics", key=None).status == 200
    own_postgres.start()
    wait_until(fragile.ready, seconds=10, what="it is ready again")


def test_a_worker_that_dies_while_the_database_is_away_comes_back_with_it(fragile: Server, own_postgres: Postgres) -> None:
    own_postgres.stop()
    for pid in fragile.workers():
        os.kill(pid, signal.SIGKILL)
    time.sleep(2.0)  # Long enough for new workers to find no database.
    own_postgres.start()
    wait_until(fragile.ready, seconds=15, what="it is ready again")
    wait_until(lambda: fragile.api.decide(a_claim())["decision"] == "approve", what="it decides")


def test_a_batch_says_of_each_claim_whether_it_was_written_down(fragile: Server, own_postgres: Postgres) -> None:
    claims = [a_claim() for _ in range(400)]
    api = http_api(fragile.base, fragile.api.key, timeout=60)
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(api.post("/v1/claims:batch", {"claims": claims})))
    thread.start()
    wait_until(lambda: value(fragile.url, "SELECT count(*) FROM decision") > 20, what="the batch has begun")
    own_postgres.stop()
    own_postgres.start()
    thread.join(60)
    assert answers[0].status == 200
    parts = answers[0].json["answers"]
    assert len(parts) == 400
    assert {part.get("decision", part.get("status")) for part in parts} == {"approve", 503}
    for claim, part in zip(claims, parts, strict=True):
        again = fragile.api.decide(claim)
        assert part.get("decision") is None or part == again
    check_consistent(fragile.url)


def test_a_connection_that_the_database_ends_is_made_anew_without_anybody_noticing(server: Server) -> None:
    with Load(server) as load:
        for _ in range(5):
            load.wait_for(100)  # Nobody is unlucky twice with one claim.
            with psycopg.connect(server.url, autocommit=True) as admin:
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
    assert (load.lost, load.refused) == ([], [])
    check_kept(server, load)


def test_a_key_made_before_a_crash_works_after_it(server: Server) -> None:
    key = new_key(server.url, "claims:write")
    server.kill()
    server.start()
    assert server.api.post("/v1/claims", a_claim(), key=key).status == 200
