"""Real parts for all tests: one PostgreSQL, one migrated template, one small signed bundle, one running service."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from flask import Flask

from serving.app import create_app
from serving.components import NAME, Components, build
from serving.settings import Settings
from serving.store.migrate import migrate
from tests.service import (
    BUNDLE_KEY,
    ROOMY,
    Api,
    Postgres,
    Server,
    flask_api,
    named,
    new_database,
    new_key,
    rows,
    small_bundle,
)  # fmt: skip
from training.promote import promote

os.environ["BUNDLE_KEY"] = BUNDLE_KEY


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL of our own."""
    running = Postgres()
    # Many databases are made here and none has to outlive this run; what must survive a crash of PostgreSQL is tested on
    # one of its own (tests/e2e/test_faults.py).
    rows(running.url, "ALTER SYSTEM SET fsync = off")
    rows(running.url, "SELECT pg_reload_conf()")
    yield running.url
    running.remove()


@pytest.fixture(scope="session")
def template(postgres: str) -> str:
    """The name of a migrated database that others are copied from."""
    rows(postgres, "CREATE DATABASE migrated")
    migrate(named(postgres, "migrated"))
    return "migrated"


@pytest.fixture(scope="module")
def database_url(postgres: str, template: str) -> str:
    """A fresh database for one module."""
    return new_database(postgres, template=template)


@pytest.fixture
def fresh_url(postgres: str, template: str) -> str:
    """A fresh database for one test."""
    return new_database(postgres, template=template)


@pytest.fixture(scope="session")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two sound bundles, by name; not to be changed."""
    folder = tmp_path_factory.mktemp("candidates")
    for number, name in enumerate(("first", "second")):
        small_bundle(folder / name, seed=7 + number)
    return {name: folder / name for name in ("first", "second")}


@pytest.fixture(scope="session")
def promoted(tmp_path_factory: pytest.TempPathFactory, candidates: dict[str, Path]) -> Path:
    """A champion that nobody changes."""
    store = tmp_path_factory.mktemp("bundles")
    promote(candidates["first"], store)
    return store / "champion"


@pytest.fixture
def bundle_store(tmp_path: Path, candidates: dict[str, Path]) -> Path:
    """A folder with a champion for one test, which may do with it what it likes."""
    promote(candidates["first"], tmp_path / "bundles")
    return tmp_path / "bundles"


@dataclass(frozen=True)
class Service:
    """An application on real parts in this process."""

    app: Flask
    parts: Components
    url: str
    api: Api


def run_service(url: str, bundle: Path, folder: Path, appetite: Path = ROOMY) -> Iterator[Service]:
    """The application of one worker; its housekeeping ends with it."""
    parts = build(Settings(data_dir=folder, bundle_dir=bundle, log_level="error", appetite=appetite), url)
    app = create_app(parts)
    assert app.extensions[NAME] is parts
    yield Service(app, parts, url, flask_api(app, new_key(url)))
    app.extensions["housekeeping"].stopped.set()
    app.extensions["housekeeping"].join(15)
    parts.database.close()


@pytest.fixture(scope="module")
def service(database_url: str, promoted: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The application of one module."""
    yield from run_service(database_url, promoted, tmp_path_factory.mktemp("service"))


@pytest.fixture(scope="module")
def api(service: Service) -> Api:
    """The interface of the module's application, with a key for everything."""
    return service.api


@pytest.fixture
def own_service(fresh_url: str, bundle_store: Path, tmp_path: Path) -> Iterator[Service]:
    """An application for one test, with a database and a bundle that it may break."""
    yield from run_service(fresh_url, bundle_store / "champion", tmp_path)


@pytest.fixture(scope="session")
def server(
    postgres: str, template: str, promoted: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """`python -m serving run` with two workers; nobody breaks it."""
    url = new_database(postgres, template=template)
    with Server(url, promoted, tmp_path_factory.mktemp("server")) as running:
        yield running
