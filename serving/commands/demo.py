"""`demo`: a marketplace, a bundle, the service and a few decided claims, in one command that can be given again."""

import argparse
import json
import signal
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psycopg

from risk.errors import RiskError
from serving.commands.run import free_port, web_address
from serving.demo import prepare
from serving.demo.card import card
from serving.demo.cast import Scene, scenes
from serving.demo.client import Client, local
from serving.demo.lock import Lock
from serving.demo.rehearse import ranker
from serving.demo.server import Server
from serving.demo.steps import Steps, check_disk, say
from serving.settings import ROOT, Settings
from serving.store.database import Database
from serving.store.embedded import database_url, stop
from serving.store.migrate import migrate

SCARCE = 50 * 2**20
"""With less than this left (bytes), whatever failed is put down to the disk."""
_GOES_ON = "stopped; the next start goes on with what is there"
"""Not said after a failure: the next start would meet it again."""


@dataclass(frozen=True)
class Stage:
    """What the steps need of each other."""

    settings: Settings
    folder: Path
    lock: Lock
    language: str

    @property
    def address(self) -> tuple[str, int]:
        """Where the service is reached from this machine."""
        return local(self.settings.host), self.settings.port

    @property
    def url(self) -> str:
        """The same for a browser."""
        return web_address(*self.address)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--lang", choices=("en", "zh"), default="en", help="zh gives the reasons in Chinese as well")
    parser.add_argument("--once", action="store_true", help="end after the decisions instead of staying up")
    parser.add_argument("--stop", action="store_true", help="stop what an earlier demonstration left running")
    parser.epilog = "DEMO_CLAIMS (size of the marketplace), HOST, PORT, DATABASE_URL and others: docs/operations.md"


def run(args: argparse.Namespace) -> None:
    """Prepare what is missing, serve, show, stay up until Ctrl-C."""
    settings = Settings.from_environment()
    folder = settings.data_dir / "demo"
    stage = Stage(settings, folder, _lock(folder), args.lang)
    if args.stop:
        _stop(stage)
        return
    stage.lock.take()
    free_port(settings.host, settings.port)
    # SIGINT as well: whoever starts this in the background of a script hands it on ignored, and could not stop it.
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, _interrupt)
    try:
        _perform_and_tidy(stage, once=args.once)
    except KeyboardInterrupt:
        say(_GOES_ON)
        raise
    say(_GOES_ON)


def _perform_and_tidy(stage: Stage, *, once: bool) -> None:
    try:
        _perform(stage, once=once)
    except (OSError, psycopg.Error, RiskError) as error:
        check_disk(stage.folder, SCARCE)
        if isinstance(error, psycopg.Error):
            raise RiskError(f"the database failed: {str(error).splitlines()[0]}") from error
        raise
    finally:
        _stop_database(stage.settings)


def _perform(stage: Stage, *, once: bool) -> None:
    steps, claims = Steps(8), stage.settings.demo_claims
    with steps.step("PostgreSQL" + (" at DATABASE_URL" if stage.settings.database_url else ", an embedded one")):
        url = database_url(stage.settings)
    with steps.step("tables"):
        migrate(url)
    database = Database(url)
    with steps.step(f"a made-up marketplace of about {claims:,} claims over a year and a half"):
        history = prepare.simulate(stage.folder, claims)
    with steps.step("a model, trained, calibrated and certified on its past"):
        bundle = prepare.train(stage.settings, history)
    with steps.step("the past into the database"):
        prepare.load(database, history)
    server = None
    try:
        with steps.step("the service"):
            server = Server(stage.settings, url, stage.folder / "service.log", lock=stage.lock.descriptor)
            stage.lock.note(service=server.process, url=stage.url)
            server.wait_until_ready()
        with steps.step("an API key"):
            key = prepare.api_key(database, stage.address, stage.folder / "key")
        with steps.step("a few claims over HTTP"):
            shown = scenes(database, history, ranker(database, bundle, stage.settings.appetite))
        _show(stage, shown, key)
        if not once:
            _tell_addresses(stage)
            server.wait()
    except KeyboardInterrupt:
        say("\nstopping: requests in flight finish first")
    finally:
        _ignore_further_signals()
        if server is not None:
            server.stop()
        database.close()


def _show(stage: Stage, shown: list[Scene], key: str) -> None:
    """Send each claim and print its decision; then the first one again."""
    client = Client(*stage.address, key)
    client.call("GET", "/healthz")
    print("\nThe parties are of the simulated past, chosen so that you see both decisions; the decisions are the service's own.")
    print("Of the reasons, + raises the risk and - lowers it.")
    for number, scene in enumerate(shown, start=1):
        answer = client.call("POST", "/v1/claims", scene.claim)
        if answer.status != 200:
            raise RiskError(f"the service answered {answer.status}: {answer.body.get('detail')}")
        # An approval is explained when somebody asks for it.
        reasons = client.call("GET", f"/v1/claims/{scene.claim['claim_id']}").body["reasons"]
        print("\n" + card(number, scene, answer, reasons=reasons, language=stage.language))
    first = stage.folder / "claim.json"
    first.write_text(json.dumps(shown[0].claim, indent=2) + "\n")
    again = client.call("POST", "/v1/claims", shown[0].claim)
    print(f"\nClaim 1 once more: answered from its first decision in {again.milliseconds:.0f} ms, nothing is decided twice.")


def _tell_addresses(stage: Stage) -> None:
    folder = _short(stage.folder)
    print(f"""
The service is up.
   claims    {stage.url}/v1/claims       description of every call: {stage.url}/docs
   health    {stage.url}/readyz          metrics: {stage.url}/metrics
   key       {folder / "key"}            log: {folder / "service.log"}

Try it: claim 1 again gives the same answer; with another amount it is refused (409), with another claim_id decided.
   curl -s {stage.url}/v1/claims -H "Authorization: Bearer $(cat {folder / "key"})" \\
        -H 'Content-Type: application/json' -d @{folder / "claim.json"}

Ctrl-C stops it. `make run` brings it back within seconds.""", flush=True)


def _stop(stage: Stage) -> None:
    running = stage.lock.end_holder()
    _stop_database(stage.settings)
    print("stopped" if running else "no demonstration was running")


def _stop_database(settings: Settings) -> None:
    """End the embedded server, unless somebody else works on it."""
    folder = settings.data_dir / "postgres"
    if settings.database_url or not (folder / "postmaster.pid").exists():
        return
    if prepare.others_connected(database_url(settings)):
        say("the embedded PostgreSQL stays up: something else uses it (`python -m serving stop` ends it)")
        return
    stop(folder)


def _lock(folder: Path) -> Lock:
    try:
        return Lock(folder)
    except OSError as error:
        raise RiskError(f"{folder} cannot be written to ({error.strerror}); set DATA_DIR to a folder of your own") from error


def _short(path: Path) -> Path:
    """As it is typed in the folder of the project."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) and Path.cwd() == ROOT else path


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _ignore_further_signals() -> None:
    """A second Ctrl-C must not cut the stop short and leave processes behind."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
