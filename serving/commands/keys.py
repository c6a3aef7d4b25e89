"""`keys create`, `keys list`, `keys revoke`."""

import argparse

from risk.errors import InputError, Problem
from serving.settings import Settings
from serving.store.database import Database
from serving.store.embedded import database_url
from serving.store.keys import SCOPES, Keys
from serving.store.migrate import check_schema


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the three verbs."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    create = verbs.add_parser("create", help="make a key and print it once")
    create.add_argument("--name", required=True, help="who uses it")
    create.add_argument("--scope", action="append", required=True, metavar="SCOPE", help=f"one of {', '.join(SCOPES)}; may be repeated")
    verbs.add_parser("list", help="every key, without its secret")
    revoke = verbs.add_parser("revoke", help="end a key")
    revoke.add_argument("key_id")


def run(args: argparse.Namespace) -> None:
    """Run the verb."""
    url = database_url(Settings.from_environment())
    check_schema(url)
    keys = Keys(Database(url))
    if args.verb == "create":
        print(keys.create(args.name, [scope for text in args.scope for scope in text.split(",")]))
    elif args.verb == "list":
        for key_id, name, scopes, live in keys.listed():
            print(f"{key_id}  {'live   ' if live else 'revoked'}  {name}  {', '.join(scopes)}")
    elif keys.revoke(args.key_id):
        print(f"{args.key_id} is revoked")
    else:
        raise InputError([Problem(args.key_id, "no live key of that id")])
