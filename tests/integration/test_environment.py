"""`.ci/environment`: who waited for somebody else's set-up looks again before installing anything."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.service import wait_until

ROOT = Path(__file__).resolve().parents[2]
PINS = ("requirements.txt", "requirements-dev.txt", "constraints.txt")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the script, its pins and an environment in which an installation would be seen."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "environment", tmp_path / ".ci" / "environment")
    for name in PINS:
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\ncase "$*" in *install*) touch {tmp_path}/installed-anew;; esac\n', encoding="utf-8")
    python.chmod(0o755)
    return tmp_path


def stamp(project: Path, wanted: str) -> None:
    """What a finished set-up of `wanted` leaves behind."""
    total = subprocess.run(["cksum"], input=b"".join((project / name).read_bytes() for name in PINS), capture_output=True, check=True)
    (project / ".venv" / f"installed-{wanted}").write_bytes(total.stdout)


def set_up(project: Path, wanted: str) -> "subprocess.Popen[bytes]":
    with (project / "told").open("wb") as told:
        return subprocess.Popen([project / ".ci" / "environment", wanted], cwd=project, stderr=told)


@pytest.mark.parametrize(("made", "wanted"), [("requirements.txt", "requirements.txt"), ("requirements-dev.txt", "requirements.txt")])
def test_what_another_set_up_installed_meanwhile_is_not_installed_again(project: Path, made: str, wanted: str) -> None:
    lock = project / ".venv.lock"
    lock.mkdir()
    (lock / "process").write_text(str(os.getpid()))
    waiting = set_up(project, wanted)
    wait_until(lambda: "waiting for it" in (project / "told").read_text())
    stamp(project, made)
    shutil.rmtree(lock)
    assert waiting.wait(20) == 0
    assert not (project / "installed-anew").exists()
    assert (project / ".venv" / f"installed-{made}").exists()
    assert not lock.exists()


def test_what_tests_need_is_installed_where_only_the_product_is(project: Path) -> None:
    stamp(project, "requirements.txt")
    assert set_up(project, "requirements-dev.txt").wait(20) == 0
    assert (project / "installed-anew").exists()


def test_an_environment_that_is_ready_is_left_alone(project: Path) -> None:
    stamp(project, "requirements-dev.txt")
    assert set_up(project, "requirements.txt").wait(20) == 0
    assert not (project / "installed-anew").exists()
