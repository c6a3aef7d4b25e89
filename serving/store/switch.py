"""Whether approving at once is turned on: for everything or a segment, with a trail of every turn.

The look-up of each claim reads it, so a turn is in effect for every claim that is looked up after it, on every worker.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from risk.errors import InputError, Problem
from risk.gates import EVERYTHING
from risk.promise.appetite import Appetite
from serving.store.database import Connection, Database
from serving.store.totals import DATABASE_NOW


@dataclass(frozen=True)
class Turn:
    """One turn of a switch; `turned_at` in microseconds."""

    segment: str
    on: bool
    turned_at: int
    who: str
    why: str


class Switches:
    """Turns, and what they come to."""

    def __init__(self, database: Database, appetite: Appetite) -> None:
        self._database = database
        self._known = (EVERYTHING, *(segment.name for segment in appetite.segment))

    def turn(self, segment: str, *, on: bool, who: str, why: str) -> Turn:
        """Turn one; raises InputError for a segment that the appetite does not have."""
        if segment not in self._known:
            raise InputError([Problem("/segment", f"no such segment: one of {', '.join(self._known)} is expected")])

        def work(connection: Connection) -> Turn:
            with connection.transaction():
                return turn(connection, segment, on=on, who=who, why=why)

        return self._database.run(work)

    def state(self) -> dict[str, bool]:
        """Everything and each segment: whether it is turned on. A segment is only where everything is, too."""
        rows = self._database.run(lambda connection: connection.execute("SELECT segment, turned_on FROM switch").fetchall())
        off = {segment for segment, on in rows if not on}
        return {name: name not in off for name in self._known}

    def turns(self, limit: int = 100) -> list[Turn]:
        """The latest turns, the newest first."""
        statement = "SELECT segment, turned_on, turned_at, who, why FROM switch_turn ORDER BY seq DESC LIMIT %s"
        return [Turn(*row) for row in self._database.run(lambda connection: connection.execute(statement, (limit,)).fetchall())]


def turn(connection: Connection, segment: str, *, on: bool, who: str, why: str) -> Turn:
    """Turn a switch in the caller's transaction; the trail says so whether it stood otherwise or not."""
    # The row before the trail: of two turns at once the one that is later in the trail counts.
    connection.execute(
        "INSERT INTO switch (segment, turned_on, turned_at)"
        f" VALUES (%(segment)s, %(on)s, {DATABASE_NOW})"
        " ON CONFLICT (segment) DO UPDATE SET turned_on = EXCLUDED.turned_on, turned_at = EXCLUDED.turned_at",
        {"segment": segment, "on": on},
    )
    row: Sequence[int] | None = connection.execute(
        "INSERT INTO switch_turn (segment, turned_on, turned_at, who, why)"
        " SELECT segment, turned_on, turned_at, %s, %s FROM switch WHERE segment = %s RETURNING turned_at",
        (who, why, segment),
    ).fetchone()
    assert row is not None
    return Turn(segment, on, row[0], who, why)
