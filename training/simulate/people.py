"""Buyers with their devices, addresses and payment instruments: households, dormitories, lockers, newcomers."""

from dataclasses import dataclass

import numpy as np

from training.simulate.columns import DAY, Array, Columns, choose, lognormal
from training.simulate.parameters import Parameters

HONEST_SEGMENTS = ("loyal", "occasional", "arriving", "returner")


@dataclass(frozen=True)
class Buyers:
    """One row a buyer account, honest people first, then the accounts of abusers."""

    table: Columns  # registered_at, rate, segment, taste, claiming, verified, guest, address, device, payment, region
    honest: int

    def __getitem__(self, name: str) -> Array:
        return self.table[name]

    def weights(self, now: int, newcomers: float) -> Array:
        """How much each account buys in the week that begins now, a new one `newcomers` times as much as later.

        Accounts yet to come and dropped ones buy nothing.
        """
        age = now - self["registered_at"]
        active = (age > 0) & (self["until"] > now)
        return np.where(active, self["rate"] * np.where(age < 30 * DAY, newcomers, 1.0), 0.0)


def build_honest(rng: np.random.Generator, p: Parameters, orders: float, start: int, days: int) -> Columns:
    """The honest population, in proportion to the orders."""
    count = max(2000, round(orders / p.volume.orders_per_buyer))
    segment = choose(rng, [p.people.segments[name] for name in HONEST_SEGMENTS], count)
    rates = np.array([p.people.orders_a_year[name] for name in HONEST_SEGMENTS])
    taste = np.where(segment == HONEST_SEGMENTS.index("returner"), p.people.returner_taste, 1.0)
    homes = _homes(rng, p, count)
    shape = p.people.claiming_shape
    return {
        "registered_at": registrations(rng, segment == HONEST_SEGMENTS.index("arriving"), start, days),
        "until": np.full(count, np.iinfo(np.int64).max),
        "rate": rates[segment] * rng.gamma(1.5, 1 / 1.5, count),
        "segment": segment,
        "taste": taste,
        "claiming": rng.gamma(shape, 1 / shape, count),
        "verified": rng.random(count) < p.people.verified,
        "guest": rng.random(count) < p.people.guest,
        "address": homes,
        "device": _own_or_shared(rng, homes, p.people.shared_device),
        "payment": _own_or_shared(rng, homes, p.people.shared_payment),
        "script": np.full(count, -1),
        "merchant": np.full(count, -1),
    }


def registrations(rng: np.random.Generator, arriving: Array, start: int, days: int) -> Array:
    """Old accounts are up to six years old at the start; arriving ones come evenly through the period."""
    count = len(arriving)
    before = start - (rng.random(count) ** 0.7 * 6 * 365 * DAY).astype(np.int64) - DAY
    during = start + (rng.random(count) * days * DAY).astype(np.int64)
    return np.where(arriving, during, before)


def region_of(address: Array, regions: int) -> Array:
    """Each address lies in one region; numbers are scattered so that large dormitories do not gather in one."""
    return (address * 7919 % 104729) % regions


def _homes(rng: np.random.Generator, p: Parameters, count: int) -> Array:
    """Address numbers: homes first, then dormitories, then lockers."""
    homes = max(1, round(count / p.people.household))
    dorms = max(1, round(count * p.people.dorm / p.people.dorm_size))
    lockers = max(1, round(count * p.people.locker / p.people.locker_size))
    kind = choose(rng, [1 - p.people.dorm - p.people.locker, p.people.dorm, p.people.locker], count)
    sizes, offsets = np.array([homes, dorms, lockers]), np.array([0, homes, homes + dorms])
    return offsets[kind] + (rng.random(count) * sizes[kind]).astype(np.int64)


def _own_or_shared(rng: np.random.Generator, homes: Array, shared: float) -> Array:
    """Most have their own; some use what lies in the household. Shared numbers follow the own ones."""
    count = len(homes)
    return np.where(rng.random(count) < shared, count + homes, np.arange(count))


@dataclass(frozen=True)
class Accounts:
    """The abusers' accounts: which typology each serves, in which ring, from when until when."""

    buyer: Array  # row in Buyers
    typology: Array
    ring: Array
    actor: Array
    begins: Array
    ends: Array
    busy: Array

    def at_work(self, typology: int, now: int) -> Array:
        """Positions of a typology's accounts that are in use in the week that begins now."""
        return np.flatnonzero((self.typology == typology) & (self.begins <= now) & (self.ends > now))


def build_people(
    rng: np.random.Generator, p: Parameters, orders: float, claims: float, start: int, days: int, merchants: int
) -> tuple[Buyers, Accounts]:
    """Honest people and abusers' accounts in one table of buyers."""
    honest = build_honest(rng, p, orders, start, days)
    count = len(honest["rate"])
    accounts, extra = _abusers(rng, p, claims, start, days, merchants, count, int(honest["address"].max()) + 1)
    table = {name: np.concatenate([values, extra[name].astype(values.dtype)]) for name, values in honest.items()}
    return Buyers(table, count), accounts


