"""Claim by claim in order of time: what would have been decided, and when a person would have looked."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from risk.order import UNKNOWN, OrderAccount
from risk.promise.appetite import Appetite, Segment
from risk.promise.certificate import Certificate, standing
from risk.promise.quota import KINDS
from training.backtest.quotas import Book, Claims, Ledger, settles_at
from training.backtest.reviewers import HOUR, backlog, serve
from training.backtest.stretch import DAY, Judged, Stretch
from training.metrics import Flags, Floats, Integers

GATES = ("facts", "order", "order_amount", "cover", "remedy", "cover_amount", "express", "segment", "certificate", "score")
"""What sends a claim to a person, in the order in which it is looked at; quotas come after."""
REASONS = ("approved", *GATES, *(f"quota_{kind}" for kind in KINDS), "history")
"""What became of a claim: its place here is its number in `Replay.reason`."""
_NUMBER = {name: place for place, name in enumerate(REASONS)}
_SCORE = _NUMBER["score"]


@dataclass(frozen=True)
class Rules:
    """What decides: a score and its threshold for each claim, under policies and an appetite. Shape (claims,) each.

    `threshold` is NaN where nothing may be approved on a score, for the reason that `unscored` numbers.
    """

    score: Floats
    threshold: Floats
    unscored: Integers
    segment: Integers
    """Place in the appetite's segments, -1 for none."""
    judged: Judged
    appetite: Appetite
    largest: Floats

    def with_threshold(self, threshold: float) -> "Rules":
        """The same with one threshold for all segments."""
        fits = self.segment >= 0
        return replace(self, threshold=np.where(fits, threshold, np.nan), unscored=np.where(fits, 0, _NUMBER["segment"]))


def rules_of(
    stretch: Stretch, judged: Judged, score: Floats, appetite: Appetite, certificate: Certificate | None, plain: float | None
) -> Rules:
    """The thresholds that a certificate gives each claim at its moment, or `plain` for all segments."""
    segment = _segments(stretch, judged, appetite)
    threshold = np.full(len(stretch), np.nan)
    as_of = np.array(stretch.facts["as_of"], dtype=np.int64)
    lapsed = np.zeros(len(stretch), dtype=bool) if certificate is None else as_of > certificate.valid_until
    for place, part in enumerate(appetite.segment):
        for late in (False, True):
            chosen = (segment == place) & (lapsed == late)
            if chosen.any():
                moment = int(as_of[chosen].max())
                found = plain if plain is not None else standing(certificate, part, appetite, moment).threshold
                threshold[chosen] = np.nan if found is None else found
    return Rules(
        score=score,
        threshold=threshold,
        unscored=np.where(segment < 0, _NUMBER["segment"], np.where(np.isnan(threshold), _NUMBER["certificate"], 0)),
        segment=segment,
        judged=judged,
        appetite=appetite,
        largest=np.array([appetite.largest_in(currency) for currency in stretch.facts["currency"]], dtype=np.float64),
    )


def tolerated(rules: Rules, amount: Floats, approved: Flags) -> float:
    """What the appetite tolerates of the money of `approved` claims (shape (claims,)): each segment's alpha by its money."""
    appetite = rules.appetite
    alphas = np.array([*map(appetite.alpha_of, appetite.segment), appetite.promise.alpha])
    # The last one, place -1, is for claims of no segment.
    found = alphas[rules.segment[approved]]
    if not amount[approved].any() or (found == found[0]).all():
        return float(found[0]) if len(found) else appetite.promise.alpha
    return float(np.average(found, weights=amount[approved]))


def _segments(stretch: Stretch, judged: Judged, appetite: Appetite) -> Integers:
    names = ("currency", "amount", "category", "submitted_at", "registered_at")
    places = {segment.name: place for place, segment in enumerate(appetite.segment)}
    found = []
    for values, guarantee in zip(zip(*(stretch.facts[name] for name in names), strict=True), judged.best, strict=True):
        segment: Segment | None = appetite.segment_of(dict(zip(names, values, strict=True)), guarantee)
        found.append(-1 if segment is None else places[segment.name])
    return np.array(found, dtype=np.int64)


