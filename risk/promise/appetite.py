"""The appetite: what the owner of the policy accepts, as data. Read once, checked as a whole, named in every decision."""

import hashlib
import tomllib
from collections.abc import Mapping
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from risk.errors import Problem, SettingError
from risk.features import Facts
from risk.policy.definition import Policies

_DAY = 86_400_000_000
Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# A century: what is longer is a slip, and the moments that it leads to fit into no calendar.
Days = Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
Money = Annotated[dict[Currency, Annotated[int, Field(gt=0, le=10**15)]], Field(min_length=1)]
"""Minor units by currency."""
PARTIES = ("buyer", "device", "address", "payment")
"""Parties whose quota is one row: few approvals meet there."""
SHARED = ("merchant", "guarantee", "hour", "day")
"""Quotas that many approvals meet in at the same moment."""


class _Part(BaseModel):
    # Not strict: TOML writes a whole number where a share or a length may be one.
    model_config = ConfigDict(frozen=True, extra="forbid")


class Promise(_Part):
    """Of the money approved at once at most `alpha` is abuse, with confidence 1 - `delta`."""

    alpha: Share
    delta: Share
    looks: int = Field(default=1, ge=1, le=100)
    mature_days: Days
    valid_days: Days
    watch_level: Share = 0.05


class Segment(_Part):
    """Claims that are promised something together."""

    name: Name
    largest: Money
    alpha: Share | None = None
    guarantees: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    buyer_days_below: Days | None = None

    def fits(self, facts: Facts, guarantee: str | None) -> bool:
        """Whether a claim that `guarantee` covers belongs here."""
        largest = self.largest_in(facts["currency"])
        if largest is None or facts["amount"] > largest:
            return False
        if self.guarantees and guarantee not in self.guarantees:
            return False
        if self.categories and not any(_within(facts["category"], path) for path in self.categories):
            return False
        if self.buyer_days_below is None:
            return True
        # Of unknown age is as new as can be.
        age = facts["submitted_at"] - facts["registered_at"] if facts["registered_at"] is not None else 0
        return bool(age < self.buyer_days_below * _DAY)

    def largest_in(self, currency: str | None) -> int | None:
        """The most that may be approved at once here; the least of all currencies where a history does not say which."""
        return min(self.largest.values()) if currency is None else self.largest.get(currency)


def _within(category: str | None, path: str) -> bool:
    return category is not None and (category == path or category.startswith(f"{path}."))


class AuditRule(_Part):
    """How many approvals are looked at again."""

    rate: Annotated[float, Field(gt=0, le=1)]
    at_least: Annotated[float, Field(ge=0, le=1)] = 0.0


class Quota(_Part):
    """The most that may be out at once, by kind of party, and by hour and day."""

    device: Money
    address: Money
    payment: Money
    merchant: Money
    guarantee: Money
    hour: Money
    day: Money
    settle_days: Days


class TrustStep(_Part):
    """A buyer's quota, and what has to have gone well for it."""

    name: Name
    limit: Money
    orders: int = Field(default=0, ge=0, description="Orders paid in the last 365 days.")
    spent: int = Field(default=0, ge=0, description="What was paid for them, in minor units: many cheap orders earn no trust.")
    settled: int = Field(default=0, ge=0, description="Approvals that settled without a loss.")
    account_days: float = Field(default=0.0, ge=0, le=36_500, allow_inf_nan=False)


class Trust(_Part):
    """The steps, the least trusting first."""

    step: Annotated[tuple[TrustStep, ...], Field(min_length=1)]
    after_loss_days: Annotated[float, Field(ge=0, le=36_500, allow_inf_nan=False)]


class Cost(_Part):
    """What things cost, in minor units of one currency."""

    currency: Currency
    reviewer_minute: Annotated[float, Field(ge=0)]
    minutes_a_review: Positive
    honest_day_of_waiting: Annotated[float, Field(ge=0)]
    lost_buyer: Annotated[float, Field(ge=0)]
    leave_after_a_day: Annotated[float, Field(ge=0, le=1)]


