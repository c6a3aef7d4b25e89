"""Claims as a service receives them: what was asked, when, with which evidence, and what was known by then."""

import numpy as np

from risk.vocabulary import REASONS, REMEDIES, RETURN_METHODS
from training.simulate.abuse import abusive_claims
from training.simulate.columns import DAY, HOUR, NEVER, Array, Columns, choose, lognormal, stack, take, whole_seconds
from training.simulate.lookalikes import CODE, honest_claims
from training.simulate.orders import LOST, NOT_HANDED_OVER, World, time_of_day
from training.simulate.promises import heeded, mistaken, promised, prove, sent_back, suited
from training.simulate.schema import Habits, Signal
from training.simulate.texts import VARIANTS
from training.simulate.typologies import YES_NO, show_tells

TIERS = np.array([0.1, 0.3, 0.5, 0.7, 1.0])  # steps in which spoiled fresh goods are refunded


def claims_of(rng: np.random.Generator, world: World, orders: Columns) -> Columns:
    """All claims that the orders of one week will ever draw, honest and abusive, at most one an order."""
    abusive = abusive_claims(rng, world, orders)
    rest = np.setdiff1d(np.arange(len(orders["buyer"])), abusive["row"], assume_unique=True)
    claims = stack([honest_claims(rng, world, take(orders, rest)), abusive])
    count, terms = len(claims["reason"]), world.terms
    claims["reason"] = mistaken(rng, world.p, claims["reason"])
    kind = claims["reason"], world.market.item_category[claims["item"]]
    claims["remedy"] = suited(rng, world.p, terms.keeps[kind], claims, _remedies(rng, world, claims))
    end = terms.end(kind, claims["arrived_at"])
    claims["submitted_at"] = heeded(rng, world.p, end, claims["noticed_at"], _submissions(rng, world, claims))
    claims |= promised(rng, world.p, world.promises, claims)
    claims |= _evidence(rng, world, claims)
    answers = rng.random(count) < world.p.cover.reminded
    prove(rng, world.p, terms, kind, answers, claims)
    claims |= _money(rng, world, claims)
    claims |= _things(rng, world, claims)
    claims |= _signals(rng, world, claims)
    script = world.buyers["script"][claims["buyer"]]
    claims["script"] = np.where(script < 0, claims["buyer"] * 7919, script) % VARIANTS
    variant = (VARIANTS * rng.random(count) ** 1.6).astype(np.int64)
    claims["variant"] = np.where(rng.random(count) < world.p.asked.no_text, -1, variant)
    show_tells(rng, world.p, claims)
    prove(rng, world.p, terms, kind, answers, claims)
    claims |= sent_back(rng, world.p, claims, claims["fate"] == LOST)
    return _as_known(claims)


def _habit(world: World, claims: Columns, field: str) -> Array:
    """A number of the reason's habits, one a claim."""
    habits: list[Habits] = [world.p.habits[reason] for reason in REASONS]
    return np.array([getattr(habit, field) for habit in habits])[claims["reason"]]


def _remedies(rng: np.random.Generator, world: World, claims: Columns) -> Array:
    remedy = np.zeros(len(claims["reason"]), dtype=np.int64)
    for number, reason in enumerate(REASONS):
        rows = np.flatnonzero(claims["reason"] == number)
        wanted = world.p.habits[reason].remedies
        codes = np.array([REMEDIES.index(name) for name in wanted])
        remedy[rows] = codes[choose(rng, list(wanted.values()), len(rows))]
    # Some abusive claims ask what suits the typology, the others what anybody would ask.
    refund_only = np.array([numbers.refund_only for numbers in world.p.typology.values()] + [0.0])[claims["typology"]]
    suits = rng.random(len(remedy)) < world.p.abuse.suits
    bent = (claims["typology"] >= 0) & suits & (claims["reason"] != CODE["return_freight"])
    asked = np.where(rng.random(len(remedy)) < refund_only, 0, 1)
    never_back = np.isin(claims["reason"], (CODE["not_received"], CODE["missing_item"], CODE["spoiled"]))
    return np.where(bent, np.where(never_back, 0, asked), remedy)


def _submissions(rng: np.random.Generator, world: World, claims: Columns) -> Array:
    """Some time after the matter was noticed, at an hour when people write."""
    count = len(claims["reason"])
    hurry = np.array([numbers.hurry for numbers in world.p.typology.values()] + [1.0])[claims["typology"]]
    delay = lognormal(rng, _habit(world, claims, "delay_days") * hurry, _habit(world, claims, "spread"), count)
    raw = claims["noticed_at"] + (np.minimum(delay, world.p.asked.longest_days) * DAY).astype(np.int64)
    same_day = raw // DAY * DAY + time_of_day(rng, world.p, count)
    earliest = claims["noticed_at"] + HOUR // 2
    time = np.where(same_day > earliest, same_day, np.maximum(raw, earliest))
    # Claimed before the parcel was sent or came: squeezed into the time that was left.
    left = claims["before"] - claims["noticed_at"]
    squeezed = claims["noticed_at"] + (rng.random(count) * np.maximum(left, 0) * 0.98).astype(np.int64)
    return whole_seconds(np.where(time >= claims["before"], squeezed, time))


