"""Real invoices and cancellations of a UK retailer (UCI Online Retail) as a history.

Each invoice is an order and, at the same moment, a claim. Its label `abuse` means **partly cancelled within sixty
days**, known from the cancellation on; `legitimate` means not cancelled, known sixty days after the invoice. This is no
fraud data: it shows that the product learns from real histories, and how much of the signal is in the past.
"""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import duckdb

from risk.errors import HistoryError, Problem

TABLES = ("orders", "claims", "labels")
MEANING = "`abuse` stands for: partly cancelled within 60 days; `legitimate`: not cancelled in 60 days"
_COLUMNS = {
    "InvoiceNo": ("VARCHAR",),
    "StockCode": ("VARCHAR",),
    "Description": ("VARCHAR",),
    "Quantity": ("BIGINT", "INTEGER"),
    "InvoiceDate": ("TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP_S", "TIMESTAMP_MS"),
    "UnitPrice": ("DOUBLE",),
    "CustomerID": ("BIGINT", "INTEGER", "VARCHAR"),
    "Country": ("VARCHAR",),
}


@dataclass(frozen=True)
class Counts:
    """What went in, what was left out and why, what came out; the order is the order of telling."""

    lines: int
    lines_without_customer: int
    lines_of_no_quantity_or_negative_price: int
    free_lines_kept: int
    cancellation_lines: int
    cancellation_lines_of_no_known_purchase: int
    invoices: int
    invoices_with_two_times: int
    invoices_cancelled_within_60_days: int
    invoices_not_cancelled_in_60_days: int
    invoices_whose_60_days_are_not_over: int


def adapt(source: Path, out: Path) -> Counts:
    """Write orders, claims and labels as Parquet into `out`; HistoryError names all that the source lacks."""
    # One thread: sums of doubles come out the same every time, and so do the files.
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        _read(connection, source)
        connection.execute(resources.files("training.adapters").joinpath("online_retail.sql").read_text("utf-8"))
        counts = _count(connection)
        out.mkdir(parents=True, exist_ok=True)
        for table in TABLES:
            connection.table(table).write_parquet(str(out / f"{table}.parquet"))
    return counts


def _read(connection: duckdb.DuckDBPyConnection, source: Path) -> None:
    try:
        relation = connection.read_parquet(str(source))
        found = dict(zip(relation.columns, map(str, relation.types), strict=True))
        problems = [
            Problem(f"source.{name}", f"expected {' or '.join(types)}, found {found.get(name, 'no such column')}")
            for name, types in _COLUMNS.items()
            if found.get(name) not in types
        ]
        if not problems:
            relation.create("source")
    except duckdb.Error as error:
        raise HistoryError([Problem(str(source), f"cannot be read as Parquet: {error}")]) from error
    if problems:
        raise HistoryError(problems)


def _count(connection: duckdb.DuckDBPyConnection) -> Counts:
    def count(query: str) -> int:
        return int(connection.sql(query).fetchall()[0][0])

    purchases = "FROM lines WHERE NOT cancels"
    return Counts(
        lines=count("SELECT count(*) FROM source"),
        lines_without_customer=count("SELECT count(*) FROM source WHERE CustomerID IS NULL"),
        lines_of_no_quantity_or_negative_price=count(f"SELECT count(*) {purchases} AND (quantity <= 0 OR pence < 0)"),
        free_lines_kept=count("SELECT count(*) FROM bought WHERE pence = 0"),
        cancellation_lines=count("SELECT count(*) FROM cancelled"),
        cancellation_lines_of_no_known_purchase=count(
            """SELECT count(*) FROM cancelled WHERE NOT EXISTS (SELECT 1 FROM bought WHERE
            bought.buyer = cancelled.buyer AND bought.item = cancelled.item AND bought.moment < cancelled.moment)"""
        ),
        invoices=count("SELECT count(*) FROM claims"),
        invoices_with_two_times=count(
            f"SELECT count(*) FROM (SELECT 1 {purchases} GROUP BY invoice HAVING count(DISTINCT moment) > 1)"
        ),
        invoices_cancelled_within_60_days=count("SELECT count(*) FROM labels WHERE label = 'abuse'"),
        invoices_not_cancelled_in_60_days=count("SELECT count(*) FROM labels WHERE label = 'legitimate'"),
        invoices_whose_60_days_are_not_over=count("SELECT (SELECT count(*) FROM claims) - count(*) FROM labels"),
    )
