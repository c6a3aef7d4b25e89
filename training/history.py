"""A history folder as three tables with all of the contract's columns: what a column lacks is missing, not an error.

Times become integer microseconds and money integer minor units on the way in, so that every later sum is exact.
"""

import hashlib
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ibis
from ibis import _
from ibis.backends.duckdb import Backend
from ibis.expr.types import BooleanValue, IntegerScalar, Table

from risk.errors import HistoryError, Problem
from risk.features.definition import NUMBERS, SIGNAL_PREFIX, TEXTS, TIMES

ENTITY_COLUMNS = ("buyer_id", "merchant_id", "creator_id", "item_id", "device_id", "address_id", "payment_id")
ORDER_FACTS = ("paid_at", "paid_amount", "shipped_at", "promised_by", "delivered_at", "creator_id", "address_id",
               "payment_id", "channel", "carrier", "tracking_number", "item_id", "category")  # fmt: skip
"""What a claim takes from its order where the claim's own column is absent or empty. Not `refunded_amount`: the table of
orders tells what was refunded in the end, the claim's own refund included."""
_MOVES = ("shipped_at", "delivered_at")
"""Facts of an order that may have come after the claim; then they are left out."""
REQUIRED = {
    "orders": ("order_id", "buyer_id", "merchant_id", "paid_at", "paid_amount"),
    "claims": ("claim_id", "submitted_at", "buyer_id", "merchant_id", "amount"),
    "labels": ("claim_id", "known_at", "label"),
}
_TYPES = (
    {name: "text" for name in (*ENTITY_COLUMNS, *TEXTS, "claim_id", "order_id", "label", "source", "currency")}
    | {name: "time" for name in (*TIMES, "known_at", "as_of")}
    | {name: "float" if name == "affected_share" else "int" for name in NUMBERS}
    | {"audit_probability": "float"}
)
_SQL = {
    # A naive time is refused by `check`; here it would be read as UTC.
    "time": "epoch_us({column}::TIMESTAMPTZ)",
    "text": "{column}::VARCHAR",
    "int": "{column}::BIGINT",
    "float": "{column}::DOUBLE",
}
_COLUMNS = {
    "orders": ("order_id", "buyer_id", "merchant_id", "known_at", *ORDER_FACTS, "refunded_amount", "currency"),
    "claims": ("claim_id", "order_id", *ENTITY_COLUMNS, *TIMES, *NUMBERS, *TEXTS, "as_of", "currency"),
    "labels": ("claim_id", "known_at", "label", "source", "audit_probability"),
}
_SURPRISE = 6.0
"""Standard deviations from what was expected: draws as they were said to be get there once in five hundred million histories."""
_DECISION_TYPES = {
    "claim_id": "string",
    "decision": "string",
    "audit_probability": "float64",
    "audit_selected": "boolean",
    "score": "float64",
    "model_version": "string",
}


@dataclass(frozen=True)
class History:
    """The tables of one history, on one DuckDB connection.

    `claims` is numbered by `row` in order of submission; `as_of` is the moment from which a claim looks at the past.
    """

    connection: Backend
    orders: Table
    claims: Table
    labels: Table
    decisions: Table
    signals: tuple[str, ...]
    path: Path


@contextmanager
def open_history(path: Path, *, memory_limit: str = "3GB", threads: int | None = None) -> Iterator[History]:
    """Open a history folder; sorts that do not fit into `memory_limit` spill into a temporary folder.

    Raises HistoryError naming every missing table and required column.
    """
    with tempfile.TemporaryDirectory(prefix="history-") as scratch:
        connection = ibis.duckdb.connect(memory_limit=memory_limit, temp_directory=scratch, preserve_insertion_order=False)
        connection.raw_sql("SET TimeZone = 'UTC'")
        if threads:
            connection.raw_sql(f"SET threads = {threads}")
        try:
            yield _open(connection, path)
        finally:
            connection.disconnect()