class Review(_Part):
    """What people can do."""

    capacity_per_hour: Positive


class Fairness(_Part):
    """From which gap on a report warns."""

    gap: Share
    hours: Positive
    fewest: int = Field(ge=1)
    new_buyer_days: Days
    small_merchant_orders: int = Field(ge=1)


class Appetite(_Part):
    """The whole file."""

    version: Annotated[str, Field(min_length=1, max_length=64)]
    promise: Promise
    segment: Annotated[tuple[Segment, ...], Field(min_length=1)]
    audit: AuditRule
    quota: Quota
    trust: Trust
    cost: Cost
    review: Review
    fairness: Fairness

    @model_validator(mode="after")
    def _together(self) -> Self:
        if problems := [*self._segment_problems(), *self._quota_problems(), *self._trust_problems()]:
            raise SettingError(problems)
        return self

    def _segment_problems(self) -> list[Problem]:
        names = [segment.name for segment in self.segment]
        found = [
            Problem(f"/segment/{place}/name", f"{name!r} names another segment already")
            for place, name in enumerate(names)
            if name in names[:place]
        ]
        for place, segment in enumerate(self.segment):
            for before in self.segment[:place]:
                if _hidden(segment, before):
                    found.append(Problem(f"/segment/{place}", f"no claim ever gets here: {before.name!r} before it takes them all"))
                    break
        return found

    def _quota_problems(self) -> list[Problem]:
        """A quota in which one order has no room would never approve it, whatever the promise says."""
        return [
            Problem(f"/quota/{kind}/{currency}", f"{limit} is below {largest}, the largest amount that may be approved at once")
            if limit is not None
            else Problem(f"/quota/{kind}/{currency}", "is missing: segments approve money in this currency")
            for kind in (*PARTIES[1:], *SHARED)
            for currency, largest in self.largest.items()
            if (limit := getattr(self.quota, kind).get(currency)) is None or limit < largest
        ]

    def _trust_problems(self) -> list[Problem]:
        steps, found = self.trust.step, []
        if any((steps[0].orders, steps[0].spent, steps[0].settled, steps[0].account_days)):
            found.append(Problem("/trust/step/0", "the first step is everybody's and may ask for nothing"))
        names = [step.name for step in steps]
        found += [Problem(f"/trust/step/{place}/name", "is used twice") for place, name in enumerate(names) if name in names[:place]]
        for currency, largest in self.largest.items():
            limits = [step.limit.get(currency) for step in steps]
            missing = [place for place, limit in enumerate(limits) if limit is None]
            found += [Problem(f"/trust/step/{place}/limit/{currency}", "is missing") for place in missing]
            known = [limit for limit in limits if limit is not None]
            if known != sorted(known):
                found.append(Problem("/trust/step", f"limits in {currency} have to grow from step to step"))
            if known and not missing and known[-1] < largest:
                found.append(
                    Problem(
                        f"/trust/step/{len(steps) - 1}/limit/{currency}",
                        f"{known[-1]} is below {largest}: not even the most trusted buyer could get the largest amount",
                    )
                )
        return found

    @cached_property
    def largest(self) -> Mapping[str, int]:
        """The most that may be approved at once for one order, by currency."""
        currencies = sorted({currency for segment in self.segment for currency in segment.largest})
        return {
            currency: max(segment.largest[currency] for segment in self.segment if currency in segment.largest)
            for currency in currencies
        }

    def largest_in(self, currency: str | None) -> int:
        """The most in a currency, 0 in one without a rule; the least of all where a history does not say which."""
        return min(self.largest.values()) if currency is None else self.largest.get(currency, 0)

    def segment_of(self, facts: Facts, guarantee: str | None) -> Segment | None:
        """The segment of a claim that `guarantee` covers, if it fits any; `facts` hold `currency` too."""
        return next((segment for segment in self.segment if segment.fits(facts, guarantee)), None)

    def alpha_of(self, segment: Segment) -> float:
        """What is tolerated in a segment."""
        return self.promise.alpha if segment.alpha is None else segment.alpha

    @property
    def error(self) -> float:
        """The part of delta that one segment's test may spend at one look."""
        return self.promise.delta / self.promise.looks / len(self.segment)

    def audit_probability(self, segment: Segment, amount: int, currency: str | None) -> float:
        """With which probability a claim is audited: in proportion to its amount, at least the floor."""
        largest = segment.largest_in(currency)
        return 0.0 if largest is None else min(1.0, max(self.audit.at_least, self.audit.rate * amount / largest))

    @cached_property
    def digest(self) -> str:
        """Names exactly what the file says: a version alone may be left as it was."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    @cached_property
    def population(self) -> str:
        """Names the segments: a certificate is about these claims and about no others."""
        parts = "".join(segment.model_dump_json(exclude={"alpha"}) for segment in self.segment)
        return hashlib.sha256(parts.encode()).hexdigest()[:12]


def _hidden(segment: Segment, before: Segment) -> bool:
    """Whether everything that fits `segment` fits the one before it."""
    wider = (
        not before.guarantees or (segment.guarantees and {*segment.guarantees} <= {*before.guarantees}),
        not before.categories
        or (segment.categories and all(any(_within(path, wide) for wide in before.categories) for path in segment.categories)),
        before.buyer_days_below is None
        or (segment.buyer_days_below is not None and segment.buyer_days_below <= before.buyer_days_below),
        all(before.largest.get(currency, 0) >= most for currency, most in segment.largest.items()),
    )
    return all(wider)


def parse_appetite(text: str, name: str = "appetite.toml") -> Appetite:
    """Read an appetite; a SettingError names everything that does not hold together, with the place in the file."""
    try:
        # Some editors put a byte order mark first.
        data: dict[str, Any] = tomllib.loads(text.removeprefix("\ufeff"))
        return Appetite.model_validate(_without_flags(data))
    except tomllib.TOMLDecodeError as error:
        raise SettingError([Problem(name, f"is not TOML: {error}")]) from error
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise SettingError([Problem(f"{name}: {_place(part['loc'])}", _sentence(part)) for part in found]) from error
    except SettingError as error:
        raise SettingError([Problem(f"{name}: {problem.where}", problem.detail) for problem in error.problems]) from error


def read_appetite(file: Path) -> Appetite:
    """Read an appetite from a file; a SettingError where it cannot be read or does not hold together."""
    try:
        return parse_appetite(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError([Problem(str(file), f"cannot be read: {error}")]) from error


@lru_cache(maxsize=4)
def load_appetite(file: Path | None = None) -> Appetite:
    """The appetite in a file, by default the one that this version ships; read once, whatever happens to the file later."""
    if file is not None:
        return read_appetite(file)
    return parse_appetite(resources.files("risk.promise").joinpath("appetite.toml").read_text(encoding="utf-8"))


def unknown_guarantees(appetite: Appetite, policies: Policies) -> list[Problem]:
    """Guarantees that segments name and no policy has: nothing would ever fall under them."""
    known = {code for policy in policies.all for code in policy.guarantees}
    return [
        Problem(f"/segment/{place}/guarantees", f"no policy has a guarantee {code!r}")
        for place, segment in enumerate(appetite.segment)
        for code in segment.guarantees
        if code not in known
    ]


def _without_flags(part: Any) -> Any:
    """What was read, without values that are true or false: no setting is, and they would count as 1 and 0."""
    if isinstance(part, dict):
        return {name: _without_flags(value) for name, value in part.items()}
    if isinstance(part, list):
        return [_without_flags(value) for value in part]
    return None if isinstance(part, bool) else part


def _place(location: tuple[int | str, ...]) -> str:
    return "".join(f"/{part}" for part in location)


def _sentence(part: Any) -> str:
    message = str(part["msg"])
    return "unknown setting" if part["type"] == "extra_forbidden" else message[0].lower() + message[1:]
