"""A refund policy as values: read from one TOML file, checked line by line.

A policy says which guarantee pays for which claim. A guarantee is a list of rules; each rule has a sentence in English and
Chinese, a source and a grade, and is named by its guarantee and kind (`fresh_spoilage/window`): that is its clause.
"""

import hashlib
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from importlib import resources
from itertools import pairwise, product
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from risk.claim import microseconds
from risk.errors import Problem, SettingError
from risk.policy.lines import line_of, lines
from risk.vocabulary import EvidenceKind, Reason, Remedy

MOMENTS = ("paid_at", "promised_by", "shipped_at", "delivered_at", "intercepted_at", "lost_at", "return_shipped_at",
           "return_picked_up_at", "return_received_at")  # fmt: skip
Moment = Literal["paid_at", "promised_by", "shipped_at", "delivered_at", "intercepted_at", "lost_at", "return_shipped_at",
                 "return_picked_up_at", "return_received_at"]  # fmt: skip
Grade = Literal["P", "V", "J", "S", "A"]
"""Text of a law or a platform's own rules; a vendor's or survey's claim; press; second-hand; an assumption of ours."""
Words = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Path_ = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*$")]
Share = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """A part of a policy file: no key that is not known, no silent conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Sentence(Part):
    """The same in both languages."""

    en: Words
    zh: Words


class Rule(Sentence):
    """One thing that a guarantee asks for, as a buyer may read it."""

    source: Words
    grade: Grade
    reasons: list[Reason] = []
    """Only for claims with these reasons; for all where empty."""
    categories: list[Path_] = []
    """Only for goods of these categories and what is below them; for all where empty."""


class Promised(Rule):
    """The promise has to have been made: by the merchant, or with the item at purchase."""

    by: list[Literal["merchant", "item"]] = Field(min_length=1)


class Window(Rule):
    """How long after a moment a claim may be made: whole days of the buyer's calendar, or hours on the clock."""

    after: Moment
    days: int | None = Field(default=None, ge=1, le=3660)
    """Counted from the day after; the last one ends at midnight where the buyer lives."""
    hours: int | None = Field(default=None, ge=1, le=87_840)


class Exclusion(Rule):
    """Goods that the guarantee does not reach; with `if_opened` and `if_confirmed`, only where all of these are recorded."""

    if_opened: bool = False
    if_confirmed: bool = False


class Condition(Rule):
    """What has to have happened, or not: one of `any`, none of `none`, and the moment `passed` has gone by."""

    any: list[Moment] = []
    none: list[Moment] = []
    passed: Moment | None = None


class Evidence(Rule):
    """Proof of one of these kinds."""

    any: list[EvidenceKind] = Field(min_length=1)


class Intact(Rule):
    """The goods have to be as they were; what nobody looked at yet is taken to be."""


class Band(Part):
    """Up to and with this affected share, this share of the price is paid."""

    up_to: Share
    pays: Share


class Amount(Rule):
    """What the guarantee pays: of the goods, the freight of the return, nothing (a service), or another right in advance."""

    of: Literal["items", "freight", "nothing", "advance"] = "items"
    with_freight: bool = False
    """The freight that the buyer paid is paid back as well."""
    bands: list[Band] = []
    pro_rata: list[Reason] = []
    """For these reasons the affected share itself is paid, not its band."""
    most: int | None = Field(default=None, ge=1)
    """Cap in minor units of the policy's currency."""


