"""Bring the database to the schema of this code."""

from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from risk.errors import Unavailable


def _engine(url: str) -> sqlalchemy.Engine:
    address = url.replace("postgres://", "postgresql://").replace("postgresql://", "postgresql+psycopg://")
    # No pool: a command's connection ends with its block.
    return sqlalchemy.create_engine(address, poolclass=sqlalchemy.NullPool)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def migrate(url: str) -> str:
    """Run what is missing, one process at a time, and return the revision."""
    config = _config()
    try:
        with _engine(url).connect() as connection:
            connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(7231)"))
            connection.commit()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
            connection.execute(sqlalchemy.text("SELECT pg_advisory_unlock(7231)"))
            connection.commit()
    except sqlalchemy.exc.OperationalError as error:
        raise _away(error) from error
    return newest()


def newest() -> str:
    """The revision that this code needs."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def revision(url: str) -> str | None:
    """The revision that the database has, or None; raises Unavailable where it does not answer."""
    try:
        with _engine(url).connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    except sqlalchemy.exc.OperationalError as error:
        raise _away(error) from error


def check_schema(url: str) -> None:
    """Raises Unavailable with the remedy where the database is away or has another schema than this code needs."""
    found = revision(url)
    if found != newest():
        raise Unavailable(f"the database is at revision {found}, this code needs {newest()}: run `python -m serving migrate`")


def _away(error: sqlalchemy.exc.OperationalError) -> Unavailable:
    return Unavailable(f"the database does not answer: {str(error.orig).splitlines()[0]}")
