"""`python -m risk.policy COMMAND`: results on standard output, problems on standard error."""

import sys

from risk.commands import run_command

COMMANDS = {
    "check": ("risk.policy.check", "list everything that is wrong about policy files"),
    "explain": ("risk.policy.explain", "tell what each guarantee of a policy says of one claim, rule by rule"),
    "appetite": ("risk.promise.check", "list everything that is wrong about an appetite, or say what it comes to"),
    "table": ("risk.policy.table", "write policies as a page for people: docs/guarantees.md"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; 0 only on success."""
    return run_command("python -m risk.policy", "The policies, and the appetite: what is covered, and what is accepted.", COMMANDS, argv)


if __name__ == "__main__":
    sys.exit(main())
