"""Who may call what."""

import hashlib
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from risk.errors import InputError
from serving.store.database import Database
from serving.store.keys import SCOPES, Keys
from tests.conftest import Service
from tests.service import ROOT, Answer, Api, Server, a_claim, a_label, new_key, rows, unique, wait_until

CALLS = {
    "claims:write": [("POST", "/v1/claims"), ("POST", "/v1/claims:batch")],
    "claims:read": [("GET", "/v1/claims/x"), ("GET", "/v1/cases"), ("GET", "/v1/promise")],
    "events:write": [("POST", "/v1/events")],
    "admin": [("GET", "/v1/switch"), ("POST", "/v1/switch")],
}


def refused(answer: Answer, status: int) -> bool:
    assert answer.headers["Content-Type"] == "application/problem+json"
    if status == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    return answer.status == status


def keys_command(server: Server, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {"DATABASE_URL": server.url, "PATH": "/usr/bin:/bin", "DATA_DIR": str(server.folder)}
    command = [sys.executable, "-m", "serving", "keys", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("scope", CALLS)
def test_a_key_opens_the_calls_of_its_scope_and_no_other(service: Service, api: Api, scope: str) -> None:
    key = new_key(service.url, scope)
    for needed, calls in CALLS.items():
        for method, path in calls:
            body = {} if method == "POST" else None
            answer = api.call(method, path, body, key=key)
            assert (answer.status == 403) == (needed != scope), (path, answer.status)
            if answer.status == 403:
                assert refused(answer, 403)
                assert needed in answer.json["detail"]


def test_a_key_without_the_scope_changes_nothing(service: Service, api: Api) -> None:
    claim = a_claim()
    assert refused(api.post("/v1/claims", claim, key=new_key(service.url, "claims:read")), 403)
    assert refused(api.post("/v1/events", {"events": [a_label("x")]}, key=new_key(service.url, "claims:write")), 403)
    assert rows(service.url, "SELECT FROM decision WHERE claim_id = %s", claim["claim_id"]) == []


@pytest.mark.parametrize(("method", "path"), [call for calls in CALLS.values() for call in calls])
def test_without_a_key_every_call_is_refused(api: Api, method: str, path: str) -> None:
    assert refused(api.call(method, path, key=None), 401)


@pytest.mark.parametrize(
    "header",
    [
        "", "Bearer", "Bearer ", "Bearer x", "Bearer rk__", "Bearer rk_x_y", "Bearer rk_%00_y", "Basic dXNlcjpwYXNz", "Token {}",
        "{}", "Bearer {}x", "Bearer x{}", "Bearer {} {}", "Bearer {},", "Bearer \xe9", "Bearer rk_\xff_\xfe", "Bearer " + "x" * 8_000,
        "Digest username=x", "Bearer null", "Bearer rk_{}",
    ],
)  # fmt: skip
def test_a_header_that_is_not_quite_right_is_refused(api: Api, header: str) -> None:
    answer = api.get("/v1/cases", key=None, headers={"Authorization": header.replace("{}", api.key)})
    assert refused(answer, 401)


def test_the_word_bearer_may_be_written_in_any_case(api: Api) -> None:
    for word in ("bearer", "BEARER", "Bearer "):
        assert api.get("/v1/cases", key=None, headers={"Authorization": f"{word} {api.key}"}).status == 200


def test_another_secret_under_a_known_id_is_refused(service: Service, api: Api) -> None:
    mine, other = new_key(service.url), new_key(service.url)
    mixed = "_".join([*mine.split("_")[:2], other.split("_", 2)[2]])
    assert refused(api.get("/v1/cases", key=mixed), 401)


def test_a_secret_is_shown_once_and_kept_as_a_hash(service: Service) -> None:
    key = new_key(service.url, "claims:read", name="reader")
    _, key_id, secret = key.split("_", 2)
    row = rows(service.url, "SELECT * FROM api_key WHERE key_id = %s", key_id)[0]
    assert bytes(row[2]) == hashlib.sha256(secret.encode()).digest()
    assert secret not in str(row)
    assert len(secret) >= 43
    dump = "SELECT string_agg(t::text, ' ') FROM api_key AS t"
    assert secret not in str(rows(service.url, dump))


@pytest.mark.parametrize(("name", "scopes"), [("x", ["all"]), ("x", []), (" ", ["admin"]), ("x", ["admin", "claims:Write"])])
def test_a_key_that_makes_no_sense_is_not_made(service: Service, name: str, scopes: list[str]) -> None:
    database = Database(service.url)
    before = rows(service.url, "SELECT count(*) FROM api_key")
    with pytest.raises(InputError):
        Keys(database).create(name, scopes)
    assert rows(service.url, "SELECT count(*) FROM api_key") == before
    database.close()


def test_a_revoked_key_is_dead_everywhere_within_three_seconds(server: Server) -> None:
    key = new_key(server.url, "claims:read")
    for _ in range(8):
        assert server.api.get("/v1/cases", key=key).status == 200
    assert keys_command(server, "revoke", key.split("_")[1]).returncode == 0
    wait_until(lambda: server.api.get("/v1/cases", key=key).status == 401, seconds=3, what="the key is dead")
    wait_until(lambda: all(server.api.get("/v1/cases", key=key).status == 401 for _ in range(8)), seconds=3)


def test_the_command_makes_lists_and_revokes_keys(server: Server) -> None:
    name = unique("name")
    made = keys_command(server, "create", "--name", name, "--scope", "claims:write", "--scope", "claims:read")
    key = made.stdout.strip()
    assert (made.returncode, made.stderr) == (0, "")
    assert server.api.post("/v1/claims", a_claim(), key=key).status == 200
    key_id, secret = key.split("_", 2)[1:]
    listed = keys_command(server, "list").stdout
    assert secret not in listed
    assert any(key_id in line and name in line and "live" in line for line in listed.splitlines())
    assert keys_command(server, "revoke", key_id).returncode == 0
    again = keys_command(server, "revoke", key_id)
    assert (again.returncode, again.stdout) == (1, "")
    assert "no live key" in again.stderr
    assert any(key_id in line and "revoked" in line for line in keys_command(server, "list").stdout.splitlines())


def test_the_command_names_the_scopes_there_are(server: Server) -> None:
    made = keys_command(server, "create", "--name", "x", "--scope", "everything")
    assert (made.returncode, made.stdout) == (1, "")
    assert all(scope in made.stderr for scope in SCOPES)


def test_keys_that_cannot_be_checked_in_time_let_nobody_in(own_service: Service) -> None:
    with psycopg.connect(own_service.url) as blocker:
        blocker.execute("LOCK TABLE api_key IN ACCESS EXCLUSIVE MODE")
        answer = own_service.api.get("/v1/cases")
        assert (answer.status, answer.headers["Content-Type"]) == (503, "application/problem+json")
        assert answer.headers["Retry-After"]
    assert own_service.api.get("/v1/cases").status == 200


def test_no_secret_is_written_to_the_log(server: Server, tmp_path: Path) -> None:
    server.api.get("/v1/cases", key="rk_abc_secretsecretsecret")
    assert "secretsecretsecret" not in server.log
    assert server.api.key not in server.log