class Guarantee(Sentence):
    """One published promise, or a right that the law gives (`statutory`)."""

    promise: Sentence
    source: Words
    grade: Grade
    payer: Literal["merchant", "insurer", "platform", "carrier", "buyer"]
    reasons: list[Reason] = Field(min_length=1)
    remedies: list[Remedy] = Field(min_length=1)
    categories: list[Path_] = []
    statutory: bool = False
    keeps_goods_up_to: int | None = Field(default=None, ge=0)
    """Paid without the goods coming back where they are worth no more than this; never where it is missing."""
    at_once: bool = True
    """Whether money may be paid on it before a person has looked."""
    single_use: list[Literal["order", "tracking_number"]] = []
    """It pays once only for each of these."""
    promised: Promised | None = None
    exclusion: list[Exclusion] = []
    intact: Intact | None = None
    condition: list[Condition] = []
    window: list[Window] = []
    evidence: list[Evidence] = []
    amount: Amount

    def reaches(self, reason: str, category: str | None) -> bool:
        """Whether a claim for this reason on such goods is what the guarantee is about."""
        fits = not self.categories or category is None or any(below(category, path) for path in self.categories)
        return reason in self.reasons and fits

    @property
    def pays_money(self) -> bool:
        """Whether it is a right to money of its own: neither a service nor the advance on another right."""
        return self.amount.of not in ("nothing", "advance")

    def rules(self) -> Iterator[tuple[str, Rule]]:
        """Every rule with its kind, in the order in which they are judged."""
        for kind in ("promised", "exclusion", "intact", "condition", "window", "evidence", "amount"):
            found = getattr(self, kind)
            yield from ((kind, rule) for rule in (found if isinstance(found, list) else [found]) if rule is not None)

    def named(self, code: str) -> Iterator[tuple[str, Rule]]:
        """Every rule with the name of its clause: of several of one kind each has its number."""
        kinds = Counter(kind for kind, _ in self.rules())
        numbers: Counter[str] = Counter()
        for kind, rule in self.rules():
            numbers[kind] += 1
            yield f"{code}/{kind}/{numbers[kind]}" if kinds[kind] > 1 else f"{code}/{kind}", rule


class Trigger(Rule):
    """What lets money go out before the goods are back.

    Where it `pays`, the goods never reached the buyer or go back by themselves, and the refund is due without another right.
    """

    pays: bool = False

    any: list[Moment] = []
    none: list[Moment] = []
    remedies: list[Remedy] = []


@dataclass(frozen=True, slots=True)
class Clause:
    """A rule under the name by which it is cited."""

    name: str
    rule: Rule
    paths: tuple[str, ...]
    """The categories that it is about, each with a dot at its end; about all where empty."""

    def about(self, category: str | None) -> bool | None:
        """Whether the rule speaks of such goods; None where it names some and these are of no known category."""
        if not self.paths:
            return True
        return None if category is None else f"{category}.".startswith(self.paths)


@dataclass(frozen=True, eq=False)
class Promise:
    """A guarantee with everything that it asks of a claim for one reason, in the order in which it is judged.

    A window stands there once for each category that it names, the most exact first: the first that fits counts.
    """

    code: str
    guarantee: Guarantee
    clauses: tuple[Clause, ...]
    single_use: str
    amount: str

    @lru_cache(maxsize=4096)  # noqa: B019 - promises live as long as their policy
    def speaking(self, category: str | None) -> tuple[tuple[str, Rule, bool], ...]:
        """The clauses that speak of such goods, of the windows one; False beside those of which that cannot be told."""
        found: list[tuple[str, Rule, bool]] = []
        timed = False
        for clause in self.clauses:
            window, about = isinstance(clause.rule, Window), clause.about(category)
            if about is False or (window and timed):
                continue
            timed = timed or window
            found.append((clause.name, clause.rule, about is True))
        return tuple(found)


def _promise(code: str, guarantee: Guarantee, reason: str) -> Promise:
    named = [(name, rule) for name, rule in guarantee.named(code) if not rule.reasons or reason in rule.reasons]
    clauses = [
        Clause(name, rule, tuple(f"{path}." for path in rule.categories))
        for name, rule in named
        if not isinstance(rule, Window | Amount)
    ]
    windows = [
        Clause(name, rule, (f"{path}.",) if path else ())
        for name, rule in named
        if isinstance(rule, Window)
        for path in rule.categories or [""]
    ]
    windows.sort(key=lambda clause: -max(map(len, clause.paths), default=0))
    place = sum(not isinstance(clause.rule, Evidence) for clause in clauses)
    clauses[place:place] = windows
    return Promise(code, guarantee, tuple(clauses), f"{code}/single_use", f"{code}/amount")