def before_score(stretch: Stretch, rules: Rules) -> Integers:
    """The number of the first gate before the score's that a claim fails of whose order nothing else is known; 0 for none."""
    judged, amount = rules.judged, stretch.amount
    no_order = np.isnan(judged.left)
    left = np.maximum(judged.left, 0.0)
    fails = {
        "facts": ~judged.consistent,
        "order_amount": (~no_order & (amount > judged.left)) | (amount > rules.largest),
        "cover": judged.best == None,  # noqa: E711 - by element
        "remedy": ~judged.remedy_fits,
        "cover_amount": amount > np.where(no_order, judged.supported, np.clip(judged.supported, 0.0, left)),
        "express": ~judged.at_once,
    }
    return np.select(list(fails.values()), [_NUMBER[name] for name in fails], 0)


@dataclass(frozen=True)
class Replay:
    """What became of the claims, shape (claims,) each; moments in microseconds.

    `finished` is when a person had decided a review, the moment of the claim where it was approved at once.
    """

    stretch: Stretch
    appetite: Appetite
    reason: Integers
    """Places in `REASONS`."""
    audited: Flags
    finished: Integers
    audits_finished: Integers
    """Of the audited, in order of time."""

    @cached_property
    def approved(self) -> Flags:
        """Approved at once."""
        return self.reason == 0

    @cached_property
    def waiting(self) -> Floats:
        """Days until the claim was decided."""
        return (self.finished - self.stretch.when) / DAY

    @cached_property
    def arrivals(self) -> Integers:
        """Moments at which cases reach the reviewers."""
        return np.sort(np.concatenate([self.stretch.when[~self.approved], self.stretch.when[self.audited]]))

    @cached_property
    def done(self) -> Integers:
        """Moments at which cases are finished."""
        return np.sort(np.concatenate([self.finished[~self.approved], self.audits_finished]))

    def by_hour(self, start: int, end: int) -> Integers:
        """Cases that reach the reviewers in each hour of [start, end)."""
        hours = max(1, -(-(end - start) // HOUR))
        return np.bincount(np.clip((self.arrivals - start) // HOUR, 0, hours - 1), minlength=hours)

    def waiting_cases(self, moments: Integers) -> Integers:
        """How many cases wait at each moment."""
        return backlog(self.arrivals, self.done, moments)

    @cached_property
    def outstanding(self) -> tuple[float, int]:
        """The most money that was out and not settled at a moment (minor units), and that moment."""
        settle = round(self.appetite.quota.settle_days * DAY)
        places = np.flatnonzero(self.approved)
        if not len(places):
            return 0.0, int(self.stretch.when[0])
        back = self.stretch.facts["return_received_at"]
        at, amount = self.stretch.when[places], self.stretch.amount[places]
        over = np.array([settles_at(moment, back[place], settle) for moment, place in zip(at.tolist(), places, strict=True)])
        moments = np.concatenate([at, over])
        order = np.argsort(moments, kind="stable")
        running = np.cumsum(np.concatenate([amount, -amount])[order])
        top = int(np.argmax(running))
        return float(running[top]), int(moments[order][top])


@dataclass(frozen=True)
class Prepared:
    """What several replays of one stretch share that differ by their thresholds alone; without a ledger nothing is full."""

    gate: Integers
    """What `before_score` gave."""
    ledger: Ledger | None


def prepare(stretch: Stretch, rules: Rules, *, quotas: bool = True) -> Prepared:
    """What does not depend on scores; `quotas` off leaves room for everything."""
    ledger = Ledger(_with_guarantees(stretch.quota, rules), rules.appetite) if quotas else None
    return Prepared(before_score(stretch, rules), ledger)


def replay(stretch: Stretch, rules: Rules, prepared: Prepared) -> Replay:
    """Decide every claim, then let the reviewers work."""
    gate = prepared.gate
    with np.errstate(invalid="ignore"):
        above = ~(rules.score <= rules.threshold)
    last = np.where(rules.unscored > 0, rules.unscored, np.where(above, _SCORE, 0))
    reason = np.where(gate > 0, gate, last)
    _decide(stretch, rules, reason, last, prepared.ledger)
    approved = reason == 0
    return reviewed(stretch, rules.appetite, reason, approved & (stretch.draw < audit_chances(stretch, rules)))


def _decide(stretch: Stretch, rules: Rules, reason: Integers, last: Integers, ledger: Ledger | None) -> None:
    """Replace reasons by what quotas and earlier claims on the same order say, in order of time."""
    repeated = stretch.repeated
    asked = np.flatnonzero(reason == 0)
    places = np.union1d(asked, np.array(sorted(repeated), dtype=np.int64)) if repeated else asked
    book = None if ledger is None else Book(ledger)
    orders: dict[str, OrderAccount] = {}
    for place in places.tolist():
        facts = repeated.get(place)
        number = int(reason[place])
        if facts is not None:
            account = orders.get(facts["order_id"], UNKNOWN)
            number = _of_known_order(place, facts, account, rules, int(last[place]))
        if number == 0 and book is not None:
            full = book.full(place)
            if full is None:
                book.approve(place)
            else:
                number = _NUMBER[f"quota_{full}"]
        if facts is not None:
            items = [facts["item_id"]] if facts["item_id"] is not None else []
            orders[facts["order_id"]] = account.after(facts, items, approved=number == 0)
        reason[place] = number


def _of_known_order(place: int, facts: dict[str, object], account: OrderAccount, rules: Rules, last: int) -> int:
    """The number of the first gate that a claim fails on whose order there were claims before; 0 for none."""
    judged, amount = rules.judged, facts["amount"]
    assert isinstance(amount, int)
    no_order = bool(np.isnan(judged.left[place]))
    left = account.left(facts)
    approved = 0 if no_order else account.approved
    items = [facts["item_id"]] if facts["item_id"] is not None else []
    supported = judged.supported[place] if no_order else min(judged.supported[place] - account.asked(items), left)
    fails = {
        "facts": not judged.consistent[place],
        "order": bool(account.differing(facts)),
        "order_amount": (not no_order and amount > left) or amount + approved > rules.largest[place],
        "cover": judged.best[place] is None,
        "remedy": not judged.remedy_fits[place],
        "cover_amount": amount > max(0, supported),
        "express": not judged.at_once[place],
    }
    return next((_NUMBER[name] for name, failed in fails.items() if failed), last)


def _with_guarantees(claims: Claims, rules: Rules) -> Claims:
    """Quotas of guarantees need to know which one pays."""
    numbers, _names = pd.factorize(rules.judged.best)
    currencies, words = pd.factorize(np.array([word or "" for word in claims.currency], dtype=object))
    keys = np.where(numbers < 0, -1, numbers * max(1, len(words)) + currencies).tolist()
    return replace(claims, keys={**claims.keys, "guarantee": keys})


def audit_chances(stretch: Stretch, rules: Rules) -> Floats:
    """With which chance each claim is drawn for an audit; the same as `Appetite.audit_probability` says."""
    chances = np.zeros(len(stretch))
    currency = np.array(stretch.facts["currency"], dtype=object)
    for place, segment in enumerate(rules.appetite.segment):
        for word in {*currency[rules.segment == place]}:
            chosen = (rules.segment == place) & (currency == word)
            largest = segment.largest_in(word)
            assert largest is not None
            audit = rules.appetite.audit
            chances[chosen] = np.minimum(1.0, np.maximum(audit.at_least, audit.rate * stretch.amount[chosen] / largest))
    return chances


def reviewed(stretch: Stretch, appetite: Appetite, reason: Integers, audited: Flags) -> Replay:
    """The same with the reviewers' work: everything that is not approved, and the audits."""
    waits, apart = reason != 0, max(1, round(HOUR / appetite.review.capacity_per_hour))
    takes = round(appetite.cost.minutes_a_review * HOUR / 60)
    served = serve(stretch.when[waits].tolist(), stretch.when[audited].tolist(), apart=apart, takes=takes)
    finished = stretch.when.copy()
    finished[waits] = served.reviews
    return Replay(stretch, appetite, reason, audited, finished, served.audits)


def as_decided(stretch: Stretch, appetite: Appetite) -> Replay:
    """What the history's own decisions come to, with the reviewers of an appetite."""
    assert stretch.decided is not None
    assert stretch.audited is not None
    reason = np.where(stretch.decided, 0, _NUMBER["history"])
    return reviewed(stretch, appetite, reason, stretch.decided & stretch.audited)
