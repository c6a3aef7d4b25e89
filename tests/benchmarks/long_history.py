"""A merchant with a million events against one with a thousand: what the look-up of one claim costs."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from risk.features import load_features
from risk.features.definition import HOUR
from serving.store import embedded
from serving.store.database import Connection, Database, Prepared
from serving.store.lookup import Lookup
from serving.store.migrate import migrate
from serving.store.totals import rebuild

YEAR = 365 * 24 * HOUR
SIZES = (1_000, 10_000, 100_000, 1_000_000)


def run(sizes: tuple[int, ...] = SIZES, repeats: int = 300) -> list[dict[str, Any]]:
    """Median and 99th percentile in milliseconds by size of the merchant's history, with and without totals."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        url = embedded.start(Path(folder) / "data")
        try:
            migrate(url)
            database = Database(url, statement_timeout_ms=10_000)
            now = time.time_ns() // 1000
            for size in sizes:
                with database.patient() as connection:
                    _events(connection, size, now)
                with database.patient() as connection:
                    rebuild(connection, load_features())
                    connection.execute("ANALYZE totals")
                totals = _timed(database, size, now, repeats)
                with database.patient() as connection:
                    connection.execute("TRUNCATE totals")
                    connection.execute("UPDATE watermark SET moment = 0")
                raw = _timed(database, size, now, max(5, repeats * 1000 // size))
                rows.append({"events": size, "totals": totals, "event by event": raw})
            database.close()
        finally:
            embedded.stop(Path(folder) / "data")
    return rows


def _events(connection: Connection, size: int, now: int) -> None:
    connection.execute(
        "INSERT INTO past (known_at, event, merchant_id, orders, order_amount, claims, claim_amount)"
        " SELECT %(now)s - (%(year)s::float8 * n / %(size)s)::bigint, 'o', %(merchant)s, 1, 1000, n %% 4 / 3, 500"
        " FROM generate_series(1, %(size)s) AS n",
        {"now": now, "year": YEAR, "size": size, "merchant": f"merchant-{size}"},
    )
    connection.execute("ANALYZE past")


def _timed(database: Database, size: int, now: int, repeats: int) -> dict[str, float]:
    features = load_features()
    lookup = Lookup(features)
    parties = {entity.name: None for entity in features.entities} | {"merchant": f"merchant-{size}"}
    statement = Prepared(b"look_up", lookup.statement.encode())
    times = []
    for _repeat in range(repeats):
        parameters = lookup.parameters(parties, now, "claim", "order")
        start = time.perf_counter()
        database.fetch(statement, parameters)
        times.append(1000 * (time.perf_counter() - start))
    return {"p50_ms": round(statistics.median(times), 3), "p99_ms": round(sorted(times)[int(len(times) * 0.99) - 1], 3)}
