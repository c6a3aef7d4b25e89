"""Figures to one self-contained page and to JSON: the page shows nothing that the JSON does not hold."""

import dataclasses
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from risk.errors import InputError, Problem
from training.metrics import BINS, CONFIDENCE
from training.report.figures import Figures
from training.report.pictures import pictures
from training.report.words import FORMATS, day

Formats = Mapping[str, Callable[[float | None], str]]
"""How a figure is written, by the name of its form."""


def as_json(figures: Figures) -> dict[str, Any]:
    """The figures as JSON values; what cannot be said is null. Money is in minor units, shares are 0 to 1."""
    settled: dict[str, Any] = plain(dataclasses.asdict(figures))
    settled["method"] = {
        "intervals": f"{100 * CONFIDENCE:.0f} % percentile intervals, Poisson bootstrap on counts by score bin",
        "bins": BINS,
    }
    return settled


def plain(value: Any) -> Any:
    """The same as JSON knows it: lists for tuples, null for what is no finite number."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def render_html(figures: Mapping[str, Any]) -> str:
    """The page of what `as_json` gave."""
    return render_page(figures, pictures(figures), "training.report")


def render_page(
    figures: Mapping[str, Any],
    drawn: Mapping[str, str],
    package: str,
    formats: Formats = FORMATS,
    words: Mapping[str, Any] | None = None,
) -> str:
    """The page that the template of `package` makes of figures and pictures: one file that asks for no other.

    `words` are what else the template may name.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: _source(name, package)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def show(path: str, form: str) -> Markup:
        """One figure, marked with where it stands in the JSON and how it is written."""
        text = formats[form](look_up(figures, path))
        return Markup('<span data-figure="{}" data-form="{}">{}</span>').format(path, form, text)

    def between(path: str, form: str) -> Markup:
        """A figure with its interval."""
        interval = look_up(figures, path)
        if interval["low"] is None or interval["high"] is None:
            return show(f"{path}.value", form)
        low, high = show(f"{path}.low", form), show(f"{path}.high", form)
        return Markup('{} <span class="range">{} to {}</span>').format(show(f"{path}.value", form), low, high)

    environment.filters |= {"whole": _whole, "day": day}
    embedded = Markup(json.dumps(figures, ensure_ascii=False).replace("<", "\\u003c"))
    template = environment.get_template("template.html")
    inline = {name: Markup(svg) for name, svg in drawn.items()}
    return template.render(f=figures, show=show, between=between, pictures=inline, embedded=embedded, **(words or {}))


def _whole(text: str) -> Markup:
    """Text whose dates, names of bundles and figures do not break at the end of a line."""
    parts = re.split(r"(\d[\w-]*-[\w-]+|[\d.,]+ %)", text)
    return Markup("").join(
        Markup('<span class="whole">{}</span>').format(part) if place % 2 else part for place, part in enumerate(parts)
    )


def look_up(figures: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, as `main.table.3.threshold`."""
    found: Any = figures
    for part in path.split("."):
        found = found[int(part)] if isinstance(found, list) else found[part]
    return found


def _source(name: str, package: str) -> str:
    """The stylesheet is the same for all reports."""
    return resources.files("training.report" if name == "style.css" else package).joinpath(name).read_text(encoding="utf-8")


def write_whole(path: Path, text: str) -> None:
    """Write a file whole, or leave what was there; InputError where it cannot be written."""
    try:
        descriptor, scratch = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
                handle.write(text)
            # A temporary file is private; a report is for whoever may read the folder.
            Path(scratch).chmod(0o644)
            Path(scratch).replace(path)
        finally:
            Path(scratch).unlink(missing_ok=True)
    except OSError as error:
        raise InputError([Problem(str(path), f"cannot be written: {error.strerror or error}")]) from error