def table_file(path: Path, table: str) -> Path | None:
    """The file of a table, Parquet before CSV, or None."""
    candidates = (path / f"{table}.parquet", path / f"{table}.csv")
    return next((candidate for candidate in candidates if candidate.exists()), None)


def read_raw(connection: Backend, path: Path, table: str) -> Table:
    """One table as it lies in the folder."""
    file = table_file(path, table)
    if file is None:
        raise HistoryError([Problem(table, f"no {table}.parquet or {table}.csv in {path}")])
    if file.suffix == ".parquet":
        return connection.read_parquet(file, table_name=f"raw_{table}")
    return connection.read_csv(file, table_name=f"raw_{table}", types=_csv_types(file))


def _csv_types(file: Path) -> dict[str, str]:
    """Ids are opaque: a CSV column of digits is still text."""
    with file.open(encoding="utf-8") as lines:
        header = [name.strip().strip('"') for name in lines.readline().split(",")]
    return {name: "VARCHAR" for name in header if _TYPES.get(name) == "text"}


def _open(connection: Backend, path: Path) -> History:
    raw, problems = {}, []
    for table, required in REQUIRED.items():
        try:
            raw[table] = read_raw(connection, path, table)
        except HistoryError as error:
            problems += error.problems
            continue
        problems += [
            Problem(f"{table}.{name}", "required column is missing") for name in required if name not in raw[table].columns
        ]
    if problems:
        raise HistoryError(problems)
    for table in REQUIRED:
        connection.raw_sql(f"CREATE TEMP VIEW {table} AS {_canonical(table, raw[table])}")
    signals = tuple(sorted(name for name in raw["claims"].columns if name.startswith(SIGNAL_PREFIX)))
    return History(
        connection=connection,
        orders=connection.table("orders"),
        claims=connection.create_table("numbered_claims", _claims(connection, signals), temp=True),
        labels=connection.table("labels"),
        decisions=_decisions(connection, path),
        signals=signals,
        path=path,
    )


def fingerprint(history: History) -> dict[str, str]:
    """SHA-256 of each table's file."""
    found = {}
    for table in (*REQUIRED, "decisions"):
        if (file := table_file(history.path, table)) is not None:
            with file.open("rb") as handle:
                found[table] = hashlib.file_digest(handle, "sha256").hexdigest()
    return found


def end_of(history: History) -> int:
    """The moment just after everything that a history knows of (microseconds)."""
    newest = [history.claims.submitted_at.max(), history.labels.known_at.max()]
    return max(int(moment.to_pyarrow().as_py() or 0) for moment in newest) + 1


def _decisions(connection: Backend, path: Path) -> Table:
    """What was decided before, and with which draw for an audit; empty where the history does not say.

    What cannot be read as its type is missing here; `decision_problems` names it.
    """
    types = _DECISION_TYPES
    if table_file(path, "decisions") is None:
        return ibis.memtable({name: [] for name in types}, schema=types)
    raw = read_raw(connection, path, "decisions")
    missing = [name for name in ("claim_id", "decision") if name not in raw.columns]
    if missing:
        raise HistoryError([Problem(f"decisions.{name}", "required column is missing") for name in missing])
    return raw.select(
        **{name: raw[name].try_cast(kind) if name in raw.columns else ibis.null(kind) for name, kind in types.items()}
    )


