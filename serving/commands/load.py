"""`load`: the event log of a history (`python -m training log`) into the past of an empty store."""

import argparse
from pathlib import Path

import pyarrow.parquet as pq
from tqdm import tqdm

from risk.errors import InputError, Problem
from risk.features import FeatureSet, load_features
from serving.settings import Settings
from serving.store.database import Connection, Database
from serving.store.embedded import database_url
from serving.store.migrate import check_schema
from serving.store.totals import rebuild

_BATCH = 20_000


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("log", type=Path, help="Parquet file written by `python -m training log`")


def run(args: argparse.Namespace) -> None:
    """Load, add up, say how much."""
    url = database_url(Settings.from_environment())
    check_schema(url)
    database = Database(url)
    with database.patient() as connection:
        events, totals = load_log(connection, args.log)
    print(f"{events:,} events loaded, {totals:,} running totals")


def load_log(connection: Connection, file: Path) -> tuple[int, int]:
    """How many events and totals were written; all or nothing, in the caller's transaction.

    Raises InputError where the store has a past already, or the file is not an event log.
    """
    features = load_features()
    columns = log_columns(features)
    try:
        source = pq.ParquetFile(file)
    except (OSError, ValueError) as error:
        raise InputError([Problem(str(file), f"cannot be read: {error}")]) from error
    if missing := [name for name in columns if name not in source.schema_arrow.names]:
        raise InputError([Problem(str(file), f"no column {name}") for name in missing])
    connection.execute("LOCK TABLE past IN SHARE ROW EXCLUSIVE MODE")
    if connection.execute("SELECT FROM past LIMIT 1").fetchone() is not None:
        raise InputError([Problem("past", "the store has a past already; a history is loaded into an empty one only")])
    rows = source.metadata.num_rows
    with (
        connection.cursor().copy(f"COPY past ({', '.join(columns)}) FROM STDIN") as copy,
        tqdm(total=rows, desc="load", unit="event", disable=None) as progress,
    ):
        for batch in source.iter_batches(_BATCH, columns=columns):
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                copy.write_row(row)
            progress.update(batch.num_rows)
    totals = rebuild(connection, features)
    connection.execute("ANALYZE past")
    connection.execute("ANALYZE totals")
    return rows, totals


def log_columns(features: FeatureSet) -> list[str]:
    """Columns of an event log, in the order of the store."""
    return [
        "known_at", "event", "claim_id", *(entity.column for entity in features.entities),
        *(measure.name for measure in features.measures),
    ]  # fmt: skip
