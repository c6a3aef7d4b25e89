"""Everything that a back-test says, as values: page, JSON and the table on the terminal are made from these alone.

Money is in minor units, times of waiting in hours, moments RFC 3339, shares 0 to 1; NaN is what cannot be said.
"""

from dataclasses import dataclass

from training.backtest.truth import Bound, LetThrough
from training.metrics import Interval


@dataclass(frozen=True)
class Settings:
    """What the caller chose."""

    resamples: int
    seed: int


@dataclass(frozen=True)
class Subject:
    """The stretch, half open, and what is known of it. `effective`: what the weighted labels are worth."""

    history: str
    start: str
    end: str
    claims: int
    money: float
    days: int
    currencies: tuple[str, ...]
    design: str
    labelled: int
    drawn: int
    open: int
    unlabelled_reviews: int
    effective: float
    oracle: bool


@dataclass(frozen=True)
class Way:
    """What decided in one replay."""

    name: str
    kind: str
    """`certificate`, `uncertified`, `nothing` or `history`."""
    bundle: str
    trained_until: str
    policies: tuple[str, ...]
    appetite: str
    certificate: str
    certified_on: str
    without_policy: float
    """Share of the claims on whose purchase no policy held."""


@dataclass(frozen=True)
class Wait:
    """How long honest claims waited, in hours, those approved at once 0."""

    median: Interval
    p90: Interval


@dataclass(frozen=True)
class Buyers:
    """Honest buyers. The `true_` figures are the oracle's."""

    honest_claims: float
    paid_at_once: Interval
    true_paid_at_once: float | None
    wait: Wait
    reviewed_wait: Wait
    """Of those that a person looked at."""
    lost: float
    """Buyers who leave, by the appetite's figures."""


@dataclass(frozen=True)
class Payer:
    """Money approved at once under guarantees that one party pays for."""

    payer: str
    claims: int
    money: float
    let_through: LetThrough


@dataclass(frozen=True)
class Load:
    """The reviewers' work."""

    reviews: int
    audits: int
    capacity: float
    mean: float
    p95: float
    most: int
    busiest: str
    week_most: float
    """Mean of the hour of the week in which most come."""
    longest_queue: int
    left_over: int
    """Cases that were not finished by the end of the stretch."""
    hours_over: float
    """Share of the hours in which more came than can be done."""


@dataclass(frozen=True)
class Platform:
    """What the platform does and risks."""

    reviewer_hours: float
    most_outstanding: float
    most_outstanding_at: str


@dataclass(frozen=True)
class Costs:
    """In minor units of the appetite's currency, over the stretch."""

    abuse: float
    reviewing: float
    waiting: float
    lost_buyers: float
    total: float
    currency: str


@dataclass(frozen=True)
class Reason:
    """Why claims went to a person."""

    reason: str
    claims: int
    share: float
    money: float


@dataclass(frozen=True)
class SegmentLine:
    """One segment of the appetite; `standing` says what its threshold rests on."""

    name: str
    claims: int
    money: float
    eligible: int
    """Passed every gate before the score's."""
    threshold: float
    standing: str
    approved: int
    approved_money: float
    alpha: float
    let_through: LetThrough
    bound: Bound


@dataclass(frozen=True)
class HourOfWeek:
    """Mean number of cases that reach the reviewers in an hour of the week, on the marketplace's own clock."""

    weekday: int
    hour: int
    cases: float


@dataclass(frozen=True)
class Day:
    """One day (UTC): what came, the longest queue, and how long reviews that came on it waited (hours)."""

    day: str
    claims: int
    approved_money: float
    reviews: int
    audits: int
    queue: int
    wait_p90: float


@dataclass(frozen=True)
class Group:
    """Honest claims of one group beside those of all. A warning is said where the interval of a gap excludes what is allowed.

    `gap` is how much more rarely they are approved at once than all (a share), `longer` how much longer their waiting is
    at its 90 % point (hours).
    """

    name: str
    claims: int
    honest: int
    """With a label; weights apart."""
    judged: bool
    paid_at_once: Interval
    wait: Wait
    gap: Interval
    longer: Interval
    warned: tuple[str, ...]
    true_paid_at_once: float | None


@dataclass(frozen=True)
class Fairness:
    """One way to look at honest claims by group."""

    title: str
    note: str
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Outcome:
    """All figures of one replay."""

    way: Way
    approved: int
    approved_share: float
    approved_money: float
    approved_money_share: float
    let_through: LetThrough
    bound: Bound
    buyers: Buyers
    payers: tuple[Payer, ...]
    load: Load
    platform: Platform
    costs: Costs
    reasons: tuple[Reason, ...]
    segments: tuple[SegmentLine, ...]
    week: tuple[HourOfWeek, ...]
    days: tuple[Day, ...]
    fairness: tuple[Fairness, ...]


@dataclass(frozen=True)
class Row:
    """One line of the trade-off: everything is replayed with one threshold for all segments.

    `quantile` is the share of claims that pass all other gates and score at or below the threshold. `own` marks what the
    back-test is about, `nearest` the plain row whose approved money is closest to it, `cheapest` the least total cost.
    """

    name: str
    quantile: float
    threshold: float
    approved_share: float
    approved_money: float
    approved_money_share: float
    let_through: Interval
    let_through_money: float
    true_let_through: float | None
    reviews_per_hour: float
    reviews_per_hour_p95: float
    honest_paid_at_once: float
    honest_wait_p90: float
    costs: Costs
    within: bool | None
    """Whether the interval ends at or below alpha; None where it cannot be said."""
    own: bool = False
    nearest: bool = False
    cheapest: bool = False


@dataclass(frozen=True)
class Figures:
    """The whole back-test. `outcomes` has first what was asked about, then what it is compared with, if anything."""

    settings: Settings
    subject: Subject
    alpha: float
    delta: float
    loud: str
    """What has to be said before anything else, in large letters; empty where nothing has."""
    summary: tuple[str, ...]
    warnings: tuple[str, ...]
    caveats: tuple[str, ...]
    """How to read the figures, whatever they are."""
    outcomes: tuple[Outcome, ...]
    tradeoff: tuple[Row, ...]
