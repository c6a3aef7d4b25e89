"""One claim as flat columns, and what a feature may be.

`risk.policy.request` takes these names from here while `risk.features.cover` takes what it judges from there: this module
imports nothing of ours and comes first.
"""

from collections.abc import Mapping
from typing import Any

Facts = Mapping[str, Any]
"""One claim as flat columns (`definition.TIMES`, `NUMBERS`, `TEXTS`); times are microseconds, missing is None."""
Value = float | int | str | None
"""A number, a word, or missing."""
