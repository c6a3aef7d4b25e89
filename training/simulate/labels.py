"""What becomes known of claims: late, for a share only, sometimes wrongly, sometimes turned again.

And the earlier champion, whose approvals hide labels: it sees nothing but what earlier claims and this one showed.
"""

import numpy as np

from risk.vocabulary import LABELS, REMEDIES
from training.simulate.columns import DAY, NEVER, SECOND, Array, Columns, lognormal, stack, take, whole_seconds
from training.simulate.lookalikes import CODE
from training.simulate.parameters import Parameters
from training.simulate.typologies import CHARGEBACK

THINGS = ("buyer", "device", "payment")  # what the champion remembers
SOURCES = ("review", "return_inspection", "carrier_trace", "chargeback", "audit", "appeal")
ABUSE, LEGITIMATE, UNDECIDED = (LABELS.index(label) for label in ("abuse", "legitimate", "undecided"))


class Champion:
    """Scores by what earlier claims and labels showed of a buyer and the buyer's things; batches in order of time."""

    def __init__(self, p: Parameters, things: dict[str, int]) -> None:
        """`things` gives, for buyer, device and payment, how many there are."""
        self._p = p
        self._claims = {thing: np.zeros(count, dtype=np.int64) for thing, count in things.items()}
        self._confirmed = {thing: np.zeros(count, dtype=np.int64) for thing, count in things.items()}

    def decide(self, rng: np.random.Generator, claims: Columns) -> Columns:
        """`champion_score` and `approved`, a row a claim."""
        score = self._score(claims) + self._p.champion.noise * rng.standard_normal(len(claims["number"]))
        rank = np.argsort(np.argsort(score, kind="stable"), kind="stable") / max(1, len(score))
        self._count(self._claims, claims)
        return {
            "champion_score": np.round(1 / (1 + np.exp(4.0 - score)), 6),
            "approved": rank < self._p.champion.approve,
        }

    def learn(self, labels: Columns) -> None:
        """Remember confirmed abuse, once it is known."""
        self._count(self._confirmed, take(labels, np.flatnonzero(labels["label"] == ABUSE)))

    def _score(self, claims: Columns) -> Array:
        weights = self._p.champion.weights
        by_buyer, by_device = self._seen(self._claims, claims, "buyer"), self._seen(self._claims, claims, "device")
        confirmed = np.maximum.reduce([self._seen(self._confirmed, claims, thing) for thing in self._confirmed])
        new = claims["submitted_at"] - claims["registered_at"] < 60 * DAY
        score: Array = (
            weights["confirmed"] * np.log1p(confirmed)
            + weights["buyer_claims"] * np.log1p(by_buyer)
            + weights["device_others"] * np.log1p(np.maximum(0, by_device - by_buyer))
            + weights["new_account"] * new
            + weights["amount"] * np.log(claims["amount"] / 10_000 + 0.01)
            + weights["photos"] * (claims["photo_count"] > 0)
        )
        for reason in ("not_received", "damaged", "no_reason"):
            score = score + weights[reason] * (claims["reason"] == CODE[reason])
        return score

    @staticmethod
    def _seen(counts: dict[str, Array], claims: Columns, thing: str) -> Array:
        number, known = claims[thing], counts[thing]
        there = (number >= 0) & (number < len(known))
        return np.where(there, known[np.where(there, number, 0)], 0)

    @staticmethod
    def _count(counts: dict[str, Array], rows: Columns) -> None:
        for thing, known in counts.items():
            number = rows[thing]
            np.add.at(known, number[(number >= 0) & (number < len(known))], 1)


def all_reviewed(count: int) -> Columns:
    """Without a champion every claim goes to a person, and nothing is hidden."""
    return {"champion_score": np.full(count, np.nan), "approved": np.zeros(count, dtype=bool)}


def audit_draws(rng: np.random.Generator, p: Parameters, claims: Columns) -> Columns:
    """`audit_probability` and `audited`, a row a claim, whatever was decided: in proportion to the amount.

    The probability of the largest amount under a cap is the rate; what is above the last cap is never drawn.
    """
    caps = np.array([*p.label.audit_caps, np.inf])
    amount = claims["amount"]
    probability = p.label.audit_rate * amount / caps[np.searchsorted(caps, amount)]
    return {"audit_probability": probability, "audited": rng.random(len(amount)) < probability}


