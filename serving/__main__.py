"""`python -m serving COMMAND`: results on standard output, progress and problems on standard error."""

import argparse
import importlib
import sys

from risk.errors import RiskError

COMMANDS = {
    "migrate": ("serving.commands.migrate", "bring the database to the schema of this code"),
    "run": ("serving.commands.run", "start the service"),
    "keys": ("serving.commands.keys", "make, list and revoke API keys"),
    "load": ("serving.commands.load", "load the event log of a history"),
    "demo": ("serving.commands.demo", "everything at once on a simulated marketplace: what `make run` does"),
    "stop": ("serving.commands.stop", "stop the embedded PostgreSQL"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; 0 only on success."""
    arguments = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="python -m serving", description="The claims service.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = arguments[0] if arguments else None
    for name, (module, summary) in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == asked:
            command = importlib.import_module(module)
            command.configure(subparser)
            subparser.set_defaults(run=command.run)
    args = parser.parse_args(arguments)
    try:
        args.run(args)
    except RiskError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
