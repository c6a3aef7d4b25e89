"""`make run`, as a newcomer meets it: from nothing to decisions, stopped, started again, in each other's way."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import requests

from serving.demo import prepare
from serving.settings import Settings
from tests.service import ROOT, free_port

FIRST_SECONDS, AGAIN_SECONDS = 240, 60


@dataclass
class Place:
    """A folder and a port of our own."""

    folder: Path
    port: int

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        return inherited | {
            "DATA_DIR": str(self.folder / "var"),
            "BUNDLE_DIR": str(self.folder / "bundles" / "champion"),
            "BUNDLE_KEY": "a key for this test only, and long enough",
            "PORT": str(self.port),
            "DEMO_CLAIMS": "40000",
            "WORKERS": "1",
        }

    def demo(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            [sys.executable, "-m", "serving", "demo", *arguments],
            cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=FIRST_SECONDS, check=False,
        )  # fmt: skip

    def processes(self) -> list[psutil.Process]:
        """Everything that still runs on this folder."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            if any(str(self.folder) in part for part in process.info["cmdline"] or []):
                found.append(process)
        return found


class Running:
    """A demonstration that stays up, and what it printed."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.output = place.folder / "output.txt"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "serving", "demo", "--lang", "zh"],
                cwd=ROOT, env=place.environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def wait_until_up(self, seconds: float) -> str:
        deadline = time.monotonic() + seconds
        while "The service is up" not in (text := self.output.read_text()):
            assert self.process.poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.1)
        return text

    def stop(self) -> int:
        """As Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("demo"), free_port())
    yield place
    place.demo("--stop")


def test_from_nothing_to_decisions_stopped_and_started_again(place: Place) -> None:
    running = Running(place)
    text = running.wait_until_up(FIRST_SECONDS)
    assert "step 8 of 8" in text
    assert "APPROVED AT ONCE" in text
    assert "GOES TO A PERSON" in text
    assert "Missing: a photo or a video." in text
    assert "+ raises the risk and - lowers it" in text
    assert "later ones\n" in text and "(less is better)" in text
    assert requests.get(f"http://127.0.0.1:{place.port}/readyz", timeout=5).status_code == 200

    key = place.folder / "var" / "demo" / "key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    claim = (place.folder / "var" / "demo" / "claim.json").read_bytes()
    headers = {"Authorization": f"Bearer {key.read_text().strip()}", "Content-Type": "application/json"}
    answer = requests.post(f"http://127.0.0.1:{place.port}/v1/claims", claim, headers=headers, timeout=5)
    assert answer.json()["decision"] == "approve"

    second = place.demo()
    assert second.returncode == 1
    assert "runs in" in second.stderr and "make stop" in second.stderr
    assert f"at http://127.0.0.1:{place.port}," in second.stderr

    assert running.stop() == 0
    assert place.processes() == []

    before = key.read_text()
    again = Running(place)
    text = again.wait_until_up(AGAIN_SECONDS)
    assert "reusing the marketplace" in text and "reusing bundle" in text and "in the database already" in text
    assert "demonstration's own" not in text
    assert "APPROVED AT ONCE" in text
    assert key.read_text() == before

    # Killed, it leaves its service behind; `--stop` finds and ends it.
    again.process.kill()
    again.process.wait()
    assert requests.get(f"http://127.0.0.1:{place.port}/healthz", timeout=5).status_code == 200
    assert place.demo("--stop").stdout == "stopped\n"
    assert place.processes() == []


def test_a_port_in_use_is_one_sentence_with_its_remedy(place: Place) -> None:
    with socket.create_server(("127.0.0.1", place.port)):
        refused = place.demo()
    assert refused.returncode == 1
    assert refused.stderr.strip().count("\n") == 0
    assert "set PORT" in refused.stderr


def test_a_database_that_is_away_is_one_sentence_and_promises_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path, free_port())
    away = place.environment | {"DATABASE_URL": f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"}
    done = subprocess.run(
        [sys.executable, "-m", "serving", "demo"], cwd=ROOT, env=away, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: the database does not answer: ")
    assert "goes on" not in done.stderr


def test_a_bundle_that_the_demonstration_did_not_make_is_reused_and_said_to_be_none_of_its_own(
    promoted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "claims.parquet").write_bytes(b"another history")
    bundle = prepare.train(Settings(bundle_dir=promoted), tmp_path)
    assert capsys.readouterr().err == f"  reusing bundle {bundle.version} (not the demonstration's own)\n"


def test_a_size_that_cannot_train_is_refused_at_once(place: Place) -> None:
    broken = {**place.environment, "DEMO_CLAIMS": "12"}
    done = subprocess.run(
        [sys.executable, "-m", "serving", "demo"], cwd=ROOT, env=broken, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "DEMO_CLAIMS" in done.stderr
