"""Approving at once, turned off and on: in effect everywhere within two seconds, with a trail."""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from risk.claim import Claim
from risk.decision import Past
from serving.store.decisions import Decisions
from tests.conftest import Service
from tests.service import ROOT, Api, Server, a_claim, failed, new_database, new_key, rows

IN_EFFECT_SECONDS = 2.0


@pytest.fixture(scope="module")
def two_workers(postgres: str, template: str, promoted: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    url = new_database(postgres, template=template)
    with Server(url, promoted, tmp_path_factory.mktemp("switch")) as running:
        yield running


def command(server: Server, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {"DATABASE_URL": server.url, "PATH": "/usr/bin:/bin", "DATA_DIR": str(server.folder)}
    return subprocess.run(
        [sys.executable, "-m", "serving", "switch", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def large() -> dict[str, Any]:
    return a_claim(amount=50_000, order={"paid_amount": 50_000})


def turn(api: Api, **body: Any) -> dict[str, Any]:
    answer = api.post("/v1/switch", {"why": "a test"} | body)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json
    return found


def test_a_command_turns_every_worker_off_and_on_within_two_seconds(two_workers: Server) -> None:
    api = two_workers.api
    for verb, decision in (("off", "review"), ("on", "approve")):
        done = command(two_workers, verb, "--who", "the owner", "--why", "parcels are lost by the hundred")
        assert (done.returncode, done.stderr) == (0, "")
        turned = time.monotonic()
        assert f"all {verb}, by the owner: parcels are lost by the hundred" in done.stdout
        time.sleep(IN_EFFECT_SECONDS)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: api.decide(a_claim()), range(40)))
        assert {answer["decision"] for answer in found} == {decision}
        assert all(failed(answer) == (["switch"] if verb == "off" else []) for answer in found)
        assert time.monotonic() - turned < 60
    listed = command(two_workers, "list")
    assert listed.returncode == 0
    assert ["all", "on"] in [line.split() for line in listed.stdout.splitlines()]
    assert listed.stdout.count("by the owner") == 2


def test_a_claim_that_is_looked_up_after_the_turn_obeys_it_at_once(two_workers: Server) -> None:
    api = two_workers.api
    for _ in range(10):
        turn(api, on=False)
        assert failed(api.decide(a_claim())) == ["switch"]
        turn(api, on=True)
        assert failed(api.decide(a_claim())) == []


@pytest.mark.parametrize("segment", ["all", "small"])
def test_a_claim_that_was_looked_up_before_the_turn_is_not_approved_after_it(
    own_service: Service, monkeypatch: pytest.MonkeyPatch, segment: str
) -> None:
    look_up = Decisions.look_up

    def held_up(decisions: Decisions, claim: Claim, now: int) -> tuple[bool, Past]:
        found = look_up(decisions, claim, now)
        own_service.parts.switches.turn(segment, on=False, who="tests", why="meanwhile")
        return found

    monkeypatch.setattr(Decisions, "look_up", held_up)
    assert failed(own_service.api.decide(a_claim())) == ["switch"]


def test_a_segment_alone_is_turned_off(own_service: Service) -> None:
    api = own_service.api
    found = turn(api, segment="large", on=False)
    assert found["switches"] == {"all": True, "small": True, "large": False}
    assert failed(api.decide(large())) == ["switch"]
    assert failed(api.decide(a_claim())) == []
    # Everything being on again says nothing about a segment that somebody turned off.
    turn(api, on=True)
    assert failed(api.decide(large())) == ["switch"]


def test_every_turn_is_in_the_trail_with_who_and_why_for_ever(own_service: Service) -> None:
    api = own_service.api
    turn(api, on=False, why="first")
    turn(api, on=False, why="second")
    turns = turn(api, on=True, why="third")["turns"]
    assert [(one["why"], one["on"], one["segment"]) for one in turns] == [("third", True, "all"), ("second", False, "all"), ("first", False, "all")]
    assert all("key " in one["who"] for one in turns)
    assert turns == api.get("/v1/switch").json["turns"]
    for statement in ("UPDATE switch_turn SET why = 'other'", "DELETE FROM switch_turn", "TRUNCATE switch_turn"):
        with pytest.raises(psycopg.errors.RaiseException, match="never changed"):
            rows(own_service.url, statement)


def test_only_a_key_for_administration_turns_or_reads_the_switch(service: Service, api: Api) -> None:
    key = new_key(service.url, "claims:write", "claims:read", "events:write")
    assert api.post("/v1/switch", {"on": False, "why": "no"}, key=key).status == 403
    assert api.get("/v1/switch", key=key).status == 403
    assert api.get("/v1/switch", key=None).status == 401
    assert failed(api.decide(a_claim())) == []


@pytest.mark.parametrize(
    ("body", "status", "pointers"),
    [
        ({"on": False, "why": "x", "segment": "medium"}, 422, ["/segment"]),
        ({"on": "no", "why": " "}, 400, ["/on", "/why"]),
        ({"off": True}, 400, ["/off", "/on", "/why"]),
    ],
)
def test_a_turn_that_makes_no_sense_is_refused_and_changes_nothing(
    service: Service, api: Api, body: dict[str, Any], status: int, pointers: list[str]
) -> None:
    answer = api.post("/v1/switch", body)
    assert (answer.status, sorted(error["pointer"] for error in answer.json["errors"])) == (status, pointers)
    assert rows(service.url, "SELECT FROM switch_turn") == []


def test_the_command_names_what_it_cannot_use(two_workers: Server) -> None:
    done = command(two_workers, "off", "--segment", "medium", "--why", "x", "--who", "y")
    assert (done.returncode, done.stdout) == (1, "")
    assert "one of all, small, large is expected" in done.stderr
    done = command(two_workers, "off", "--why", " ", "--who", "")
    assert done.returncode == 1
    assert done.stderr.count("a text of at most") == 2


def test_an_approval_before_the_turn_is_repeated_after_it(own_service: Service) -> None:
    api, claim = own_service.api, a_claim()
    before = api.decide(claim)
    turn(api, on=False)
    assert (before["decision"], api.decide(claim)) == ("approve", before)
