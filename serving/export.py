"""The history that the service has seen, as the tables that training reads: consistent as of one moment, whole or not at all.

Claims carry the moment as of which their past counted, orders and labels the one from which they were known, so that features
computed from the tables are those that the decisions were made on.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from risk.claim import Claim, facts, parties
from risk.errors import InputError, Problem
from risk.features.definition import SIGNAL_PREFIX, TIMES
from serving.store.database import Connection

TABLES = ("orders", "claims", "labels", "decisions")
_BATCH = 20_000
_OVERLAP = 60_000_000
"""What was being written down while the earlier export was made is read again (microseconds)."""
_TIME = pa.timestamp("us", "UTC")
_KEYS = {"orders": ["order_id"], "claims": ["claim_id"], "decisions": ["claim_id"], "labels": ["claim_id", "known_at", "label", "source"]}
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Exported:
    """Rows by table, the moment as of which they are (microseconds), and labels of claims that no table has."""

    rows: Mapping[str, int]
    as_of: int
    strangers: int


def export(connection: Connection, out: Path, onto: Path | None = None) -> Exported:
    """Write the tables into the new folder `out`; with `onto`, the rows of that earlier history and what came since.

    `connection` is in no transaction yet. Raises InputError where `out` is there already or `onto` cannot be continued.
    """
    if out.exists():
        raise InputError([Problem(str(out), "exists already; choose another folder")])
    older = _read(onto) if onto is not None else {}
    since = _newest(older)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.partial-", dir=out.parent) as place:
        folder = Path(place) / "history"
        folder.mkdir()
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            row = connection.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").fetchone()
            assert row is not None
            tables = {name: _table(connection, name, since, Path(place)) for name in TABLES}
        tables = {name: _continued(older.get(name), table, _KEYS[name]) for name, table in tables.items()}
        known = pc.is_in(tables["labels"]["claim_id"], value_set=tables["claims"]["claim_id"].combine_chunks())
        strangers = tables["labels"].num_rows - int(pc.sum(known).as_py() or 0)
        tables["labels"] = tables["labels"].filter(known)
        for name, table in tables.items():
            pq.write_table(table, folder / f"{name}.parquet")
        shutil.move(folder, out)
    return Exported({name: table.num_rows for name, table in tables.items()}, row[0], strangers)


def _read(folder: Path) -> dict[str, pa.Table]:
    missing = [Problem(str(folder / f"{name}.parquet"), "is not there") for name in TABLES[:3] if not (folder / f"{name}.parquet").exists()]
    if missing:
        raise InputError(missing)
    return {name: pq.read_table(file) for name in TABLES if (file := folder / f"{name}.parquet").exists()}


def _newest(older: Mapping[str, pa.Table]) -> int:
    """From when on the store is read: what an earlier export holds up to its newest decision is not read again."""
    if "as_of" not in (older["claims"].column_names if older else ()):
        return -(2**62)
    newest = pc.max(older["claims"]["as_of"].cast(pa.int64())).as_py()
    return -(2**62) if newest is None else int(newest) - _OVERLAP


def _table(connection: Connection, name: str, since: int, place: Path) -> pa.Table:
    """One table, read in pieces that are kept on the disk until all of its columns are known."""
    statement, row_of = _SOURCES[name]
    pieces, types = [], dict[str, pa.DataType]()
    for number, rows in enumerate(_rows(connection, name, statement, since)):
        piece = pa.Table.from_pylist([row_of(row) for row in rows], schema=_SCHEMAS.get(name))
        if name == "claims":
            piece = _claims([row_of(row) for row in rows])
        for field in piece.schema:
            types[field.name] = _wider(types.get(field.name), field.type)
        pieces.append(place / f"{name}-{number}.parquet")
        pq.write_table(piece, pieces[-1])
    schema = pa.schema(list(types.items())) if types else _SCHEMAS.get(name, pa.schema(list(_CLAIM_TYPES.items())))
    return pa.concat_tables([schema.empty_table(), *(_as(pq.read_table(piece), schema) for piece in pieces)])


def _rows(connection: Connection, name: str, statement: str, since: int) -> Iterator[list[tuple[Any, ...]]]:
    with connection.cursor(name=f"export_{name}") as cursor, tqdm(desc=name, unit="row", disable=None) as bar:
        cursor.itersize = _BATCH
        cursor.execute(statement, {"since": since})
        while rows := cursor.fetchmany(_BATCH):
            yield rows
            bar.update(len(rows))


def _claim(row: tuple[Any, ...]) -> dict[str, Any]:
    """One frozen request as the flat columns of a history."""
    body, as_of = row
    claim = Claim.model_validate_json(body)
    signals = {name if name.startswith(SIGNAL_PREFIX) else SIGNAL_PREFIX + name: value for name, value in claim.extra.items()}
    named = {f"{party}_id": name for party, name in parties(claim).items()}
    return {"claim_id": claim.claim_id, "order_id": claim.order.order_id, "as_of": as_of, **named, **facts(claim), **signals}


def _claims(rows: list[dict[str, Any]]) -> pa.Table:
    """Claims with the columns that any of them has; a signal that is now a number, now a word is a word."""
    names = dict.fromkeys(name for row in rows for name in row)
    arrays = {}
    for name in names:
        values = [row.get(name) for row in rows]
        if name.startswith(SIGNAL_PREFIX):
            kinds = {type(value) for value in values if value is not None}
            if str in kinds:
                arrays[name] = pa.array([None if value is None else _word(value) for value in values], pa.string())
            else:
                arrays[name] = pa.array([None if value is None else float(value) for value in values], pa.float64())
        else:
            arrays[name] = pa.array(values, _CLAIM_TYPES[name])
    return pa.table(arrays)


def _word(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _wider(one: pa.DataType | None, other: pa.DataType) -> pa.DataType:
    return other if one is None or pa.types.is_string(other) else one


def _as(piece: pa.Table, schema: pa.Schema) -> pa.Table:
    """A piece with all columns; those that it lacks are missing."""
    columns = [
        piece[field.name].cast(field.type) if field.name in piece.column_names else pa.nulls(piece.num_rows, field.type)
        for field in schema
    ]
    return pa.table(dict(zip(schema.names, columns, strict=True)), schema=schema)


def _continued(older: pa.Table | None, newer: pa.Table, keys: list[str]) -> pa.Table:
    """The older rows, then the newer ones; a row of the same key counts as the newer one has it."""
    if older is None:
        return newer
    types = {field.name: field.type for field in older.schema}
    for field in newer.schema:
        types[field.name] = _wider(types.get(field.name), field.type)
    schema = pa.schema(list(types.items()))
    one, two = _as(older, schema), _as(newer, schema)
    seen = two.select(keys).append_column("again", pa.array([True] * two.num_rows, pa.bool_()))
    marked = one.append_column("place", pa.array(range(one.num_rows), pa.int64())).join(seen, keys=keys, join_type="left outer")
    kept = marked.filter(pc.is_null(marked["again"])).sort_by("place")
    return pa.concat_tables([kept.select(schema.names).cast(schema), two])


_WHOLE = ("amount", "paid_amount", "refunded_amount", "unit_price", "quantity", "item_count", "verified", "guest", "opened",
          "no_return_confirmed", "photo_count", "video_count", "certificate_count", "scan_count", "chat_count")  # fmt: skip
_CLAIM_TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(("claim_id", "order_id"), pa.string()),
    "as_of": _TIME,
    **dict.fromkeys(("buyer_id", "merchant_id", "device_id", "address_id", "payment_id", "creator_id", "item_id"), pa.string()),
    **dict.fromkeys(TIMES, _TIME),
    **dict.fromkeys(_WHOLE, pa.int64()),
    "affected_share": pa.float64(),
    **dict.fromkeys(("reason", "remedy", "channel", "return_method", "carrier", "category", "description", "tracking_number",
                     "currency", "merchant_guarantees", "item_guarantees"), pa.string()),
}  # fmt: skip
_SCHEMAS = {
    "orders": pa.schema(
        [("order_id", pa.string()), ("buyer_id", pa.string()), ("merchant_id", pa.string()), ("paid_at", _TIME), ("known_at", _TIME),
         ("paid_amount", pa.int64()), ("currency", pa.string()), ("channel", pa.string()), ("creator_id", pa.string()),
         ("address_id", pa.string()), ("payment_id", pa.string()), ("item_id", pa.string())]
    ),
    "labels": pa.schema(
        [("claim_id", pa.string()), ("known_at", _TIME), ("label", pa.string()), ("source", pa.string()),
         ("audit_probability", pa.float64())]
    ),
    "decisions": pa.schema(
        [("claim_id", pa.string()), ("decided_at", _TIME), ("decision", pa.string()), ("gate", pa.string()), ("score", pa.float64()),
         ("threshold", pa.float64()), ("segment", pa.string()), ("certificate_id", pa.string()), ("model_version", pa.string()),
         ("policy_version", pa.string()), ("appetite_version", pa.string()), ("audit_selected", pa.bool_()),
         ("audit_probability", pa.float64())]
    ),
}  # fmt: skip


def _named(name: str) -> Callable[[tuple[Any, ...]], dict[str, Any]]:
    return lambda row: dict(zip(_SCHEMAS[name].names, row, strict=True))


_SOURCES: dict[str, tuple[str, Callable[[tuple[Any, ...]], dict[str, Any]]]] = {
    # Of an order that was told several times the first counts, as it does online.
    "orders": (
        """
        SELECT DISTINCT ON (order_id) order_id, body::jsonb ->> 'buyer_id', body::jsonb ->> 'merchant_id', occurred_at, known_at,
          (body::jsonb ->> 'amount')::bigint, body::jsonb ->> 'currency', body::jsonb ->> 'channel', body::jsonb ->> 'creator_id',
          body::jsonb ->> 'address_id', body::jsonb ->> 'payment_id', body::jsonb ->> 'item_id'
        FROM event WHERE type = 'order_paid' AND known_at >= %(since)s
        ORDER BY order_id, known_at, occurred_at, event_id
        """,
        _named("orders"),
    ),
    "claims": ("SELECT claim, decided_at FROM decision WHERE decided_at >= %(since)s ORDER BY decided_at, claim_id", _claim),
    "labels": (
        """
        SELECT claim_id, event.known_at, body::jsonb ->> 'label', body::jsonb ->> 'source',
          coalesce((body::jsonb ->> 'audit_probability')::float8, CASE WHEN audit_selected THEN audit_probability END)
        FROM event LEFT JOIN decision USING (claim_id)
        WHERE type = 'abuse_label' AND event.known_at >= %(since)s
        ORDER BY event.known_at, occurred_at, event_id
        """,
        _named("labels"),
    ),
    # A claim that fits no segment was never to be drawn: no probability, rather than 0.
    "decisions": (
        """
        SELECT claim_id, decided_at, decision, gate, score, threshold, segment, certificate_id, model_version, policy_version,
          appetite_version, CASE WHEN audit_probability > 0 THEN audit_selected END, nullif(audit_probability, 0)
        FROM decision WHERE decided_at >= %(since)s ORDER BY decided_at, claim_id
        """,
        _named("decisions"),
    ),
}
