"""`python -m training COMMAND`: results on standard output, progress and problems on standard error."""

import sys

from risk.commands import run_command

COMMANDS = {
    "simulate": ("training.simulate.command", "make a marketplace with honest and abusive claims"),
    "check": ("training.check", "list everything that is wrong or suspicious about a history"),
    "train": ("training.train", "fit and calibrate a bundle on a history"),
    "evaluate": ("training.evaluate", "judge a bundle on a later stretch of history"),
    "backtest": ("training.backtest.command", "replay a stretch of history under another bundle, policy or appetite"),
    "score": ("training.score", "score a stretch of history as the service would have"),
    "certify": ("training.certify", "test up to which score the promise about abuse holds, and write it into the bundle"),
    "promote": ("training.promote", "make a bundle the one that is served"),
    "log": ("training.log", "write a history's event log for the service to load"),
    "adapt": ("training.adapters.command", "turn real data of another shape into a history"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; 0 only on success."""
    return run_command("python -m training", "History in, bundle out.", COMMANDS, argv)


if __name__ == "__main__":
    sys.exit(main())
