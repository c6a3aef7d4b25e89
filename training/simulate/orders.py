"""Orders of one week and what happened to their parcels."""

from dataclasses import dataclass

import numpy as np

from training.simulate.columns import DAY, HOUR, NEVER, Array, Columns, choose, lognormal, pick, whole_seconds
from training.simulate.market import Market
from training.simulate.parameters import Parameters
from training.simulate.people import HONEST_SEGMENTS, Buyers, region_of
from training.simulate.promises import Promises, Terms

FINE, NOT_SHIPPED, LOST, NOT_HANDED_OVER, DAMAGED = range(5)


@dataclass(frozen=True)
class World:
    """What every step needs to know."""

    p: Parameters
    market: Market
    buyers: Buyers
    promises: Promises
    terms: Terms


@dataclass(frozen=True)
class Shelves:
    """Running sums over items' weights: all of them, and clothes for those who send many back."""

    all_items: Array
    clothes: Array

    @classmethod
    def of(cls, market: Market) -> "Shelves":
        clothes = np.array([name.startswith("clothing") for name in market.categories])[market.item_category]
        return cls(np.cumsum(market.item_weight), np.cumsum(market.item_weight * clothes))


def honest_orders(rng: np.random.Generator, world: World, shelves: Shelves, now: int, count: int) -> Columns:
    """What everybody, abusers included, orders without a second thought."""
    buyer = pick(rng, np.cumsum(world.buyers.weights(now, world.p.people.newcomer_factor)), count)
    item = pick(rng, shelves.all_items, count)
    heavy = world.buyers["segment"][buyer] == HONEST_SEGMENTS.index("returner")
    clothes = heavy & (rng.random(count) < world.p.people.returner_clothes)
    item[clothes] = pick(rng, shelves.clothes, int(clothes.sum()))
    return draw_orders(rng, world, now, buyer, item)


def draw_orders(rng: np.random.Generator, world: World, now: int, buyer: Array, item: Array) -> Columns:
    """One order for each buyer and item, paid in the week that begins now. Nothing in it depends on intent."""
    p, market, count = world.p, world.market, len(buyer)
    merchant = market.item_merchant[item]
    quantity = 1 + (rng.random(count) < p.market.quantity_more) * rng.integers(1, 4, count)
    quantity = np.where(market.item_price[item] > p.market.one_piece_price, 1, quantity)
    discount = 1 - np.minimum(p.market.most_discount, rng.exponential(p.market.discount, count))
    unit_price = np.maximum(1500, market.item_price[item] * discount).astype(np.int64)
    others = rng.poisson(p.market.other_items, count)
    other_money = (others * lognormal(rng, p.market.other_price, p.market.other_spread, count)).astype(np.int64)
    channel = choose(rng, list(p.market.channels.values()), count)
    usual = rng.random(count) < p.market.usual_creator
    creator = np.where(usual, market.item_creator[item], pick(rng, market.creator_cumulative, count))
    gift = rng.random(count) < p.people.gift_address
    anywhere = world.buyers["address"][rng.integers(0, world.buyers.honest, count)]
    columns = {
        "buyer": buyer,
        "item": item,
        "merchant": merchant,
        "paid_at": now + _moments(rng, p, count),
        "quantity": quantity,
        "unit_price": unit_price,
        "item_count": 1 + others,
        "paid_amount": unit_price * quantity + other_money,
        "channel": channel,
        "creator": np.where(np.isin(channel, (0, 1)), creator, -1),
        "address": np.where(gift, anywhere, world.buyers["address"][buyer]),
        "payment": world.buyers["payment"][buyer],
        "carrier": choose(rng, list(p.market.carriers.values()), count),
        "intent": np.full(count, -1),
        "account": np.full(count, -1),
    }
    return columns | _parcels(rng, world, columns)


def _moments(rng: np.random.Generator, p: Parameters, count: int) -> Array:
    """Times within a week, along the hours of the day."""
    return rng.integers(0, 7, count) * DAY + time_of_day(rng, p, count)


def time_of_day(rng: np.random.Generator, p: Parameters, count: int) -> Array:
    """Time since midnight UTC; the busy hours are given in local time, eight hours ahead."""
    hour = (choose(rng, p.volume.busy_hours, count) - 8) % 24
    return whole_seconds(hour * HOUR + (rng.random(count) * HOUR).astype(np.int64))


def _parcels(rng: np.random.Generator, world: World, orders: Columns) -> Columns:
    """The parcel's true course, and the scans that tell of it."""
    p, market, count = world.p, world.market, len(orders["buyer"])
    region = region_of(orders["address"], p.market.regions)
    careless = (orders["carrier"] == market.careless_carrier) & (region == market.careless_region)
    factor = np.where(careless, p.parcel.careless_factor, 1.0)
    trouble = market.merchant_trouble[orders["merchant"]]
    fragile = np.array([category.fragile for category in p.category.values()])[market.item_category[orders["item"]]]
    chances = np.stack(
        [
            p.parcel.not_shipped * trouble,
            p.parcel.lost * factor,
            p.parcel.scanned_not_handed_over * factor,
            p.parcel.damaged * fragile * np.sqrt(factor),
        ],
        axis=1,
    )
    fate = one_of(rng, chances)
    late = np.where(world.market.merchant_bad[orders["merchant"]], p.parcel.bad_merchant_late, 1.0)
    shipped = orders["paid_at"] + _hours(lognormal(rng, p.parcel.ship_hours * late, p.parcel.ship_spread, count))
    slow = np.where(careless, p.parcel.careless_slow, 1.0) * (0.8 + 0.5 * region / p.market.regions)
    delivered = shipped + _hours(lognormal(rng, p.parcel.transit_hours * slow, p.parcel.transit_spread, count))
    promised = orders["paid_at"] + _hours(p.parcel.promise_hours + 24.0 * rng.integers(-1, 3, count))
    scanned = rng.random(count) >= p.parcel.unscanned
    never_sent, never_came = fate == NOT_SHIPPED, (fate == NOT_SHIPPED) | (fate == LOST)
    return {
        "region": region,
        "careless": careless,
        "fate": fate,
        "arrived_at": np.where(never_came, NEVER, whole_seconds(delivered)),
        "shipped_at": np.where(never_sent, NEVER, whole_seconds(shipped)),
        "promised_by": whole_seconds(promised),
        "delivered_at": np.where(never_came | ~scanned, NEVER, whole_seconds(delivered)),
    }


def one_of(rng: np.random.Generator, chances: Array) -> Array:
    """0 where nothing happens, else 1 + the column drawn; a row's chances may sum to at most one."""
    upper = np.cumsum(np.minimum(chances, 1.0), axis=1)
    drawn = rng.random(len(chances))
    hit = (drawn[:, None] >= upper).sum(axis=1)
    return np.where(hit < chances.shape[1], hit + 1, 0)


def _hours(hours: Array | float) -> Array:
    return np.asarray(np.asarray(hours) * HOUR).astype(np.int64)
