"""`switch on`, `switch off`, `switch list`: whether approving at once is turned on."""

import argparse
import getpass

from risk.errors import InputError, Problem
from risk.gates import EVERYTHING
from risk.promise.appetite import load_appetite
from serving.answer import timestamp
from serving.settings import Settings
from serving.store.database import Database
from serving.store.embedded import database_url
from serving.store.migrate import check_schema
from serving.store.switch import Switches, Turn

_LONGEST = 1000


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the three verbs."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, does in (("off", "hand every claim to a person"), ("on", "approve low-risk claims at once again")):
        turn = verbs.add_parser(verb, help=does)
        turn.add_argument("--segment", default=EVERYTHING, help=f"of the appetite; without it, {EVERYTHING} of them")
        turn.add_argument("--why", required=True, help="for the trail")
        turn.add_argument("--who", help="for the trail (default: the user of this machine)")
    listed = verbs.add_parser("list", help="how the switches stand, and the latest turns")
    listed.add_argument("--limit", type=int, default=20, help="how many turns (default 20)")


def run(args: argparse.Namespace) -> None:
    """Run the verb."""
    if args.verb != "list":
        args.who = getpass.getuser() if args.who is None else args.who
        if problems := [
            Problem(f"--{name}", f"a text of at most {_LONGEST} characters is expected")
            for name in ("who", "why")
            if not 0 < len(getattr(args, name).strip()) <= _LONGEST or "\0" in getattr(args, name)
        ]:
            raise InputError(problems)
    settings = Settings.from_environment()
    url = database_url(settings)
    check_schema(url)
    switches = Switches(Database(url), load_appetite(settings.appetite))
    if args.verb == "list":
        for name, on in switches.state().items():
            print(f"{name:<24} {'on' if on else 'OFF'}")
        for turned in switches.turns(max(args.limit, 0)):
            print(_line(turned))
        return
    print(_line(switches.turn(args.segment, on=args.verb == "on", who=args.who, why=args.why)))


def _line(turned: Turn) -> str:
    return f"{timestamp(turned.turned_at)}  {turned.segment} {'on' if turned.on else 'off'}, by {turned.who}: {turned.why}"
