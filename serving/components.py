"""Everything that a worker holds, built once and handed to the routes."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from flask import current_app

from risk.decision import Decider
from risk.errors import Unavailable
from risk.features import load_features
from risk.gates import load_rules
from risk.policy.definition import load_policies
from risk.promise.appetite import load_appetite
from serving.champion import Champion
from serving.service import ClaimService
from serving.settings import Settings
from serving.store.database import Database
from serving.store.decisions import Decisions
from serving.store.events import Events
from serving.store.keys import Keys
from serving.store.switch import Switches
from serving.store.totals import STALEST

NAME = "risk"


@dataclass(frozen=True)
class Components:
    """The parts of one worker."""

    settings: Settings
    database: Database
    champion: Champion
    decisions: Decisions
    events: Events
    keys: Keys
    switches: Switches
    service: ClaimService


def build(
    settings: Settings,
    url: str,
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    stalest: int = STALEST,
) -> Components:
    """Real parts on a database address; `clock` and `stalest` (how far it may be from the database's) are for replays.

    Raises Unavailable where the database is away or not migrated.
    """
    features = load_features()
    database = Database(url, statement_timeout_ms=settings.statement_timeout_ms)
    row = database.run(
        lambda connection: connection.execute("SELECT value FROM setting WHERE name = 'audit_secret'").fetchone()
    )
    if row is None:
        raise Unavailable("the database has no audit secret: run `python -m serving migrate`")
    champion = Champion(settings.bundle_dir)
    decisions = Decisions(database, features, stalest=stalest)
    decider = Decider(
        features=features,
        rules=load_rules(),
        policies=load_policies(),
        appetite=load_appetite(settings.appetite),
        audit_secret=str(row[0]).encode(),
    )
    return Components(
        settings=settings,
        database=database,
        champion=champion,
        decisions=decisions,
        events=Events(database, features, stalest=stalest),
        keys=Keys(database),
        switches=Switches(database, decider.appetite),
        service=ClaimService(decisions=decisions, champion=champion, decider=decider, clock=clock),
    )


def components() -> Components:
    """The parts of the worker that handles this request."""
    return cast(Components, current_app.extensions[NAME])
