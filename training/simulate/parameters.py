"""Load and check `parameters.toml`: every number of the simulated world, with its source and grade.

A parameter is a table of `value`, `source` and `grade`. Modules take numbers from here and keep none of their own.
"""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from risk.errors import Problem, SettingError
from training.simulate.schema import (
    Abuse,
    Asked,
    Category,
    Cause,
    Champion,
    Cover,
    Habits,
    Label,
    Market,
    Numbers,
    Parcel,
    People,
    Service,
    Signal,
    Tells,
    Volume,
)

FILE = Path(__file__).with_name("parameters.toml")
GRADES = {
    "P": "text of a law or of a platform's own rules",
    "V": "a vendor's or survey's claim",
    "J": "press",
    "S": "second-hand copy",
    "A": "assumption of ours",
}


@dataclass(frozen=True)
class Parameters:
    abuse: Abuse
    volume: Volume
    people: People
    market: Market
    parcel: Parcel
    cause: Cause
    asked: Asked
    cover: Cover
    tell: Tells
    label: Label
    champion: Champion
    service: Mapping[str, Service]
    category: Mapping[str, Category]
    habits: Mapping[str, Habits]
    signal: Mapping[str, Signal]
    typology: Mapping[str, Numbers]
    published: Mapping[str, float]
    grades: Mapping[str, str]


SECTIONS: dict[str, type] = {
    "abuse": Abuse, "volume": Volume, "people": People, "market": Market, "parcel": Parcel, "cause": Cause,
    "asked": Asked, "cover": Cover, "tell": Tells, "label": Label, "champion": Champion,
}  # fmt: skip
FAMILIES: dict[str, Any] = {
    "service": Service, "category": Category, "habits": Habits, "signal": Signal, "typology": Numbers, "published": float,
}  # fmt: skip


@cache
def load(path: Path = FILE) -> Parameters:
    """Read the data file.

    Raises:
        SettingError: with every unknown or missing key, missing source or grade, and value of the wrong type.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingError([Problem(path.name, str(error))]) from error
    checker = _Checker(path.name)
    parameters = checker.parameters(raw)
    if checker.problems:
        raise SettingError(checker.problems)
    return Parameters(**parameters, grades=checker.grades)


class _Checker:
    """Collects every problem of one file, so that one run shows them all."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.grades: dict[str, str] = {}

    def parameters(self, raw: dict[str, Any]) -> dict[str, Any]:
        for name in raw.keys() - SECTIONS.keys() - FAMILIES.keys():
            self._add(name, "unknown section")
        values: dict[str, Any] = {}
        for name, kind in SECTIONS.items():
            table = self._table(raw, name)
            plain = {key: self._value(f"{name}.{key}", entry) for key, entry in table.items()}
            values[name] = self._build(name, kind, plain)
        for name, kind in FAMILIES.items():
            table = self._table(raw, name)
            values[name] = {
                key: self._typed(f"{name}.{key}", kind, self._value(f"{name}.{key}", entry))
                for key, entry in table.items()
            }
        return values

    def _table(self, raw: dict[str, Any], name: str) -> dict[str, Any]:
        table = raw.get(name)
        if not isinstance(table, dict):
            self._add(name, "section missing")
            return {}
        return table

    def _value(self, where: str, entry: Any) -> Any:
        """The value of one parameter, after a look at its source and grade."""
        if not isinstance(entry, dict):
            self._add(where, "has to be a table of value, source and grade")
            return None
        for key in entry.keys() - {"value", "source", "grade"}:
            self._add(f"{where}.{key}", "unknown key; a parameter has value, source and grade")
        for key in ("value", "source", "grade"):
            if entry.get(key, "") == "":
                self._add(where, f"{key} missing")
        grade = entry.get("grade")
        if grade and grade not in GRADES:
            self._add(where, f"grade {grade!r} is none of {', '.join(GRADES)}")
        self.grades[where] = str(grade)
        return entry.get("value")

    def _build(self, where: str, kind: type, values: dict[str, Any]) -> Any:
        hints = get_type_hints(kind)
        fields = {field.name: hints[field.name] for field in dataclasses.fields(kind)}
        for key in values.keys() - fields.keys():
            self._add(f"{where}.{key}", "unknown key")
        for key in fields.keys() - values.keys():
            self._add(f"{where}.{key}", "missing")
        known = {key: self._typed(f"{where}.{key}", hint, values[key]) for key, hint in fields.items() if key in values}
        return kind(**known) if len(known) == len(fields) else None

    def _typed(self, where: str, kind: Any, value: Any) -> Any:
        if value is None:
            return None
        if dataclasses.is_dataclass(kind) and isinstance(value, dict):
            return self._build(where, kind, value)  # type: ignore[arg-type]
        origin, inner = get_origin(kind), get_args(kind)
        if origin is tuple and isinstance(value, list):
            return tuple(self._typed(where, inner[0], item) for item in value)
        if origin is Mapping and isinstance(value, dict):
            return {key: self._typed(f"{where}.{key}", inner[1], item) for key, item in value.items()}
        if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if kind in (bool, int, str) and type(value) is kind:
            return value
        self._add(where, f"has the wrong type: {value!r}")
        return None

    def _add(self, where: str, detail: str) -> None:
        self.problems.append(Problem(f"{self.file} {where}", detail))
