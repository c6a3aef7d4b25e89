"""Honest claims, which follow from what happened to the parcel, and the look-alikes of abuse among them.

A look-alike is not drawn: bad batches, careless carriers and the others stand in the world and make more honest claims.
Here it is only said, for the oracle, which of them a claim came from.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from risk.vocabulary import REASONS
from training.simulate.columns import DAY, HOUR, NEVER, Array, Columns, take
from training.simulate.orders import DAMAGED, LOST, NOT_HANDED_OVER, NOT_SHIPPED, World, one_of
from training.simulate.parameters import Parameters
from training.simulate.people import HONEST_SEGMENTS

CODE = {reason: number for number, reason in enumerate(REASONS)}


@dataclass(frozen=True)
class LookAlike:
    """An honest claim that resembles abuse, and how the world knows it."""

    name: str
    resembles: str
    applies: Callable[[World, Columns], Array]


def _reason_in(claims: Columns, *reasons: str) -> Array:
    return np.isin(claims["reason"], [CODE[reason] for reason in reasons])


def bad_batch(world: World, claims: Columns) -> Array:
    bad = world.market.in_bad_batch(claims["item"], claims["paid_at"])
    return bad & _reason_in(claims, "spoiled", "quality", "allergy")


def careless_carrier(world: World, claims: Columns) -> Array:
    return claims["careless"] & _reason_in(claims, "not_received", "damaged")


def bad_merchant(world: World, claims: Columns) -> Array:
    bad = world.market.merchant_bad[claims["merchant"]]
    return bad & _reason_in(claims, "quality", "wrong_item", "missing_item", "not_shipped", "counterfeit")


def bad_creator(world: World, claims: Columns) -> Array:
    creator = claims["creator"]
    return (creator >= 0) & world.market.creator_bad[creator] & _reason_in(claims, "not_as_described")


def heavy_returner(world: World, claims: Columns) -> Array:
    heavy = world.buyers["segment"][claims["buyer"]] == HONEST_SEGMENTS.index("returner")
    return heavy & _reason_in(claims, "no_reason")


def new_buyer(world: World, claims: Columns) -> Array:
    return claims["paid_at"] - world.buyers["registered_at"][claims["buyer"]] < 30 * DAY


LOOK_ALIKES: tuple[LookAlike, ...] = (
    LookAlike("bad_batch", "many claims of spoilage or defects on one item in two weeks", bad_batch),
    LookAlike("careless_carrier", "many claims of parcels not received in one region", careless_carrier),
    LookAlike("bad_merchant", "many claims against one merchant by buyers unknown to each other", bad_merchant),
    LookAlike("bad_creator", "many claims of goods not as shown after one host's sales", bad_creator),
    LookAlike("heavy_returner", "one buyer, many returns, nearly all clothes, all sent back", heavy_returner),
    LookAlike("new_buyer", "no history, a young account, a first claim", new_buyer),
)
ORDINARY = len(LOOK_ALIKES)


def honest_claims(rng: np.random.Generator, world: World, orders: Columns) -> Columns:
    """The orders that draw an honest claim, with `reason` and the time from which the buyer may notice."""
    chances = _chances(world, orders)
    drawn = one_of(rng, chances)
    rows = np.flatnonzero(drawn)
    claims = take(orders, rows)
    claims["reason"] = np.array(_COLUMN_REASON)[drawn[rows] - 1]
    claims["noticed_at"], claims["before"] = _noticed(rng, world.p, claims)
    claims["typology"] = np.full(len(rows), -1)
    claims["story"] = story_of(world, claims)
    return claims


def story_of(world: World, claims: Columns) -> Array:
    """Number of the first look-alike that applies, `ORDINARY` where none does."""
    story = np.full(len(claims["reason"]), ORDINARY)
    for number in reversed(range(len(LOOK_ALIKES))):
        story[LOOK_ALIKES[number].applies(world, claims)] = number
    return story


# One chance a column; two columns may lead to the same reason.
_COLUMN_REASON = [
    CODE[reason]
    for reason in (
        "not_shipped", "not_shipped", "not_received", "not_received", "not_received", "damaged", "spoiled", "allergy",
        "quality", "counterfeit", "wrong_item", "missing_item", "not_as_described", "no_reason", "return_freight",
    )
]  # fmt: skip


def _chances(world: World, orders: Columns) -> Array:
    """Chance of each cause of an honest claim, a row an order."""
    p, market, cause = world.p, world.market, world.p.cause
    category = market.item_category[orders["item"]]
    kinds = list(p.category.values())
    fresh = np.array([kind.fresh for kind in kinds])[category]
    beauty = np.array([name.startswith("beauty") for name in market.categories])[category]
    defects = np.array([kind.defects for kind in kinds])[category] * market.item_defects[orders["item"]]
    returns = np.array([kind.returns for kind in kinds])[category] * world.buyers["taste"][orders["buyer"]]
    trouble = market.merchant_trouble[orders["merchant"]]
    batch = np.where(market.in_bad_batch(orders["item"], orders["paid_at"]), p.market.bad_batch_factor, 1.0)
    promises = np.where(orders["creator"] >= 0, market.creator_trouble[orders["creator"]], 1.0)
    dear = 0.7 + 0.3 * np.minimum(3.0, orders["unit_price"] / 30_000)
    fate, arrived = orders["fate"], orders["arrived_at"] < NEVER
    late_shipping = (orders["shipped_at"] < NEVER) & (orders["shipped_at"] > orders["paid_at"] + 60 * HOUR)
    late = arrived & (orders["arrived_at"] > orders["promised_by"] + 12 * HOUR)
    sound = arrived & (fate != NOT_HANDED_OVER)
    readily = world.buyers["claiming"][orders["buyer"]]
    certain = np.stack(
        [
            cause.not_shipped * (fate == NOT_SHIPPED),
            cause.late_shipping * late_shipping,
            cause.lost * (fate == LOST),
            cause.scanned_not_handed_over * (fate == NOT_HANDED_OVER),
            cause.late * late,
            cause.damaged * (fate == DAMAGED),
        ],
        axis=1,
    )
    matters = np.stack(
        [
            cause.spoiled * fresh * batch * trouble,
            cause.allergy * beauty * batch,
            cause.quality * defects * trouble * batch * ~fresh,
            cause.counterfeit * trouble * dear * ~fresh,
            cause.wrong_item * trouble,
            cause.missing_item * trouble,
            cause.not_as_described * promises,
            np.minimum(0.85, cause.no_reason * returns),
            cause.return_freight * ~fresh,
        ],
        axis=1,
    )
    matters *= (sound * readily)[:, None]
    matters /= np.maximum(1.0, matters.sum(axis=1) / 0.95)[:, None]
    certain *= np.minimum(1.0, 0.6 + 0.4 * readily)[:, None]
    return np.concatenate([certain, matters], axis=1)


def _noticed(rng: np.random.Generator, p: Parameters, claims: Columns) -> tuple[Array, Array]:
    """When the matter can first be noticed, and the time before which it has to be claimed."""
    reason, fate = claims["reason"], claims["fate"]
    unsent = reason == CODE["not_shipped"]
    unseen = (reason == CODE["not_received"]) & (fate != NOT_HANDED_OVER)
    noticed = np.where(unseen, claims["promised_by"], claims["arrived_at"])
    before = np.where(unsent, claims["shipped_at"], np.where(unseen, claims["arrived_at"], NEVER))
    # Most wait for what was promised, where the parcel leaves time for it.
    waits = (rng.random(len(reason)) < p.cover.waits) & (claims["promised_by"] < before)
    unsent_at = np.where(waits, claims["promised_by"], claims["paid_at"] + 48 * HOUR)
    noticed = np.where(unsent, unsent_at, noticed)
    return noticed, before
