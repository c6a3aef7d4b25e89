"""`stop`."""

import argparse

from serving.settings import Settings
from serving.store.embedded import stop


def configure(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def run(args: argparse.Namespace) -> None:
    """Stop the embedded server where it runs."""
    folder = Settings.from_environment().data_dir / "postgres"
    print("the embedded PostgreSQL is stopped" if stop(folder) else f"no embedded PostgreSQL runs in {folder}")