def _abusers(
    rng: np.random.Generator, p: Parameters, claims: float, start: int, days: int, merchants: int, first: int, home: int
) -> tuple[Accounts, Columns]:
    """Rings of actors; each actor uses one account after the other and takes things along from one to the next."""
    rows = [
        _typology_rows(rng, p, number, claims, start, days)
        for number in range(len(p.typology))
    ]  # fmt: skip
    ring_offsets = np.cumsum([0] + [int(row["ring"].max()) + 1 for row in rows])
    actor_offsets = np.cumsum([0] + [int(row["actor"].max()) + 1 for row in rows])
    for row, ring, actor in zip(rows, ring_offsets, actor_offsets, strict=False):
        row["ring"] += ring
        row["actor"] += actor
    flat = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    count = len(flat["ring"])
    accounts = Accounts(
        buyer=first + np.arange(count),
        typology=flat["typology"],
        ring=flat["ring"],
        actor=flat["actor"],
        begins=flat["begins"],
        ends=flat["ends"],
        busy=rng.gamma(2.0, 0.5, count),
    )
    return accounts, _account_rows(rng, p, flat, start, days, merchants, first, home)


def _typology_rows(
    rng: np.random.Generator, p: Parameters, number: int, claims: float, start: int, days: int
) -> Columns:
    numbers = list(p.typology.values())[number]
    wanted = claims * p.abuse.share * numbers.share * (1 - numbers.opportunist)
    # Small worlds have small rings rather than one large one, or most weeks would have nobody at work.
    most = round(wanted / (numbers.claims_each * p.abuse.least_rings))
    members = max(min(2, numbers.ring), min(numbers.ring, most))
    rings = max(round(p.abuse.least_rings), round(wanted / (numbers.claims_each * members)))
    even = (np.arange(rings) + rng.random(rings)) / rings
    before = p.abuse.active_days * 0.7
    ring_begins = start + ((even * (days + before) - before) * DAY).astype(np.int64)
    actors = rings * members
    ring = np.repeat(np.arange(rings), members)
    identities = 1 + rng.poisson(numbers.identities - 1, actors)
    begins = ring_begins[ring] + (rng.random(actors) * 20 * DAY).astype(np.int64)
    life = (lognormal(rng, p.abuse.active_days, 0.4, actors) * DAY).astype(np.int64)
    actor = np.repeat(np.arange(actors), identities)
    turn = np.arange(len(actor)) - np.repeat(np.cumsum(identities) - identities, identities)
    step = life[actor] // identities[actor]
    return {
        "typology": np.full(len(actor), number),
        "ring": ring[actor],
        "actor": actor,
        "begins": begins[actor] + step * turn,
        "ends": begins[actor] + step * (turn + 1),
        "turn": turn,
        "members": np.full(len(actor), members),
        "targeted": np.full(len(actor), numbers.one_merchant),
    }


def _account_rows(
    rng: np.random.Generator, p: Parameters, flat: Columns, start: int, days: int, merchants: int, first: int, home: int
) -> Columns:
    """The buyer rows of abusers' accounts. Numbers of things run on behind the honest people's."""
    count = len(flat["ring"])
    ring, actor, again = flat["ring"], flat["actor"], flat["turn"] > 0
    in_ring = flat["members"] > 1
    own = np.arange(count)
    ring_pool = ring * 8 + rng.integers(0, 1 << 30, count) % np.maximum(1, flat["members"] // 2)
    first_of_actor = np.maximum.accumulate(np.where(flat["turn"] == 0, own, 0))
    aged = rng.random(count) < p.abuse.aged_account
    fresh = flat["begins"] - (lognormal(rng, 30.0, 1.0, count) * DAY).astype(np.int64)
    old = np.minimum(registrations(rng, np.zeros(count, dtype=bool), start, days), fresh)
    # Behind twice `first` (+ homes) lie the shared numbers of honest households; each kind leaves a block of its own.
    base = 2 * first + home
    things = {
        name: _kept(rng, again, first_of_actor, own, ring_pool, in_ring, keep, base)
        for name, keep in (("device", p.abuse.keep_device), ("payment", p.abuse.keep_payment))
    }
    address = _kept(rng, again, first_of_actor, own, ring_pool, in_ring, p.abuse.keep_address, base)
    among_others = rng.random(count) < p.abuse.among_others
    target = rng.integers(0, merchants, int(ring.max()) + 1)
    scripts = rng.integers(0, 1 << 20, int(ring.max()) + 1)
    return {
        "registered_at": np.where(aged, old, fresh),
        "until": flat["ends"],
        "rate": p.abuse.honest_orders_a_year * rng.gamma(1.5, 1 / 1.5, count),
        "segment": choose(rng, [0.3, 0.7], count),
        "taste": np.ones(count),
        "claiming": rng.gamma(p.people.claiming_shape, 1 / p.people.claiming_shape, count),
        "verified": rng.random(count) < p.people.verified - p.abuse.verified_less,
        "guest": rng.random(count) < p.people.guest,
        "address": np.where(among_others & ~again & ~in_ring, rng.integers(0, home, count), address),
        "device": things["device"],
        "payment": things["payment"],
        "script": np.where(in_ring, scripts[ring], scripts[ring] + actor),
        "merchant": np.where(flat["targeted"], target[ring], -1),
    }


def _kept(
    rng: np.random.Generator, again: Array, first_of_actor: Array, own: Array, pool: Array, in_ring: Array,
    keep: float, base: int,
) -> Array:  # fmt: skip
    """Numbers of devices and the like: the ring's, the actor's first, or new ones."""
    kept = rng.random(len(own)) < keep
    number = np.where(again & kept, first_of_actor, own)
    from_ring = in_ring & (rng.random(len(own)) < keep)
    return base + np.where(from_ring, len(own) + pool, number)
