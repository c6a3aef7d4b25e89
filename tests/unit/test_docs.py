"""Documentation is tested: a setting, command or call that it misses fails, and so does a file that it makes up."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.routing import BaseConverter

from risk.policy.__main__ import COMMANDS as POLICY
from serving.__main__ import COMMANDS as SERVING
from serving.api.health import health
from serving.api.openapi import description
from serving.api.routes import api
from training.__main__ import COMMANDS as TRAINING

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
MADE_BY_COMMANDS = ("bundles/", "var/", "history/", "my-history/")
COMMANDS = {"serving": SERVING, "training": TRAINING, "risk.policy": POLICY}
OF_THE_PAGE = {"/docs/start.js", "/docs/<path:name>"}
OF_OTHERS = {"XDG_RUNTIME_DIR", "NO_COLOR"}
"""Conventions of the system that we honour."""


def names_read(source: str) -> Iterator[str]:
    """Every environment variable that a source reads by name."""
    for node in ast.walk(ast.parse(source)):
        place = node.func if isinstance(node, ast.Call) else node.value if isinstance(node, ast.Subscript) else None
        value = node.args[:1] if isinstance(node, ast.Call) else [node.slice] if isinstance(node, ast.Subscript) else []
        name = value[0].value if value and isinstance(value[0], ast.Constant) else None
        if place and isinstance(name, str) and re.search(r"(^os\.environ(\.\w+)?|getenv|given\.get|^number)$", ast.unparse(place)):
            yield name


def environment_variables() -> set[str]:
    files = [file for room in ("risk", "serving", "training") for file in (ROOT / room).rglob("*.py")]
    return {name for file in files for name in names_read(file.read_text(encoding="utf-8"))} - OF_OTHERS


def routes() -> list[str]:
    app = Flask("routes", static_folder=None)
    app.url_map.converters["opaque_id"] = BaseConverter
    app.register_blueprint(api)
    app.register_blueprint(health)
    return sorted({rule.rule for rule in app.url_map.iter_rules()} - OF_THE_PAGE)


def in_braces(route: str) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)


def files_named(text: str) -> set[str]:
    """Paths inside the project that a page names: targets of links, and code in backticks that looks like a path."""
    links = {target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target}
    code = set(re.findall(r"`([\w./-]+/[\w./-]+\.(?:py|md|toml|txt|html|ipynb))`", text))
    return {name for name in links | code if name}


def test_settings_are_found_at_all() -> None:
    assert {"DATABASE_URL", "PORT", "BUNDLE_KEY", "BUNDLE_KEY_FILE", "DEMO_CLAIMS"} <= environment_variables()


@pytest.mark.parametrize("name", sorted(environment_variables()))
def test_every_setting_is_documented(name: str) -> None:
    assert f"`{name}`" in OPERATIONS


@pytest.mark.parametrize("command", [f"python -m {room} {name}" for room, names in COMMANDS.items() for name in names])
def test_every_command_is_documented(command: str) -> None:
    assert re.search(rf"`{command}\b", OPERATIONS)


@pytest.mark.parametrize("command", sorted(set(re.findall(r"python -m ([\w.]+ \w+)", "\n".join(page.read_text() for page in PAGES)))))
def test_every_documented_command_exists(command: str) -> None:
    room, name = command.split()
    assert room not in COMMANDS or name in COMMANDS[room]


@pytest.mark.parametrize("route", routes())
def test_every_call_is_documented(route: str) -> None:
    assert f"{in_braces(route)}`" in OPERATIONS


@pytest.mark.parametrize("route", [route for route in routes() if route.startswith("/v1/")])
def test_every_call_is_in_the_interface_description(route: str) -> None:
    assert in_braces(route) in description()["paths"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = files_named(page.read_text(encoding="utf-8"))
    missing = [
        name
        for name in named
        if not ((page.parent / name).exists() or (ROOT / name).exists() or name.startswith(MADE_BY_COMMANDS))
    ]
    assert not missing


@pytest.mark.parametrize("verb", ["help", "run", "stop", "test", "lint", "bench", "notebooks", "environment", "clean"])
def test_every_verb_of_the_makefile_is_told_by_help(verb: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{verb}:", makefile, re.MULTILINE)
    assert verb == "help" or f'@echo "make {verb} ' in makefile


def test_an_undocumented_setting_would_be_found() -> None:
    source = "import os\nos.environ.get('A')\nos.environ['B']\ngiven.get('C')\nnumber('D', 1, 2, 3)\nprint('E')\nos.getenv('F')"
    assert set(names_read(source)) == {"A", "B", "C", "D", "F"}


def test_a_file_that_is_made_up_would_be_found() -> None:
    assert files_named("[x](adr/none.md#y) `serving/none.py` `run` <https://a.b/c.md> [z](https://a.b/c.md)") == {
        "adr/none.md",
        "serving/none.py",
    }
