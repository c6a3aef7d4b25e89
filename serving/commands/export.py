"""`export`: the history that the service has seen, as the tables that training reads."""

import argparse
import sys
from pathlib import Path

from serving.answer import timestamp
from serving.export import export
from serving.settings import Settings
from serving.store.database import Database
from serving.store.embedded import database_url
from serving.store.migrate import check_schema


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--out", type=Path, required=True, help="folder to make, with a Parquet file a table")
    parser.add_argument("--onto", type=Path, help="an earlier history, exported or not: its rows come first, and only what is newer is read")


def run(args: argparse.Namespace) -> None:
    """Export and say how much, and as of when."""
    url = database_url(Settings.from_environment())
    check_schema(url)
    with Database(url).patient() as connection:
        found = export(connection, args.out, args.onto)
    if found.strangers:
        print(f"set aside: {found.strangers:,} labels of claims that were not decided here", file=sys.stderr)
    for name, count in found.rows.items():
        print(f"{name:<10} {count:>10,}")
    print(f"as of {timestamp(found.as_of)}: {args.out}")