class Policy(Part):
    """All promises that hold for purchases of one stretch of time."""

    version: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")]
    jurisdiction: Words
    valid_from: datetime
    valid_until: datetime | None = None
    """The first moment at which it no longer holds; open where it is missing."""
    time_zone: Words
    """The buyer's calendar where an order does not say which it is."""
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
    categories: dict[Path_, Sentence] = Field(min_length=1)
    """Goods that the policy knows, by path; what is below them is known with them."""
    triggers: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")], Trigger]
    guarantees: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")], Guarantee] = Field(min_length=1)

    @cached_property
    def digest(self) -> str:
        """Changes with anything that the policy says, also where its version was left as it was."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    def knows(self, category: str | None) -> bool:
        """Whether the goods are any that the policy speaks of."""
        return category is not None and f"{category}.".startswith(self._paths)

    @cached_property
    def _paths(self) -> tuple[str, ...]:
        return tuple(f"{path}." for path in self.categories)

    @cached_property
    def promises(self) -> dict[str, tuple[Promise, ...]]:
        """For each reason the guarantees that are about it, in the order of the policy; a changed policy is read anew."""
        reasons = {reason for guarantee in self.guarantees.values() for reason in guarantee.reasons}
        return {
            reason: tuple(
                _promise(code, guarantee, reason) for code, guarantee in self.guarantees.items() if reason in guarantee.reasons
            )
            for reason in reasons
        }

    def holds_at(self, moment: int) -> bool:
        """Whether it is the policy of a purchase at that moment (microseconds)."""
        until = self.valid_until
        return microseconds(self.valid_from) <= moment and (until is None or moment < microseconds(until))


def below(category: str, path: str) -> bool:
    """Whether a category is this one or stands below it.

    >>> below("food.fresh.fruit", "food.fresh"), below("food.fresher", "food.fresh")
    (True, False)
    """
    return f"{category}.".startswith(f"{path}.")


def read_policy(text: str, name: str) -> Policy:
    """The policy that a TOML text says; a SettingError names everything that does not hold together, with its line."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingError([Problem(name, str(error))]) from error
    places = lines(text)
    try:
        policy = Policy.model_validate(data)
    except ValidationError as error:
        raise SettingError(
            [
                Problem(f"{name}:{line_of(places, part['loc'])}", f"{_dotted(part['loc'])}: {_said(part)}")
                for part in error.errors(include_url=False)
            ]
        ) from error
    problems = [Problem(f"{name}:{line_of(places, place)}", said) for place, said in _inconsistent(policy)]
    if problems:
        raise SettingError(problems)
    return policy


def _dotted(place: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in place)


def _said(part: object) -> str:
    details: dict[str, str] = part  # type: ignore[assignment]
    return "unknown key" if details["type"] == "extra_forbidden" else details["msg"][0].lower() + details["msg"][1:]


Place = tuple[int | str, ...]


