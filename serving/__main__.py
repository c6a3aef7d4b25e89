"""`python -m serving COMMAND`: results on standard output, progress and problems on standard error."""

import sys

from risk.commands import run_command

COMMANDS = {
    "migrate": ("serving.commands.migrate", "bring the database to the schema of this code"),
    "run": ("serving.commands.run", "start the service"),
    "keys": ("serving.commands.keys", "make, list and revoke API keys"),
    "switch": ("serving.commands.switch", "turn approving at once off or on, for everything or a segment"),
    "export": ("serving.commands.export", "write what the service has seen as a history to train on"),
    "load": ("serving.commands.load", "load the event log of a history"),
    "reconcile": ("serving.commands.reconcile", "compute the balances of all quotas and orders again and report differences"),
    "demo": ("serving.commands.demo", "everything at once on a simulated marketplace: what `make run` does"),
    "stop": ("serving.commands.stop", "stop the embedded PostgreSQL"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; 0 only on success."""
    return run_command("python -m serving", "The claims service.", COMMANDS, argv)


if __name__ == "__main__":
    sys.exit(main())