def decision_problems(history: History) -> list[Problem]:
    """What keeps a history's `decisions` from telling with which probability each claim was drawn for an audit."""
    if table_file(history.path, "decisions") is None:
        return []
    raw, known = history.connection.table("raw_decisions"), history.decisions
    counts = {
        ("claim_id", "claims are decided more than once"): known.claim_id.count() - known.claim_id.nunique(),
        ("decision", "decisions are neither approve nor review"): _count(~known.decision.isin(("approve", "review")).fill_null(False)),
        ("audit_probability", "probabilities are below 0 or above 1"): _count(~known.audit_probability.between(0, 1)),
        ("audit_selected", "claims have a probability of an audit, and nothing says whether they were drawn"): _count(
            (known.audit_probability > 0) & known.audit_selected.isnull()
        ),
        ("audit_selected", "claims were drawn with no probability"): _count(
            known.audit_selected & (known.audit_probability.fill_null(0) == 0)
        ),
        ("audit_selected", "claims were not drawn although that was certain"): _count(
            ~known.audit_selected & (known.audit_probability == 1)
        ),
    }
    names = {f"c{place}": count for place, count in enumerate(counts.values())}
    (row,) = known.aggregate(**names).to_pyarrow().to_pylist()
    found = [
        Problem(f"decisions.{name}", f"{int(row[f'c{place}']):,} {what}")
        for place, (name, what) in enumerate(counts)
        if row[f"c{place}"]
    ]
    if not found:
        found = _unlikely_draws(known)
    unread = {
        name: _count(raw[name].notnull() & raw[name].try_cast(_DECISION_TYPES[name]).isnull())
        for name in ("audit_probability", "audit_selected")
        if name in raw.columns
    }
    if unread:
        (row,) = raw.aggregate(**unread).to_pyarrow().to_pylist()
        found += [Problem(f"decisions.{name}", f"{count:,} values of another type") for name, count in row.items() if count]
    return found


def _unlikely_draws(known: Table) -> list[Problem]:
    """Draws that are too many or too few for their probabilities: then one of the two is not what it is taken for."""
    chance = known.filter(known.audit_probability > 0)
    totals = chance.aggregate(
        drawn=chance.audit_selected.cast("int64").sum(),
        expected=chance.audit_probability.sum(),
        variance=(chance.audit_probability * (1 - chance.audit_probability)).sum(),
    )
    (row,) = totals.to_pyarrow().to_pylist()
    drawn, expected, variance = (row[name] or 0 for name in ("drawn", "expected", "variance"))
    if abs(drawn - expected) <= _SURPRISE * math.sqrt(variance) + 1:
        return []
    said = f"{int(drawn):,} claims were drawn, by their probabilities about {expected:,.0f} would have been"
    return [Problem("decisions.audit_selected", said)]


def _count(condition: BooleanValue) -> IntegerScalar:
    return condition.fill_null(False).cast("int64").sum().fill_null(0)


def _canonical(table: str, raw: Table) -> str:
    """SQL that gives a raw table all of its columns, in the types that the features are computed in."""
    chosen = []
    for name in _COLUMNS[table]:
        kind = _TYPES[name]
        null = {"text": "VARCHAR", "float": "DOUBLE"}.get(kind, "BIGINT")
        value = _SQL[kind].format(column=f'"{name}"') if name in raw.columns else f"NULL::{null}"
        chosen.append(f'{value} AS "{name}"')
    if table == "claims":
        chosen += [f'"{name}"' for name in raw.columns if name.startswith(SIGNAL_PREFIX)]
    return f"SELECT {', '.join(chosen)} FROM raw_{table}"


def _claims(connection: Backend, signals: tuple[str, ...]) -> Table:
    """Claims completed from their orders and numbered by time."""
    orders = connection.table("orders").select("order_id", **{f"order_{name}": _[name] for name in ORDER_FACTS})
    claims = connection.table("claims")
    joined = claims.left_join(orders.filter(_.order_id.notnull()), "order_id")
    later = {name: joined[f"order_{name}"] for name in ORDER_FACTS}
    later |= {name: ibis.ifelse(later[name] <= joined.submitted_at, later[name], ibis.null("int64")) for name in _MOVES}
    completed = {name: ibis.coalesce(joined[name], later[name]) for name in ORDER_FACTS}
    return (
        joined.mutate(**completed, as_of=ibis.coalesce(joined.as_of, joined.submitted_at))
        .select(*claims.columns)
        .mutate(row=ibis.row_number().over(order_by=[_.submitted_at, _.claim_id]))
        .order_by("row")
    )
