"""`migrate`."""

import argparse

from serving.settings import Settings
from serving.store.embedded import database_url
from serving.store.migrate import migrate


def configure(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def run(args: argparse.Namespace) -> None:
    """Migrate and print the revision."""
    print(f"database at revision {migrate(database_url(Settings.from_environment()))}")
