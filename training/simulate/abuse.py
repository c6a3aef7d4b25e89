"""Abusers at work: which account attempts what on which goods, and the claims that follow."""

from dataclasses import dataclass

import numpy as np

from risk.vocabulary import REASONS
from training.simulate.columns import NEVER, Array, Columns, choose, pick, stack, take
from training.simulate.lookalikes import CODE
from training.simulate.market import Market
from training.simulate.orders import FINE, World, draw_orders
from training.simulate.people import Accounts
from training.simulate.schema import Numbers


@dataclass(frozen=True)
class Attempts:
    """What stays the same from week to week: accounts, goods of choice, and typologies that are not there yet."""

    accounts: Accounts
    shelves: tuple[Array, ...]  # running sums over items, one a typology
    appears: tuple[int, ...]  # time from which each typology exists

    @classmethod
    def of(cls, world: World, accounts: Accounts, appears: dict[str, int]) -> "Attempts":
        typologies = world.p.typology
        shelves = tuple(_shelf(world, numbers) for numbers in typologies.values())
        return cls(accounts, shelves, tuple(appears.get(name, 0) for name in typologies))


def _shelf(world: World, numbers: Numbers) -> Array:
    """Items that suit a typology: its categories, dearer or cheaper ones by its tilt, rather under what it exploits."""
    market = world.market
    suits = np.array([name.startswith(numbers.categories) for name in market.categories])[market.item_category]
    sought = np.where(world.promises.sought(market, numbers.exploits), world.p.cover.sought, 1.0)
    return np.cumsum(market.item_weight * suits * sought * (market.item_price / 10_000) ** numbers.price_tilt)


def attempts_of_week(
    rng: np.random.Generator, world: World, attempts: Attempts, now: int, claims: float
) -> Columns | None:
    """Orders made in order to abuse them, in a week that is to draw so many claims."""
    parts = []
    weights = world.buyers.weights(now, world.p.people.newcomer_factor)
    anybody = np.cumsum(weights[: world.buyers.honest])
    wanted = claims * world.p.abuse.share * world.p.abuse.attempts_a_claim
    total = sum(numbers.share for numbers in world.p.typology.values())
    for number, numbers in enumerate(world.p.typology.values()):
        count = int(rng.poisson(wanted * numbers.share / total))
        if count and now >= attempts.appears[number]:
            parts.append(_attempt(rng, world, attempts, anybody, now, number, count))
    return stack(parts) if parts else None


def _attempt(
    rng: np.random.Generator, world: World, attempts: Attempts, anybody: Array, now: int, number: int, count: int
) -> Columns:
    numbers = list(world.p.typology.values())[number]
    accounts = attempts.accounts
    working = accounts.at_work(number, now)
    account = np.full(count, -1)
    if len(working):
        drawn = working[pick(rng, np.cumsum(accounts.busy[working]), count)]
        account = np.where(rng.random(count) < numbers.opportunist, -1, drawn)
    buyer = np.where(account >= 0, accounts.buyer[account], pick(rng, anybody, count))
    item = pick(rng, attempts.shelves[number], count)
    target = np.where(account >= 0, world.buyers["merchant"][buyer], -1)
    orders = draw_orders(rng, world, now, buyer, _of_merchant(rng, world.market, item, target))
    orders["intent"][:] = number
    orders["account"][:] = account
    chosen = rng.random(count) < world.p.cover.unscanned * numbers.reasons.get("not_received", 0.0)
    orders["delivered_at"][chosen] = NEVER
    return orders


def _of_merchant(rng: np.random.Generator, market: Market, item: Array, merchant: Array) -> Array:
    """Another item of the merchant aimed at, where there is one."""
    first, end = market.merchant_first[merchant], market.merchant_first[merchant + 1]
    aimed = (merchant >= 0) & (end > first)
    position = first + (rng.random(len(item)) * np.maximum(1, end - first)).astype(np.int64)
    return np.where(aimed, market.merchant_items[np.minimum(position, len(market.merchant_items) - 1)], item)


def abusive_claims(rng: np.random.Generator, world: World, orders: Columns) -> Columns:
    """The claims of abusers whose parcels came as they should."""
    rows = np.flatnonzero((orders["intent"] >= 0) & (orders["fate"] == FINE) & (orders["arrived_at"] < NEVER))
    claims = take(orders, rows)
    claims["reason"] = _reasons(rng, world, claims)
    # Where no scan tells of the delivery, who says that nothing came waits for the promised time.
    unseen = (claims["reason"] == CODE["not_received"]) & (claims["delivered_at"] == NEVER)
    late = np.maximum(claims["arrived_at"], claims["promised_by"])
    claims["noticed_at"] = np.where(unseen, late, claims["arrived_at"])
    claims["before"] = np.full(len(rows), NEVER)
    claims["typology"] = claims["intent"].copy()
    claims["story"] = np.full(len(rows), -1)
    return claims


def _reasons(rng: np.random.Generator, world: World, claims: Columns) -> Array:
    """Reasons by typology; nobody calls a phone spoiled."""
    reason = np.zeros(len(claims["intent"]), dtype=np.int64)
    for number, numbers in enumerate(world.p.typology.values()):
        rows = np.flatnonzero(claims["intent"] == number)
        codes = np.array([REASONS.index(name) for name in numbers.reasons])
        reason[rows] = codes[choose(rng, list(numbers.reasons.values()), len(rows))]
    category = world.market.item_category[claims["item"]]
    fresh = np.array([kind.fresh for kind in world.p.category.values()])[category]
    beauty = np.array([name.startswith("beauty") for name in world.market.categories])[category]
    reason = np.where((reason == CODE["spoiled"]) & ~fresh, CODE["damaged"], reason)
    dry = np.isin(reason, [CODE[name] for name in ("quality", "counterfeit", "return_freight")])
    reason = np.where(dry & fresh, CODE["spoiled"], reason)
    return np.where((reason == CODE["allergy"]) & ~beauty, np.where(fresh, CODE["spoiled"], CODE["quality"]), reason)
