"""What merchants promise, and how claims fit it: buyers know the windows and the proof asked for, and make mistakes.

Windows, proof and limits are those of the newest policy that ships (`risk/policy`), also for purchases before it held:
where a window changes there, buyers here follow.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from risk.policy.definition import Evidence, Policy, Window, load_policies
from risk.vocabulary import GUARANTEES, REASONS, REMEDIES, RETURN_METHODS
from training.simulate.columns import DAY, HOUR, NEVER, Array, Columns, lognormal, whole_seconds
from training.simulate.market import Market
from training.simulate.parameters import Parameters

COUNTS = {"photo": "photo_count", "video": "video_count", "certificate": "certificate_count",
          "parcel_scan": "scan_count", "chat": "chat_count"}  # fmt: skip
RETURN, FREIGHT, REFUND_ONLY = (REMEDIES.index(name) for name in ("return_and_refund", "freight", "refund_only"))
PICKUP, IN_STORE = (RETURN_METHODS.index(name) for name in ("door_pickup", "in_store"))
Kind = tuple[Array, Array]
"""Reason and category of each claim: where it stands in the terms."""
_OFFSET = 8 * HOUR  # the buyers' calendar


@cache
def code_lists() -> list[str]:
    """The text of every set of guarantees, at the position that has a bit for each."""
    sets = ([code for place, code in enumerate(GUARANTEES) if mask >> place & 1] for mask in range(1 << len(GUARANTEES)))
    return [" ".join(sorted(codes)) for codes in sets]


@dataclass(frozen=True)
class Promises:
    """Who promises what from when on, and which items carry it; columns in the order of `GUARANTEES`."""

    opted_at: Array
    carried: Array

    def sought(self, market: Market, codes: tuple[str, ...]) -> Array:
        """Items sold under one of these guarantees at some time."""
        places = [GUARANTEES.index(code) for code in codes]
        return (self.opted_at[market.item_merchant][:, places] < NEVER).any(axis=1)


def build_promises(rng: np.random.Generator, p: Parameters, market: Market, start: int, days: int) -> Promises:
    """Merchants opt in to what suits their goods; some do so only later."""
    services = [p.service[code] for code in GUARANTEES]
    suits = np.array([[name.startswith(service.categories) for service in services] for name in market.categories])
    of_item = suits[market.item_category]
    eligible = np.zeros((market.merchants, len(services)), dtype=bool)
    np.logical_or.at(eligible, market.item_merchant, of_item)
    rates = np.array([service.merchants for service in services])
    rates = rates * np.where(market.merchant_bad, p.cover.bad_opts_in, 1.0)[:, None]
    opted = eligible & (rng.random(eligible.shape) < rates)
    later = rng.random(eligible.shape) < p.cover.opts_in_later
    moment = whole_seconds(start + (rng.random(eligible.shape) * days * DAY).astype(np.int64))
    carried = of_item & (rng.random(of_item.shape) < np.array([service.items for service in services]))
    return Promises(np.where(opted, np.where(later, moment, 0), NEVER), carried)


def promised(rng: np.random.Generator, p: Parameters, promises: Promises, claims: Columns) -> Columns:
    """The promises at purchase as positions in `code_lists`; -1 where the caller does not say."""
    count = len(claims["merchant"])
    bits = 1 << np.arange(len(GUARANTEES))
    made = promises.opted_at[claims["merchant"]] <= claims["paid_at"][:, None]
    return {
        "merchant_promises": np.where(rng.random(count) < p.cover.merchant_unknown, -1, made @ bits),
        "item_promises": np.where(
            rng.random(count) < p.cover.item_unknown, -1, (made & promises.carried[claims["item"]]) @ bits
        ),
    }


@dataclass(frozen=True)
class Terms:
    """What the policy asks, a row a reason and a column a category.

    `hours` and `days` are the longest windows after sign-for (0: none), `asks` the column of the proof that the form asks
    for, `accepts` the columns of which one is enough, `keeps` the amount up to which goods are not sent back.
    """

    hours: Array
    days: Array
    asks: Array
    accepts: Array
    keeps: Array

    def end(self, kind: Kind, arrived_at: Array) -> Array:
        """The last moment of each claim's window; `NEVER` where there is none."""
        hours, days = self.hours[kind], self.days[kind]
        known = np.where(arrived_at < NEVER, arrived_at, 0)
        midnight = ((known + _OFFSET) // DAY + days + 1) * DAY - _OFFSET
        end = np.maximum(np.where(hours > 0, known + hours * HOUR, 0), np.where(days > 0, midnight, 0))
        return np.where((end > 0) & (arrived_at < NEVER), end, NEVER)


def terms_of(categories: tuple[str, ...], policy: Policy | None = None) -> Terms:
    """The terms of the newest policy."""
    policy = policy or load_policies().all[-1]
    shape = (len(REASONS), len(categories))
    hours, days, keeps = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    asks, accepts = np.full(shape, -1), np.zeros((*shape, len(COUNTS)), dtype=bool)
    for row, reason in enumerate(REASONS):
        for column, category in enumerate(categories):
            for promise in policy.promises.get(reason, ()):
                guarantee, place = promise.guarantee, (row, column)
                if not (guarantee.at_once and guarantee.pays_money and guarantee.reaches(reason, category)):
                    continue
                rules = [clause.rule for clause in promise.clauses if clause.about(category)]
                # The first window that speaks of the goods is the one that names them most exactly.
                window = next((rule for rule in rules if isinstance(rule, Window)), None)
                if window is not None and window.after == "delivered_at":
                    hours[place] = max(hours[place], window.hours or 0)
                    days[place] = max(days[place], window.days or 0)
                keeps[place] = max(keeps[place], guarantee.keeps_goods_up_to or 0)
                for rule in rules:
                    if isinstance(rule, Evidence):
                        kinds = list(COUNTS)
                        asks[place] = kinds.index("photo" if "photo" in rule.any else rule.any[0])
                        accepts[place][[kinds.index(kind) for kind in rule.any]] = True
    return Terms(hours, days, asks, accepts, keeps)


def mistaken(rng: np.random.Generator, p: Parameters, reason: Array) -> Array:
    """Reasons as they are given: some pick the wrong one of the list."""
    given = np.array([REASONS.index(p.cover.confusions.get(name, name)) for name in REASONS])
    return np.where(rng.random(len(reason)) < p.cover.wrong_reason, given[reason], reason)


def heeded(rng: np.random.Generator, p: Parameters, end: Array, noticed_at: Array, submitted_at: Array) -> Array:
    """When claims come, once buyers look at the window: most make it, some by a hair not."""
    count = len(end)
    heeds = (submitted_at > end) & (rng.random(count) < p.cover.heeds)
    open_for = np.where(end < NEVER, np.maximum(end - noticed_at, 0), 0)
    inside = noticed_at + ((1 - p.cover.last_part * rng.random(count)) * open_for).astype(np.int64)
    time = np.where(heeds & (open_for > HOUR), inside, submitted_at)
    slips = (end < NEVER) & (rng.random(count) < p.cover.late)
    over = (rng.exponential(p.cover.late_hours, count) * HOUR).astype(np.int64) + HOUR // 60
    return whole_seconds(np.where(slips, np.where(end < NEVER, end, 0) + over, time))


def suited(rng: np.random.Generator, p: Parameters, keeps: Array, claims: Columns, remedy: Array) -> Array:
    """Remedies once buyers look at what has to go back: dear goods do, cheap or fresh ones need not."""
    value = claims["unit_price"] * claims["quantity"]
    drawn = rng.random(len(remedy))
    remedy = np.where((remedy == REFUND_ONLY) & (keeps > 0) & (value > keeps) & (drawn < p.cover.sends_back), RETURN, remedy)
    return np.where((remedy == RETURN) & (keeps > 0) & (value <= keeps) & (drawn < p.cover.keeps), REFUND_ONLY, remedy)


def prove(rng: np.random.Generator, p: Parameters, terms: Terms, kind: Kind, answers: Array, claims: Columns) -> None:
    """The form asks for the proof that is missing; who answers hands it in, the others forget."""
    asks, accepts = terms.asks[kind], terms.accepts[kind]
    given = np.stack([claims[name] > 0 for name in COUNTS.values()], axis=1)
    missing = (asks >= 0) & ~(given & accepts).any(axis=1)
    added = missing & answers
    pieces = 1 + rng.poisson(p.cover.more_proof, len(asks))
    for column, name in enumerate(COUNTS.values()):
        rows = np.flatnonzero(added & (asks == column))
        claims[name][rows] = pieces[rows]


def sent_back(rng: np.random.Generator, p: Parameters, claims: Columns, lost: Array) -> Columns:
    """Returns that were on their way, or back, when the claim came, and parcels that were stopped or lost."""
    count, submitted = len(claims["reason"]), claims["submitted_at"]
    willing = np.array([numbers.returns for numbers in p.typology.values()] + [1.0])[claims["typology"]]
    chance = np.where(claims["remedy"] == FREIGHT, p.cover.freight_after, p.cover.on_its_way * willing)
    since = np.where(claims["arrived_at"] < submitted, submitted - claims["arrived_at"], 0)
    goes = np.isin(claims["remedy"], (RETURN, FREIGHT)) & (rng.random(count) < chance) & (since > 2 * HOUR)
    ago = np.minimum((rng.exponential(p.cover.handed_over_hours, count) * HOUR).astype(np.int64), since * 9 // 10)
    handed = whole_seconds(submitted - ago - 1)
    method = claims["return_method"]
    travel = (lognormal(rng, p.parcel.transit_hours, p.parcel.transit_spread, count) * HOUR).astype(np.int64)
    back = np.where(method == IN_STORE, handed, whole_seconds(handed + travel))
    shipped_at, arrived_at = claims["shipped_at"], claims["arrived_at"]
    found_lost = shipped_at.astype(float) + lognormal(rng, p.cover.loss_days, 0.4, count) * DAY
    recorded = lost & (rng.random(count) < p.cover.loss_recorded)
    on_the_way = (shipped_at < submitted) & (arrived_at > submitted) & (arrived_at < NEVER)
    stopped = on_the_way & (rng.random(count) < p.cover.intercepted)
    under_way = np.where(on_the_way, submitted - np.where(on_the_way, shipped_at, 0), 0)
    moments = {
        "return_shipped_at": np.where(goes & ~np.isin(method, (PICKUP, IN_STORE)), handed, NEVER),
        "return_picked_up_at": np.where(goes & (method == PICKUP), handed, NEVER),
        "return_received_at": np.where(goes, back, NEVER),
        "lost_at": np.where(recorded, np.where(recorded, found_lost, 0).astype(np.int64), NEVER),
        "intercepted_at": np.where(stopped, submitted - (rng.random(count) * under_way / 2).astype(np.int64), NEVER),
    }
    return {name: whole_seconds(np.where(moment < submitted, moment, NEVER)) for name, moment in moments.items()}
