"""How `python -m training` and `python -m serving` run their commands: one manner of arguments, errors and exit status.

Results go to standard output, progress and problems to standard error; the exit status is 0 only on success.
"""

import argparse
import importlib
import os
import select
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
    try:
        for name, (module, summary) in commands.items():
            subparser = subparsers.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
            if name == asked:
                command = importlib.import_module(module)
                command.configure(subparser)
                subparser.set_defaults(run=command.run)
        args = parser.parse_args(arguments)
        args.run(args)
        sys.stdout.flush()
    except RiskError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except RuntimeError as error:
        # What DuckDB makes of Ctrl-C.
        if str(error) != "Query interrupted":
            raise
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        # What is still to be written at the end of the program goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


def _nobody_reads() -> bool:
    """Whether whoever read the output has gone, as `head` does when it has seen enough."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
