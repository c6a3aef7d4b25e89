"""The service as a child process."""

import os
import subprocess
import sys
import time
from http.client import HTTPException
from pathlib import Path

from serving.commands.run import GRACE_SECONDS
from serving.demo.client import Client, local
from serving.demo.steps import StepFailed
from serving.settings import ROOT, Settings

PATIENCE_SECONDS = 60.0


class Server:
    """`python -m serving run` on the same settings; what it logs goes to a file."""

    def __init__(self, settings: Settings, url: str, log: Path, *, lock: int) -> None:
        self._settings = settings
        self._log = log
        with log.open("wb") as output:
            # A session of its own: Ctrl-C reaches it only through `stop`, once, when its turn has come.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "serving", "run"],
                cwd=ROOT,
                env=os.environ | {"DATABASE_URL": url},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=(lock,),
            )

    @property
    def process(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Raises StepFailed with the service's last words where it does not become ready."""
        client = Client(local(self._settings.host), self._settings.port, timeout=2.0)
        deadline = time.monotonic() + PATIENCE_SECONDS
        last = "it does not answer"
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise StepFailed(f"the service ended at once: {self._last_words()}")
            try:
                answer = client.call("GET", "/readyz")
            except (OSError, HTTPException, ValueError):
                time.sleep(0.1)
                continue
            if answer.status == 200:
                return
            last = "; ".join(f"{name}: {detail}" for name, detail in answer.body.get("missing", {}).items())
            time.sleep(0.2)
        raise StepFailed(f"the service did not become ready within {PATIENCE_SECONDS:.0f} s: {last}. See {self._log}")

    def wait(self) -> None:
        """Until the service ends by itself, which it never should; raises StepFailed then."""
        status = self._process.wait()
        raise StepFailed(f"the service ended with status {status}: {self._last_words()}")

    def stop(self) -> None:
        """Requests in flight finish; whatever still runs after the grace is killed."""
        if self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(GRACE_SECONDS + 5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return " ".join(lines[-3:]) or f"it said nothing; see {self._log}"
