"""Everything that the report says, as values: the page and the JSON file are both made from these and nothing else."""

from dataclasses import dataclass

from training.metrics import Interval, TopK
from training.report.calibration import Calibration
from training.report.money import Approval, OwnThreshold
from training.report.segments import Segmentation


@dataclass(frozen=True)
class Settings:
    """What the caller chose: reviewers' daily capacity, number of resamples, seed."""

    top_k: int = 50
    resamples: int = 500
    seed: int = 1


@dataclass(frozen=True)
class Subject:
    """What is judged on what: times are RFC 3339, the stretch is half open."""

    bundle: str
    trained_until: str
    threshold: float
    history: str
    start: str
    end: str


@dataclass(frozen=True)
class Population:
    """How many claims there are and of how many the truth is known. Money is in minor units.

    `selective`: some claims could be labelled by a drawn audit only. `effective`: what the weighted labels are worth.
    """

    claims: int
    money: float
    days: int
    known: int
    known_share: float
    abuse: int
    undecided: int
    unlabelled: int
    not_known_share: float
    audited: bool
    selective: bool
    drawn: int
    effective: float


@dataclass(frozen=True)
class Week:
    """Seven days of the stretch: whether labels have arrived evenly and the score keeps its level."""

    first_day: str
    claims: int
    known_share: float
    abuse_share: float
    mean_score: float
    approved_share: float


@dataclass(frozen=True)
class Point:
    """One point of a curve with its band."""

    x: float
    y: Interval


@dataclass(frozen=True)
class Discrimination:
    """How well abusive claims are told from honest ones."""

    auc: Interval
    average_precision: Interval
    recall_at_1_percent: Interval
    recall_at_5_percent: Interval
    roc: tuple[Point, ...]
    precision_recall: tuple[Point, ...]


@dataclass(frozen=True)
class Judgement:
    """One version of every figure that rests on labels: each label for itself, or weighted. None cannot be said."""

    weighting: str
    abuse_share: Interval
    discrimination: Discrimination | None
    calibration: Calibration
    own: OwnThreshold
    table: tuple[Approval, ...]
    picture: tuple[Approval, ...]
    segments: tuple[Segmentation, ...]


@dataclass(frozen=True)
class Rate:
    """One figure in both versions, for the comparison of the two."""

    name: str
    kind: str
    unweighted: Interval
    weighted: Interval | None


@dataclass(frozen=True)
class Gain:
    """What a group of features gave to the splits of the trees."""

    group: str
    share: float
    features: int
    used: int
    strongest: tuple[str, ...]


@dataclass(frozen=True)
class Figures:
    """All figures. `main` is the version that the page shows: weighted where labels are selective."""

    subject: Subject
    settings: Settings
    population: Population
    summary: tuple[str, ...]
    warnings: tuple[str, ...]
    rates: tuple[Rate, ...]
    main: Judgement
    other: Judgement | None
    top: tuple[TopK, ...]
    weeks: tuple[Week, ...]
    gain: tuple[Gain, ...]
