"""Every error that the project raises on purpose.

    RiskError
    ├── InputError          somebody sent something that cannot be used; carries every problem found
    │   ├── HistoryError    a history that cannot be trained on
    │   └── SettingError    a setting or data file of ours that does not hold together
    ├── BundleError         a bundle that must not be served: missing, incomplete, altered, for another schema
    └── Unavailable         a part that we depend on is gone for now; the caller may try again
"""

from collections.abc import Sequence
from dataclasses import dataclass


class RiskError(Exception):
    """Base of everything raised on purpose; its text is a sentence for the person who has to act."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where.

    `where` is a JSON pointer for requests, `table.column` for histories, a file and line for data files.
    """

    where: str
    detail: str

    def __str__(self) -> str:
        return f"{self.where}: {self.detail}"


class InputError(RiskError):
    """Input that cannot be used, with **all** its problems at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class HistoryError(InputError):
    """A history that cannot be trained on."""


class SettingError(InputError):
    """A setting or a data file of ours that does not hold together."""


class BundleError(RiskError):
    """A bundle that must not be served."""


class Unavailable(RiskError):
    """A part that we depend on does not answer now."""
