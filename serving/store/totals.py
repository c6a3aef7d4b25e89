"""Running totals of long histories: everything before the watermark is added up once, in the background.

A row is accepted into the past only within `STALEST` of the database's own clock, and every statement has to end within
ten seconds; so what lies before the watermark, `SETTLED` behind that clock, can no longer change.
"""

from risk.features import FeatureSet
from serving.store.database import Connection

STALEST = 30_000_000
SETTLED = 60_000_000
DATABASE_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


def roll_up(connection: Connection, features: FeatureSet) -> int:
    """Move the watermark forward and add up what it passed; returns the new totals' number.

    Runs in the caller's transaction; a second one at the same time waits for the first.
    """
    row = connection.execute(f"SELECT moment, {DATABASE_NOW} - {SETTLED} FROM watermark FOR UPDATE").fetchone()
    assert row is not None
    start, end = row
    if end <= start:
        return 0
    added = 0
    for entity in features.entities:
        if entity.long:
            added += connection.execute(
                _statement(entity.name, entity.column, features, first=start == 0), {"start": start, "end": end}
            ).rowcount
    connection.execute("UPDATE watermark SET moment = %s", (end,))
    return added


def rebuild(connection: Connection, features: FeatureSet) -> int:
    """Forget all totals and add the whole past up again."""
    connection.execute("TRUNCATE totals")
    connection.execute("UPDATE watermark SET moment = 0")
    return roll_up(connection, features)


def _statement(name: str, column: str, features: FeatureSet, *, first: bool) -> str:
    measures = [measure.name for measure in features.measures]
    before = "0" if first else "coalesce(before.{m}, 0)"
    running = ", ".join(f"{before.format(m=m)} + sum(fresh.{m}) OVER running AS {m}" for m in measures)
    earlier = f"""
        LEFT JOIN LATERAL (
          SELECT {", ".join(measures)} FROM totals
          WHERE entity = '{name}' AND key = fresh.{column}
          ORDER BY entity DESC, key DESC, known_at DESC, seq DESC LIMIT 1
        ) AS before ON true"""
    return f"""
        INSERT INTO totals (entity, key, known_at, seq, {", ".join(measures)})
        SELECT '{name}', fresh.{column}, fresh.known_at, fresh.seq, {running}
        FROM past AS fresh
        {"" if first else earlier}
        WHERE fresh.known_at >= %(start)s AND fresh.known_at < %(end)s AND fresh.{column} IS NOT NULL
        WINDOW running AS (PARTITION BY fresh.{column} ORDER BY fresh.known_at, fresh.seq)
    """
