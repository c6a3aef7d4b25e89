"""Merchants, items, creators and carriers: who sells, what, and who is careless."""

from dataclasses import dataclass

import numpy as np

from training.simulate.columns import DAY, Array, choose, lognormal
from training.simulate.parameters import Parameters


@dataclass(frozen=True)
class Market:
    """Everything that stands still while orders come and go; arrays run over merchants, items or creators."""

    categories: tuple[str, ...]
    carriers: tuple[str, ...]
    merchant_trouble: Array  # factor on defects, mistakes and delays
    merchant_bad: Array
    creator_trouble: Array  # factor on goods not as described
    creator_bad: Array
    creator_cumulative: Array
    item_merchant: Array
    item_category: Array
    item_price: Array
    item_weight: Array
    item_defects: Array
    item_creator: Array
    batch_from: Array  # bad batch of an item: [from, until), empty where there is none
    batch_until: Array
    merchant_items: Array  # items sorted by merchant
    merchant_first: Array  # first position of each merchant in `merchant_items`, one more at the end
    careless_carrier: int
    careless_region: int

    @property
    def merchants(self) -> int:
        return len(self.merchant_bad)

    def in_bad_batch(self, item: Array, paid_at: Array) -> Array:
        """Was the item sold out of a bad batch at that time?"""
        return (paid_at >= self.batch_from[item]) & (paid_at < self.batch_until[item])


def zipf(count: int, exponent: float) -> Array:
    """Sizes that fall with the rank: a few very large, a long tail."""
    return (np.arange(count) + 1.0) ** -exponent


def build_market(rng: np.random.Generator, p: Parameters, orders: float, start: int, days: int) -> Market:
    """A market whose size follows the number of orders."""
    merchants = max(60, round(orders / p.volume.orders_per_merchant))
    items = max(400, round(orders / p.volume.orders_per_item))
    creators = max(25, round(orders / p.volume.orders_per_creator))
    names = tuple(p.category)
    roots = np.array([name.split(".")[0] for name in names])
    shares = np.array([category.share for category in p.category.values()])

    merchant_size = zipf(merchants, p.market.merchant_zipf)
    merchant_bad = _some(rng, merchants, p.market.bad_merchant, spare=3)
    trouble = np.where(merchant_bad, p.market.bad_merchant_factor, 1.0) * lognormal(rng, 1.0, 0.25, merchants)
    home = roots[choose(rng, shares, merchants)]

    item_merchant = choose(rng, merchant_size, items)
    item_category = _categories(rng, home[item_merchant], roots, shares, p.market.home_category)
    prices = np.array([category.price for category in p.category.values()])
    spreads = np.array([category.spread for category in p.category.values()])
    price = lognormal(rng, prices[item_category], spreads[item_category], items)
    popularity = rng.permutation(zipf(items, p.market.item_zipf))
    weight = popularity * _balance(item_category, popularity, shares)

    creator_bad = _some(rng, creators, p.market.bad_creator, spare=2)
    # Popular items are made in more batches, so a bad one is likelier among them.
    batch = np.zeros(items, dtype=bool)
    likely = np.argsort(-np.sqrt(popularity) * rng.exponential(1.0, items), kind="stable")
    batch[likely[: max(1, round(items * p.market.bad_batch))]] = True
    batch_from = start + (rng.random(items) * days * DAY).astype(np.int64)
    order = np.argsort(item_merchant, kind="stable")
    return Market(
        categories=names,
        carriers=tuple(p.market.carriers),
        merchant_trouble=trouble,
        merchant_bad=merchant_bad,
        creator_trouble=np.where(creator_bad, p.market.bad_creator_factor, 1.0),
        creator_bad=creator_bad,
        creator_cumulative=np.cumsum(zipf(creators, p.market.creator_zipf)),
        item_merchant=item_merchant,
        item_category=item_category,
        item_price=np.maximum(1900, (price // 100) * 100 - 10).astype(np.int64),
        item_weight=weight,
        item_defects=lognormal(rng, 1.0, 0.5, items),
        item_creator=rng.integers(0, creators, items),
        batch_from=batch_from,
        batch_until=np.where(batch, batch_from + int(p.market.bad_batch_days * DAY), batch_from),
        merchant_items=order,
        merchant_first=np.searchsorted(item_merchant[order], np.arange(merchants + 1)),
        careless_carrier=min(2, len(p.market.carriers) - 1),
        careless_region=min(3, p.market.regions - 1),
    )


def _some(rng: np.random.Generator, count: int, share: float, spare: int) -> Array:
    """Mark a share, at least one, never the `spare` largest."""
    marked = np.zeros(count, dtype=bool)
    marked[spare + rng.permutation(count - spare)[: max(1, round(count * share))]] = True
    return marked


def _categories(rng: np.random.Generator, home: Array, roots: Array, shares: Array, stay: float) -> Array:
    """A merchant mostly keeps to one root category."""
    category = choose(rng, shares, len(home))
    stays = rng.random(len(home)) < stay
    for root in np.unique(roots):
        of_root = np.flatnonzero(roots == root)
        rows = np.flatnonzero(stays & (home == root))
        category[rows] = of_root[choose(rng, shares[of_root], len(rows))]
    return category


def _balance(category: Array, popularity: Array, shares: Array) -> Array:
    """Factors that bring each category to its share of orders."""
    total = np.bincount(category, weights=popularity, minlength=len(shares))
    return (shares / np.maximum(total, popularity.min()))[category]
