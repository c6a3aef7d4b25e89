"""`reconcile`."""

import argparse
import sys
import time

from psycopg import IsolationLevel

from risk.errors import RiskError
from serving.settings import Settings
from serving.store.database import Database
from serving.store.embedded import database_url
from serving.store.migrate import check_schema
from serving.store.reconcile import Account, mend, reconcile


class Differs(RiskError):
    """Balances say something else than decisions and events."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--mend", action="store_true", help="set right what differs; the service may go on meanwhile")
    parser.epilog = "Computes every balance of quotas and orders again from decisions and events; ends with 1 where one differs."


def run(args: argparse.Namespace) -> None:
    """Compare, mend where that was asked for, and compare again."""
    url = database_url(Settings.from_environment())
    check_schema(url)
    database = Database(url)
    account = compared(database)
    if account.differences and args.mend:
        print(f"mending {len(account.differences)} differences", file=sys.stderr)
        with database.patient() as connection:
            connection.autocommit = True
            mend(connection, account, time.time_ns() // 1000)
        account = compared(database)
    if account.differences:
        raise Differs(f"{len(account.differences)} balances differ; `reconcile --mend` sets them right")


def compared(database: Database) -> Account:
    """Compare as of one moment, and print what was found."""
    print("computing every balance again", file=sys.stderr)
    with database.patient() as connection:
        connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
        account = reconcile(connection)
    for difference in account.differences:
        print(difference)
    print(f"{account.approvals:,} approvals, {account.balances:,} balances, {len(account.differences):,} differences")
    return account
