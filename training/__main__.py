"""`python -m training COMMAND`: results on standard output, progress and problems on standard error."""

import argparse
import importlib
import sys

from risk.errors import RiskError

COMMANDS = {
    "simulate": ("training.simulate.command", "make a marketplace with honest and abusive claims"),
    "check": ("training.check", "list everything that is wrong or suspicious about a history"),
    "train": ("training.train", "fit and calibrate a bundle on a history"),
    "evaluate": ("training.evaluate", "judge a bundle on a later stretch of history"),
    "score": ("training.score", "score a stretch of history as the service would have"),
    "promote": ("training.promote", "make a bundle the one that is served"),
    "log": ("training.log", "write a history's event log for the service to load"),
    "adapt": ("training.adapters.command", "turn real data of another shape into a history"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; 0 only on success."""
    arguments = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="python -m training", description="History in, bundle out.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # A command's module is imported only when it is the one asked for: `--help` stays instant.
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