def labels_of(rng: np.random.Generator, p: Parameters, claims: Columns) -> Columns:
    """Rows `number`, `known_at`, `label`, `source`, `audit_probability`; a second row where a label is turned."""
    source = _sources(rng, p, claims)
    rows = np.flatnonzero(source >= 0)
    source, count = source[rows], len(rows)
    abuse = claims["typology"][rows] >= 0
    audited = source == SOURCES.index("audit")
    careful = np.where(audited, 0.5, 1.0)
    missed = abuse & (rng.random(count) < p.label.abuse_missed * careful)
    missed &= source != SOURCES.index("chargeback")
    blamed = ~abuse & (rng.random(count) < p.label.honest_blamed * careful)
    label = np.where(abuse ^ missed ^ blamed, ABUSE, LEGITIMATE)
    label[rng.random(count) < np.where(audited, p.label.audit_undecided, p.label.undecided)] = UNDECIDED
    medians = np.array([p.label.delay_days.get(name, 1.0) for name in SOURCES])
    # An audit has a due date; nothing else has one.
    spread = np.where(audited, p.label.audit_spread, p.label.delay_spread)
    known_at = claims["submitted_at"][rows] + _days(lognormal(rng, medians[source], spread, count))
    first = {
        "number": claims["number"][rows],
        "known_at": whole_seconds(known_at),
        "label": label,
        "source": source,
        "audit_probability": np.where(audited, claims["audit_probability"][rows], np.nan),
        **{thing: claims[thing][rows] for thing in THINGS},
    }
    return stack([first, _turned(rng, p, first, abuse)])


def _sources(rng: np.random.Generator, p: Parameters, claims: Columns) -> Array:
    """Who comes to know; -1 where nobody does. The first that applies wins."""
    count = len(claims["number"])
    returned = claims["remedy"] == REMEDIES.index("return_and_refund")
    not_there = np.isin(claims["reason"], (CODE["not_received"], CODE["not_shipped"]))
    applies = {
        "audit": claims["audited"],
        "chargeback": (claims["typology"] == CHARGEBACK) & (rng.random(count) < p.label.charged_back),
        "return_inspection": returned & (rng.random(count) < p.label.return_inspection),
        "carrier_trace": not_there & (rng.random(count) < p.label.carrier_trace),
        "review": rng.random(count) < p.label.review,
    }
    source = np.full(count, -1)
    for name in reversed(applies):
        source[applies[name]] = SOURCES.index(name)
    hidden = claims["approved"] & ~claims["audited"]
    return np.where(hidden, -1, source)


def _turned(rng: np.random.Generator, p: Parameters, first: Columns, abuse: Array) -> Columns:
    """Wrong blame turned by an appeal; abuse first missed and found out at a second look."""
    drawn = rng.random(len(abuse))
    cleared = ~abuse & (first["label"] == ABUSE) & (drawn < p.label.reversal)
    found = abuse & (first["label"] == LEGITIMATE) & (drawn < p.label.second_look)
    rows = np.flatnonzero(cleared | found)
    later = lognormal(rng, p.label.reversal_days, p.label.delay_spread, len(rows))
    return {
        "number": first["number"][rows],
        "known_at": whole_seconds(first["known_at"][rows] + _days(later)),
        "label": np.where(cleared[rows], LEGITIMATE, ABUSE),
        "source": np.where(cleared[rows], SOURCES.index("appeal"), SOURCES.index("review")),
        "audit_probability": np.full(len(rows), np.nan),
        **{thing: first[thing][rows] for thing in THINGS},
    }


def _days(days: Array) -> Array:
    """At least a minute, so that a label never comes with its claim."""
    return np.maximum((days * DAY).astype(np.int64), 60 * SECOND)


def known_by(labels: Columns, end: int) -> Columns:
    """Labels known before `end`."""
    keep = (labels["known_at"] < end) & (labels["known_at"] != NEVER)
    return {name: values[keep] for name, values in labels.items()}