def _inconsistent(policy: Policy) -> Iterator[tuple[Place, str]]:
    """What each part allows but all together do not."""
    for name in ("valid_from", "valid_until"):
        moment = getattr(policy, name)
        if moment is not None and moment.tzinfo is None:
            yield (name,), f"{name}: a time with an offset is expected"
            return
    if policy.valid_until is not None and policy.valid_until <= policy.valid_from:
        yield ("valid_until",), "valid_until is not after valid_from"
    try:
        ZoneInfo(policy.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield ("time_zone",), f"time_zone: {policy.time_zone!r} is no time zone"
    for name, trigger in policy.triggers.items():
        if not (trigger.any or trigger.none):
            yield ("triggers", name), f"{name}: asks for nothing, so that money would always go out before the goods are back"
    for code, guarantee in policy.guarantees.items():
        yield from ((("guarantees", code, *place), f"{code}: {said}") for place, said in _loose(policy, guarantee))


def _loose(policy: Policy, guarantee: Guarantee) -> Iterator[tuple[Place, str]]:
    for path in guarantee.categories:
        if not _known(policy, path):
            yield ("categories",), f"no goods of the policy are {path}"
    for reason, path in product(guarantee.reasons, guarantee.categories or policy.categories) if guarantee.window else ():
        if not any(_covers(window, reason, path) for window in guarantee.window):
            yield ("window", 0), f"no window for {path}, {reason}: it would never end"
    counts: dict[str, int] = {}
    for kind, rule in guarantee.rules():
        number = counts[kind] = counts.get(kind, -1) + 1
        place: Place = (kind, number) if isinstance(getattr(guarantee, kind), list) else (kind,)
        yield from (((*place, *where), f"{kind}: {said}") for where, said in _loose_rule(policy, guarantee, rule))


def _loose_rule(policy: Policy, guarantee: Guarantee, rule: Rule) -> Iterator[tuple[Place, str]]:
    for reason in rule.reasons:
        if reason not in guarantee.reasons:
            yield ("reasons",), f"the guarantee is not about {reason}"
    for path in rule.categories:
        if not _known(policy, path) or not _overlaps(guarantee, path):
            yield ("categories",), f"no goods that the guarantee reaches are {path}"
    if isinstance(rule, Window) and (rule.days is None) == (rule.hours is None):
        yield (), "either days or hours are expected"
    if isinstance(rule, Condition) and not (rule.any or rule.none or rule.passed):
        yield (), "asks for nothing"
    if isinstance(rule, Amount):
        yield from _holes(rule.bands)
        if rule.reasons or rule.categories:
            yield (), "one amount is for all claims of its guarantee: reasons and categories have no place here"


def _covers(window: Window, reason: str, path: str) -> bool:
    return (not window.reasons or reason in window.reasons) and (
        not window.categories or any(below(path, own) for own in window.categories)
    )


def _known(policy: Policy, path: str) -> bool:
    return any(below(path, known) or below(known, path) for known in policy.categories)


def _overlaps(guarantee: Guarantee, path: str) -> bool:
    return not guarantee.categories or any(below(path, own) or below(own, path) for own in guarantee.categories)


def _holes(bands: Sequence[Band]) -> Iterator[tuple[Place, str]]:
    if not bands:
        return
    if bands[-1].up_to != 1.0:
        yield ("bands",), f"shares from {bands[-1].up_to:g} to 1 have no band"
    for place, (one, other) in enumerate(pairwise(bands)):
        if other.up_to <= one.up_to:
            yield ("bands", place + 1), f"up_to {other.up_to:g} does not come after {one.up_to:g}"
        if other.pays < one.pays:
            yield ("bands", place + 1), f"a larger share would be paid less ({other.pays:g} after {one.pays:g})"


class Policies:
    """Policies side by side: a claim is judged by the one that held at purchase."""

    def __init__(self, policies: Sequence[tuple[str, Policy]]) -> None:
        """`policies` with the file and line where each begins; a SettingError names those that hold at the same time."""
        ordered = sorted(policies, key=lambda pair: pair[1].valid_from)
        problems = [
            Problem(later, f"holds from {other.valid_from.isoformat()}, when {earlier} still does")
            for (earlier, one), (later, other) in pairwise(ordered)
            if one.valid_until is None or one.valid_until > other.valid_from
        ]
        versions = [policy.version for _, policy in ordered]
        problems += [
            Problem(name, f"version {policy.version} exists twice") for name, policy in ordered if versions.count(policy.version) > 1
        ]
        if problems:
            raise SettingError(problems)
        self.all = tuple(policy for _, policy in ordered)

    def at(self, moment: int | None) -> Policy | None:
        """The policy that held at a moment (microseconds); None where none did or the moment is not known."""
        if moment is None:
            return None
        return next((policy for policy in self.all if policy.holds_at(moment)), None)


def read_policies(files: Sequence[Path]) -> Policies:
    """Several policy files together; a SettingError names everything that is wrong in any of them."""
    read: list[tuple[str, Policy]] = []
    problems: list[Problem] = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
            start = line_of(lines(text), ("valid_from",))
            read.append((f"{file.name}:{start}", read_policy(text, file.name)))
        except UnicodeDecodeError as error:
            problems.append(Problem(file.name, f"no UTF-8 text: {error.reason} at byte {error.start}"))
        except SettingError as error:
            problems += error.problems
    if problems:
        raise SettingError(problems)
    return Policies(read)


@lru_cache(maxsize=1)
def load_policies() -> Policies:
    """The policies that this version ships."""
    folder = resources.files("risk").joinpath("policy")
    return read_policies(sorted(Path(str(file)) for file in folder.iterdir() if file.name.endswith(".toml")))