def _evidence(rng: np.random.Generator, world: World, claims: Columns) -> Columns:
    asked, count = world.p.asked, len(claims["reason"])
    effort = rng.gamma(2.0, 0.5, count)

    def pieces(field: str) -> Array:
        return rng.poisson(_habit(world, claims, field) * effort)

    has_goods = ~np.isin(claims["reason"], (CODE["not_received"], CODE["not_shipped"]))
    goes_back = np.isin(claims["remedy"], (REMEDIES.index("return_and_refund"), REMEDIES.index("freight")))
    opened = (rng.random(count) < asked.opened) & has_goods & (claims["reason"] != CODE["return_freight"])
    methods = choose(rng, [asked.return_methods[name] for name in RETURN_METHODS], count)
    return {
        "photo_count": np.minimum(pieces("photos"), 9),
        "video_count": np.minimum(pieces("videos"), 3),
        "certificate_count": np.minimum(pieces("certificates"), 2),
        "scan_count": np.minimum(pieces("scans"), 4),
        "chat_count": np.minimum(pieces("chats"), 8),
        "opened": np.where(rng.random(count) < asked.opened_unknown, -1, opened),
        "no_return_confirmed": np.where(
            rng.random(count) < asked.confirmed_unknown, -1, rng.random(count) < asked.confirmed
        ),
        "return_method": np.where(
            goes_back & (rng.random(count) >= asked.return_method_unknown), methods, -1
        ),
    }  # fmt: skip


def _money(rng: np.random.Generator, world: World, claims: Columns) -> Columns:
    """The amount asked: never more than what is left of the order."""
    p, count = world.p, len(claims["reason"])
    paid = claims["paid_amount"]
    earlier = rng.random(count) < p.cause.earlier_refund
    refunded = np.where(earlier, (paid * (0.05 + 0.25 * rng.random(count))).astype(np.int64), 0)
    whole = np.isin(claims["reason"], (CODE["not_received"], CODE["not_shipped"]))
    item = claims["unit_price"] * claims["quantity"]
    amount = np.where(whole, paid, item)
    partial = ~whole & (rng.random(count) < p.cause.partial)
    amount = np.where(partial, (amount * (0.2 + 0.7 * rng.random(count))).astype(np.int64), amount)
    fresh = np.array([kind.fresh for kind in p.category.values()])[world.market.item_category[claims["item"]]]
    by_share = fresh & np.isin(claims["reason"], (CODE["spoiled"], CODE["damaged"], CODE["missing_item"]))
    more = np.where(claims["typology"] >= 0, p.asked.affected_abuse, p.asked.affected)
    affected = np.round(rng.beta(1.3, more, count), 2)
    capped = TIERS[np.minimum(np.searchsorted(TIERS, affected - 1e-9), 4)]
    # What is short is paid by its share, what is spoiled by steps.
    short = (claims["reason"] == CODE["missing_item"]) & (rng.random(count) >= p.cover.asks_whole)
    amount = np.where(by_share, (item * np.where(short, affected, capped)).astype(np.int64), amount)
    told = by_share & (rng.random(count) >= p.cover.share_unknown)
    freight = int(p.cause.least_freight) + 100 * rng.integers(0, int(p.cause.freight_steps) + 1, count)
    amount = np.where(claims["reason"] == CODE["return_freight"], freight, amount)
    return {
        "amount": np.maximum(1, np.minimum(amount, paid - refunded)),
        "refunded_amount": refunded,
        "affected_share": np.where(told, affected, np.nan),
    }


def _things(rng: np.random.Generator, world: World, claims: Columns) -> Columns:
    """Device and account as the service sees them; some callers leave a thing out."""
    asked, count, buyer = world.p.asked, len(claims["reason"]), claims["buyer"]
    device = world.buyers["device"][buyer]
    other = rng.random(count) < world.p.people.second_device
    device = np.where(other, (1 << 40) + buyer, device)
    guest = world.buyers["guest"][buyer]
    return {
        "device": np.where(rng.random(count) < asked.no_device, -1, device),
        "address": np.where(rng.random(count) < asked.no_address, -1, claims["address"]),
        "payment": np.where(rng.random(count) < asked.no_payment, -1, claims["payment"]),
        "registered_at": np.where(guest, NEVER, whole_seconds(world.buyers["registered_at"][buyer])),
        "verified": world.buyers["verified"][buyer] & ~guest,
        "guest": guest,
    }


def _signals(rng: np.random.Generator, world: World, claims: Columns) -> Columns:
    """The caller's own signals as they are for anybody; null where they do not apply or were not measured."""
    has_photo, has_text = claims["photo_count"] > 0, np.ones(len(claims["reason"]), dtype=bool)
    returned = claims["remedy"] == REMEDIES.index("return_and_refund")
    arrived = claims["delivered_at"] < claims["submitted_at"]
    applies = {
        "x_return_weight_gap": returned,
        "x_image_seen_before": has_photo,
        "x_evidence_edited": has_photo,
        "x_delivery_distance_km": arrived & ~returned,
        "x_wording_seen_before": has_text,
        "x_return_route_match": returned,
        "x_goods_worn": returned & (claims["opened"] == 1),
    }
    signals = {name: _signal(rng, name, world.p.signal[name], rows) for name, rows in applies.items()}
    lost = claims["fate"] == NOT_HANDED_OVER
    farther = np.where(lost, world.p.asked.not_handed_over_distance, 1.0)
    signals["x_delivery_distance_km"] = np.round(signals["x_delivery_distance_km"] * farther, 3)
    return signals


def _signal(rng: np.random.Generator, name: str, signal: Signal, applies: Array) -> Array:
    count = len(applies)
    if name in YES_NO:
        values = (rng.random(count) < signal.honest).astype(float)
    else:
        values = np.round(rng.gamma(2.0, signal.honest / 2.0, count), 3)
    return np.where(applies & (rng.random(count) < signal.measured), values, np.nan)


def _as_known(claims: Columns) -> Columns:
    """Cut each row back to what was known when it was submitted."""
    for name in ("shipped_at", "delivered_at"):
        claims[name] = np.where(claims[name] < claims["submitted_at"], claims[name], NEVER)
    claims["has_tracking"] = claims["shipped_at"] < NEVER
    return claims
