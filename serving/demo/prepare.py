"""Everything that has to be there before the service starts. Each step looks first whether its result is there already."""

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pyarrow.parquet as pq

from risk.bundle import Bundle, signing_key
from risk.claim import microseconds
from risk.errors import BundleError, InputError, Problem
from serving.commands.load import load_log
from serving.demo.client import Client
from serving.demo.steps import check_disk, say, training
from serving.settings import Settings
from serving.store.database import Database
from serving.store.keys import Keys

DAYS = 548
SEED = 7
SPACE, SPACE_A_CLAIM = 300 * 2**20, 15_000
"""Bytes on the disk, for the database mostly."""
SCOPES = ["claims:write", "claims:read", "events:write"]


def simulate(folder: Path, claims: int) -> Path:
    """A history whose last day is yesterday."""
    history = folder / "history"
    if history.exists():
        found = pq.ParquetFile(history / "claims.parquet").metadata.num_rows
        say(f"  reusing the marketplace of {found:,} claims in {history}")
        return history
    check_disk(folder, SPACE + claims * SPACE_A_CLAIM)
    start = datetime.now(UTC).date() - timedelta(days=DAYS)
    training(
        "simulate", "--out", str(history), "--claims", str(claims), "--seed", str(SEED),
        "--start", start.isoformat(), "--days", str(DAYS),
    )  # fmt: skip
    return history


def train(settings: Settings, history: Path) -> Bundle:
    """A sound champion: the one that is there, else a newly trained one."""
    try:
        bundle = Bundle.load(settings.bundle_dir.resolve(), signing_key())
    except BundleError as error:
        if settings.bundle_dir.exists():
            say(f"  the bundle in {settings.bundle_dir} is not sound ({error}); training another one")
    else:
        own = _is_of(bundle, history)
        if _promises(bundle) or not own:
            say(f"  reusing bundle {bundle.version}" + ("" if own else " (not the demonstration's own)"))
            return bundle
        say(f"  bundle {bundle.version} promises nothing (any more); training another one")
    candidate = settings.bundle_dir.parent / "candidate"
    training("train", "--history", str(history), "--out", str(candidate))
    appetite = ["--appetite", str(settings.appetite)] if settings.appetite else []
    say("testing up to which score the promise about abuse holds")
    for line in training("certify", "--history", str(history), "--bundle", str(candidate), *appetite).splitlines():
        say(f"  {line}")
    training("promote", str(candidate), "--to", str(settings.bundle_dir.parent))
    return Bundle.load(settings.bundle_dir.resolve(), signing_key())


def load(database: Database, history: Path) -> None:
    """The history as the store's past, once; raises InputError where the store holds somebody else's past."""
    log = history.parent / "log.parquet"
    if not log.exists():
        training("log", "--history", str(history), "--out", str(log))
    with database.patient() as connection:
        if connection.execute("SELECT FROM past LIMIT 1").fetchone() is None:
            events, _ = load_log(connection, log)
            say(f"  {events:,} events")
            return
        known = _a_claim(history)
        if connection.execute("SELECT FROM past WHERE claim_id = %s LIMIT 1", (known,)).fetchone() is None:
            detail = "holds events that are not of this demonstration; point it to an empty database"
            raise InputError([Problem("DATABASE_URL", detail)])
    say("  the history is in the database already")


def api_key(database: Database, client_address: tuple[str, int], file: Path) -> str:
    """A key for this demonstration: the one in `file` if the service still knows it, else a new one."""
    if file.exists():
        key = file.read_text().strip()
        if Client(*client_address, key).call("GET", "/v1/cases?limit=1").status == 200:
            say(f"  reusing the key in {file}")
            return key
        file.unlink()
    key = Keys(database).create("demonstration", SCOPES)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as output:
        output.write(key + "\n")
    return key


def others_connected(url: str) -> bool:
    """Whether somebody besides us uses the database."""
    try:
        with psycopg.connect(url, connect_timeout=2) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ).fetchone()
    except psycopg.Error:
        # A database that lets nobody in is of no use to anybody.
        return False
    return row is not None and row[0] > 0


def _promises(bundle: Bundle) -> bool:
    """Whether it has a certificate that has not lapsed; what it says is another matter."""
    certificate = bundle.certificate
    return certificate is not None and microseconds(datetime.now(UTC)) <= certificate.valid_until


def _is_of(bundle: Bundle, history: Path) -> bool:
    """Whether a bundle was trained on this very history."""
    with (history / "claims.parquet").open("rb") as claims:
        found = hashlib.file_digest(claims, "sha256").hexdigest()
    return bool(bundle.manifest.get("history", {}).get("claims") == found)


def _a_claim(history: Path) -> str:
    first = next(pq.ParquetFile(history / "claims.parquet").iter_batches(1, columns=["claim_id"]))
    return str(first.column(0)[0].as_py())
