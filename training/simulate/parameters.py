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

FILE = Path(__file__).with_name("parameters.toml")
GRADES = {
    "P": "text of a law or of a platform's own rules",
    "V": "a vendor's or survey's claim",
    "J": "press",
    "S": "second-hand copy",
    "A": "assumption of ours",
}


@dataclass(frozen=True)
class Abuse:
    definition: str
    share: float
    mimic: float
    aged_account: float
    honest_orders_a_year: float
    keep_device: float
    keep_address: float
    keep_payment: float
    active_days: float
    least_rings: float
    attempts_a_claim: float
    among_others: float
    verified_less: float
    suits: float


@dataclass(frozen=True)
class Volume:
    claims_per_order: float
    tail_days: float
    orders_per_buyer: float
    orders_per_merchant: float
    orders_per_item: float
    orders_per_creator: float
    yearly_growth: float
    festivals: tuple[str, ...]
    festival_factor: float
    busy_hours: tuple[float, ...]


@dataclass(frozen=True)
class People:
    segments: Mapping[str, float]
    orders_a_year: Mapping[str, float]
    returner_taste: float
    returner_clothes: float
    claiming_shape: float
    verified: float
    guest: float
    household: float
    dorm: float
    locker: float
    dorm_size: float
    locker_size: float
    shared_device: float
    shared_payment: float
    second_device: float
    gift_address: float
    newcomer_factor: float


@dataclass(frozen=True)
class Market:
    merchant_zipf: float
    item_zipf: float
    creator_zipf: float
    bad_merchant: float
    bad_merchant_factor: float
    bad_creator: float
    bad_creator_factor: float
    bad_batch: float
    bad_batch_days: float
    bad_batch_factor: float
    channels: Mapping[str, float]
    carriers: Mapping[str, float]
    regions: int
    quantity_more: float
    other_items: float
    discount: float
    home_category: float
    usual_creator: float


@dataclass(frozen=True)
class Parcel:
    ship_hours: float
    ship_spread: float
    transit_hours: float
    transit_spread: float
    promise_hours: float
    not_shipped: float
    lost: float
    scanned_not_handed_over: float
    damaged: float
    careless_factor: float
    unscanned: float


@dataclass(frozen=True)
class Cause:
    not_shipped: float
    late_shipping: float
    lost: float
    scanned_not_handed_over: float
    late: float
    damaged: float
    spoiled: float
    allergy: float
    quality: float
    counterfeit: float
    wrong_item: float
    missing_item: float
    not_as_described: float
    no_reason: float
    return_freight: float
    partial: float
    earlier_refund: float


@dataclass(frozen=True)
class Asked:
    """What a claim says, whoever makes it."""

    opened: float
    opened_unknown: float
    confirmed: float
    confirmed_unknown: float
    return_methods: Mapping[str, float]
    return_method_unknown: float
    no_device: float
    no_address: float
    no_payment: float
    no_text: float
    affected: float
    affected_abuse: float
    not_handed_over_distance: float
    longest_days: float


@dataclass(frozen=True)
class Label:
    review: float
    return_inspection: float
    carrier_trace: float
    audit: float
    delay_days: Mapping[str, float]
    delay_spread: float
    undecided: float
    abuse_missed: float
    honest_blamed: float
    charged_back: float
    second_look: float
    reversal: float
    reversal_days: float


@dataclass(frozen=True)
class Champion:
    approve: float
    audit_low: float
    audit_high: float
    near: float
    weights: Mapping[str, float]
    noise: float


@dataclass(frozen=True)
class Category:
    share: float
    price: float
    spread: float
    returns: float
    fragile: float
    fresh: bool
    defects: float


@dataclass(frozen=True)
class Habits:
    """How a claim for one reason usually looks."""

    remedies: Mapping[str, float]
    delay_days: float
    spread: float
    photos: float
    videos: float
    certificates: float
    scans: float
    chats: float


@dataclass(frozen=True)
class Signal:
    """A caller's own signal: how often it is there, and its size for honest claims and where a tell shows."""

    measured: float
    honest: float
    tell: float


@dataclass(frozen=True)
class Numbers:
    """The numbers of one abuse typology."""

    share: float
    opportunist: float
    ring: int
    claims_each: float
    identities: float
    price_tilt: float
    categories: tuple[str, ...]
    reasons: Mapping[str, float]
    refund_only: float
    hurry: float
    one_merchant: bool


@dataclass(frozen=True)
class Parameters:
    abuse: Abuse
    volume: Volume
    people: People
    market: Market
    parcel: Parcel
    cause: Cause
    asked: Asked
    label: Label
    champion: Champion
    category: Mapping[str, Category]
    habits: Mapping[str, Habits]
    signal: Mapping[str, Signal]
    typology: Mapping[str, Numbers]
    published: Mapping[str, float]
    grades: Mapping[str, str]


SECTIONS: dict[str, type] = {
    "abuse": Abuse, "volume": Volume, "people": People, "market": Market, "parcel": Parcel, "cause": Cause,
    "asked": Asked, "label": Label, "champion": Champion,
}  # fmt: skip
FAMILIES: dict[str, Any] = {
    "category": Category, "habits": Habits, "signal": Signal, "typology": Numbers, "published": float,
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
