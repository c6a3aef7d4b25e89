"""The embedded PostgreSQL: stopped without alarm, and never behind a socket that everybody may use."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from risk.errors import Unavailable
from serving.store import embedded
from tests.service import ROOT, Postgres, free_port, wait_until


def command(folder: Path, *arguments: str, **settings: str) -> "subprocess.Popen[str]":
    environment = {name: text for name, text in os.environ.items() if name != "DATABASE_URL"} | {"DATA_DIR": str(folder), **settings}
    return subprocess.Popen(
        [sys.executable, "-m", "serving", *arguments],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def said(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


def answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/healthz", timeout=5).status_code == 200
    except requests.RequestException:
        return False


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    running = Postgres()
    yield running
    running.remove()


def test_a_stop_says_so_in_one_line_and_a_second_one_that_nothing_runs(tmp_path: Path) -> None:
    embedded.start(tmp_path / "postgres")
    assert said(command(tmp_path, "stop")) == (0, "the embedded PostgreSQL is stopped\n", "")
    nothing = f"no embedded PostgreSQL runs in {tmp_path / 'postgres'}\n"
    assert said(command(tmp_path, "stop")) == (0, nothing, "")
    assert said(command(tmp_path / "elsewhere", "stop"))[1].startswith("no embedded PostgreSQL runs in")


def test_a_server_that_was_killed_does_not_run_and_is_not_started_to_be_stopped(own_postgres: Postgres) -> None:
    own_postgres.stop(signal.SIGKILL)
    assert (own_postgres.data / "postmaster.pid").exists()
    assert embedded.stop(own_postgres.data) is False


def test_a_process_that_got_the_number_of_a_killed_server_is_left_alone(own_postgres: Postgres) -> None:
    own_postgres.stop(signal.SIGKILL)
    with subprocess.Popen(["sleep", "60"]) as other:
        note = own_postgres.data / "postmaster.pid"
        note.write_text("\n".join([str(other.pid), *note.read_text().splitlines()[1:]]) + "\n")
        assert embedded.stop(own_postgres.data) is False
        assert other.poll() is None
        other.kill()


def test_the_service_tells_where_it_listens_and_that_its_database_goes_on(tmp_path: Path) -> None:
    assert said(command(tmp_path, "migrate"))[0] == 0
    try:
        port = free_port()
        with command(tmp_path, "run", PORT=str(port), WORKERS="1", BUNDLE_DIR=str(tmp_path / "none")) as service:
            assert service.stdout is not None
            assert service.stdout.readline() == f"listening on http://127.0.0.1:{port}; Ctrl-C stops it\n"
            wait_until(lambda: answers(port), what="the service answers")
            service.send_signal(signal.SIGTERM)
            status, output, _ = said(service)
        assert status == 0
        assert output == "stopped; the embedded PostgreSQL goes on (`python -m serving stop` ends it)\n"
        wait_until(lambda: said(command(tmp_path, "stop"))[1] == "the embedded PostgreSQL is stopped\n")
    finally:
        embedded.stop(tmp_path / "postgres")


def long_folder(parent: Path) -> Path:
    """A data folder in which a socket has no place any more."""
    return parent / ("a-folder-with-a-name-that-is-longer-than-anybody-likes-" + "x" * 60) / "postgres"


def test_as_root_a_path_too_long_for_a_socket_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    folder = long_folder(tmp_path)
    with pytest.raises(Unavailable, match=r"too long for the socket.*set DATA_DIR to a shorter path, or DATABASE_URL"):
        embedded.start(folder)
    assert not folder.parent.exists()


def test_the_longest_path_that_has_a_place_for_a_socket_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    longest = Path("/" + "x" * (embedded._LONGEST_SOCKET - len("//.s.PGSQL.5432")))
    embedded._refuse_open_socket(longest)
    with pytest.raises(Unavailable, match=f"{embedded._LONGEST_SOCKET + 1} bytes with the socket's name"):
        embedded._refuse_open_socket(Path(f"{longest}x"))


def test_nobody_else_can_reach_the_socket(own_postgres: Postgres) -> None:
    folder = Path(parse_qs(urlsplit(own_postgres.url).query)["host"][0])
    assert folder == own_postgres.data
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() == 0, reason="root is refused")
def test_an_ordinary_user_gets_a_private_socket_for_a_path_of_any_length(tmp_path: Path) -> None:
    folder = long_folder(tmp_path)
    url = embedded.start(folder)
    try:
        runtime = Path(parse_qs(urlsplit(url).query)["host"][0]).parent.parent
        assert stat.S_IMODE(runtime.stat().st_mode) == 0o700
        assert runtime.stat().st_uid == os.geteuid()
    finally:
        embedded.stop(folder)
