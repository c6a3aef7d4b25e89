"""Running totals of long histories: what can no longer change is added up once, in the background.

A row is accepted into the past only when it is stamped within `STALEST` of the database's own clock. So nothing stamped
before the beginning of the oldest transaction that is still writing, less `STALEST`, can come any more: up to there the
watermark may move, however long a commit takes.
"""

from risk.features import FeatureSet
from serving.store.database import Connection

STALEST = 3_000_000
"""How far a row's stamp may be from the database's clock (microseconds)."""
DATABASE_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
SETTLED_BEFORE = f"""
    SELECT least({DATABASE_NOW}, coalesce((extract(epoch FROM min(xact_start)) * 1000000)::bigint, {DATABASE_NOW}))
      - {STALEST}
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle' AND xact_start IS NOT NULL
"""


def roll_up(connection: Connection, features: FeatureSet) -> int:
    """Move the watermark to what is settled and add up what it passed; returns the number of new totals.

    Runs in the caller's transaction; a second one at the same time waits for the first.
    """
    row = connection.execute("SELECT moment FROM watermark FOR UPDATE").fetchone()
    # Asked before the rows are read: whoever starts to write from here on stamps later than this.
    settled = connection.execute(SETTLED_BEFORE).fetchone()
    assert row is not None
    assert settled is not None
    return add_up(connection, features, row[0], settled[0])


def add_up(connection: Connection, features: FeatureSet, start: int, end: int) -> int:
    """Add up what became known in [start, end), where `start` is the watermark, and move the watermark to `end`."""
    if end <= start:
        return 0
    added = 0
    for entity in features.entities:
        if entity.long:
            statement = _statement(entity.name, entity.column, features, first=start == 0)
            added += connection.execute(statement, {"start": start, "end": end}).rowcount
    connection.execute("UPDATE watermark SET moment = %s", (end,))
    return added


def rebuild(connection: Connection, features: FeatureSet) -> int:
    """Forget all totals and add the whole past up again."""
    connection.execute("TRUNCATE totals")
    connection.execute("UPDATE watermark SET moment = 0")
    return roll_up(connection, features)


def _statement(name: str, column: str, features: FeatureSet, *, first: bool) -> str:
    """Running sums of the fresh rows; the first row of each key brings along the total that the key had before."""
    measures = [measure.name for measure in features.measures]
    columns = ", ".join(measures)
    total = "fresh.{m}" if first else "fresh.{m} + coalesce(before.{m}, 0)"
    running = ", ".join(f"sum({total.format(m=m)}) OVER running" for m in measures)
    before = f"""
        LEFT JOIN LATERAL (
          SELECT {columns} FROM totals
          WHERE fresh.place = 1 AND entity = '{name}' AND key = fresh.{column}
          ORDER BY entity DESC, key DESC, known_at DESC, seq DESC LIMIT 1
        ) AS before ON true"""
    return f"""
        WITH fresh AS (
          SELECT {column}, known_at, seq, {columns},
            row_number() OVER (PARTITION BY {column} ORDER BY known_at, seq) AS place
          FROM past WHERE known_at >= %(start)s AND known_at < %(end)s AND {column} IS NOT NULL
        )
        INSERT INTO totals (entity, key, known_at, seq, {columns})
        SELECT '{name}', fresh.{column}, fresh.known_at, fresh.seq, {running}
        FROM fresh {"" if first else before}
        WINDOW running AS (PARTITION BY fresh.{column} ORDER BY fresh.known_at, fresh.seq)
    """
