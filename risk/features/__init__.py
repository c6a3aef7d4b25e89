"""One definition of a feature for bulk and online: the table, its values, and the arithmetic for one claim."""

from risk.features.columns import Facts, Value
from risk.features.compute import Calculator
from risk.features.definition import (
    Aggregate,
    Entity,
    FeatureSet,
    Measure,
    Own,
    Windowed,
    load_features,
    parse_features,
)

__all__ = [
    "Aggregate",
    "Calculator",
    "Entity",
    "Facts",
    "FeatureSet",
    "Measure",
    "Own",
    "Value",
    "Windowed",
    "load_features",
    "parse_features",
]
