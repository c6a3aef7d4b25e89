"""How `python -m training` and `python -m serving` run their commands: one manner of arguments, errors and exit status.

Results go to standard output, progress and problems to standard error; the exit status is 0 only on success.
"""

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence

from risk.errors import RiskError

Commands = Mapping[str, tuple[str, str]]
"""By name: the module, with `configure(parser)` and `run(args)`, and what the command does in a few words."""


def run_command(program: str, description: str, commands: Commands, argv: Sequence[str] | None) -> int:
    """Run the command that `argv` (or the command line) names; an error on purpose becomes a sentence and status 1."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(prog=program, description=description)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # A command's module is imported only when it is the one asked for: `--help` stays instant.
    asked = arguments[0] if arguments else None
    for name, (module, summary) in commands.items():
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
