"""The week-by-week run: orders, claims, decisions and labels flow out in order of time, in bounded memory."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np

from training.simulate.abuse import Attempts, attempts_of_week
from training.simulate.claims import claims_of
from training.simulate.columns import DAY, SECOND, WEEK, Columns, length, stack, take
from training.simulate.labels import Champion, all_reviewed, audit_draws, known_by, labels_of
from training.simulate.market import build_market
from training.simulate.orders import Shelves, World, honest_orders
from training.simulate.parameters import Parameters
from training.simulate.people import build_people
from training.simulate.promises import build_promises, terms_of


@dataclass(frozen=True)
class Settings:
    """What the caller asks for."""

    claims: int
    seed: int
    start: date = date(2025, 6, 1)
    days: int = 548
    hide_approved: bool = False
    new_typologies: tuple[tuple[str, date], ...] = ()


@dataclass(frozen=True)
class Week:
    """What became known in one week: orders paid, claims submitted, labels known. Rows in no order yet."""

    orders: Columns
    claims: Columns
    labels: Columns


def micros(day: date) -> int:
    """Midnight UTC in microseconds since 1970."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * SECOND


class Engine:
    """Builds the world once and then yields its weeks.

    Every draw comes from a generator seeded with (seed, week, step): the same settings give the same rows, and a change
    in one step leaves the draws of the others as they were.
    """

    def __init__(self, p: Parameters, settings: Settings) -> None:
        self._p, self._settings = p, settings
        self.start = micros(settings.start)
        self.end = self.start + settings.days * DAY
        self.weeks = math.ceil(settings.days / 7)
        orders = settings.claims / p.volume.claims_per_order
        self.market = build_market(self._rng(0, "market"), p, orders, self.start, settings.days)
        buyers, self._accounts = build_people(
            self._rng(0, "people"), p, orders, settings.claims, self.start, settings.days, self.market.merchants
        )
        promises = build_promises(self._rng(0, "promises"), p, self.market, self.start, settings.days)
        self._world = World(p, self.market, buyers, promises, terms_of(self.market.categories))
        self._shelves = Shelves.of(self.market)
        appears = {name: micros(day) for name, day in settings.new_typologies}
        self._attempts = Attempts.of(self._world, self._accounts, appears)
        counts = {thing: int(buyers[thing].max()) + 1 for thing in ("device", "payment")}
        self._champion = Champion(p, {"buyer": len(buyers["rate"]), **counts})
        self._shares = self._week_shares()

    def run(self) -> Iterator[Week]:
        """The weeks in order. A claim comes out in the week of its submission, a label in the week it is known."""
        waiting: list[Columns] = []
        unknown: list[Columns] = []
        made, planned, numbered = 0.0, 0.0, 0
        generated = self._settings.claims * self._tail()
        for week in range(self.weeks):
            now = self.start + week * WEEK
            until = min(now + WEEK, self.end)
            plan = generated * self._shares[week]
            # What earlier weeks drew too few or too many is made up for gently.
            correction = float(np.clip(1 + (planned - made) / max(plan, 1.0) / 4, 0.8, 1.25))
            orders = self._orders(week, now, plan * correction, numbered)
            numbered += length(orders)
            claims = claims_of(self._rng(week, "claims"), self._world, orders)
            made, planned = made + length(claims), planned + plan
            waiting.append(claims)
            ready, waiting = _split(waiting, "submitted_at", until)
            ready |= self._decide(week, ready)
            unknown.append(labels_of(self._rng(week, "labels"), self._p, ready))
            labels, unknown = _split(unknown, "known_at", until)
            self._champion.learn(labels)
            yield Week(orders, ready, known_by(labels, self.end))

    def _rng(self, week: int, step: str) -> np.random.Generator:
        return np.random.default_rng([self._settings.seed, week, *step.encode()])

    def _tail(self) -> float:
        """Claims of the last orders fall after the end: so many more have to be made."""
        days = self._settings.days
        return days / max(days - self._p.volume.tail_days, days * 0.3)

    def _week_shares(self) -> np.ndarray:
        """Share of all claims by week: growth, festivals, a short last week."""
        volume, shares = self._p.volume, []
        for week in range(self.weeks):
            first = self._settings.start + timedelta(days=7 * week)
            dates = {f"{first + timedelta(days=offset):%m-%d}" for offset in range(7)}
            festive = volume.festival_factor if dates & set(volume.festivals) else 1.0
            part = min(7, self._settings.days - 7 * week) / 7
            shares.append((1 + volume.yearly_growth) ** (week * 7 / 365) * festive * part)
        return np.array(shares) / sum(shares)

    def _orders(self, week: int, now: int, claims: float, numbered: int) -> Columns:
        """One week's orders, honest and not, under numbers that tell nothing."""
        rng = self._rng(week, "orders")
        part = min(WEEK, self.end - now) / WEEK
        count = int(rng.poisson(claims / part * (1 / self._p.volume.claims_per_order - self._p.abuse.share)))
        honest = honest_orders(rng, self._world, self._shelves, now, count)
        attempts = attempts_of_week(self._rng(week, "abuse"), self._world, self._attempts, now, claims / part)
        orders = stack([honest, attempts]) if attempts is not None else honest
        orders = take(orders, np.flatnonzero(orders["paid_at"] < self.end))
        orders["row"] = np.arange(length(orders))
        orders["number"] = numbered + orders["row"]
        accounts, account = self._accounts, orders["account"]
        for name, values in (("actor", accounts.actor), ("ring", accounts.ring)):
            orders[name] = np.where(account >= 0, values[account], -1)
        return orders

    def _decide(self, week: int, claims: Columns) -> Columns:
        draws = audit_draws(self._rng(week, "audits"), self._p, claims)
        if self._settings.hide_approved:
            return draws | self._champion.decide(self._rng(week, "decisions"), claims)
        return draws | all_reviewed(length(claims))


def _split(parts: list[Columns], time: str, until: int) -> tuple[Columns, list[Columns]]:
    """Rows before `until`, and the rest to wait."""
    everything = stack(parts)
    before = everything[time] < until
    return take(everything, np.flatnonzero(before)), [take(everything, np.flatnonzero(~before))]
