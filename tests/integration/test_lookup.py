"""The online look-up against the slow and obvious computation, on small nasty pasts made by hypothesis."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from risk.features import Calculator, load_features
from risk.features.definition import HOUR
from serving.store.database import Connection, Database, Prepared
from serving.store.lookup import Lookup
from serving.store.totals import add_up
from tests import oracle
from tests.oracle import World

NOW = 1_767_225_600_000_000
DAY = 24 * HOUR
FEATURES = load_features()
LOOKUP = Lookup(FEATURES)
STATEMENT = Prepared(b"look_up", LOOKUP.statement.encode())

# Moments at the very edges of the windows, and one microsecond to either side.
AGES = [edge + step for edge in (0, HOUR, DAY, 7 * DAY, 30 * DAY, 90 * DAY, 365 * DAY) for step in (-1, 0, 1)]
AGES += [5 * 60_000_000, 3 * DAY, 400 * DAY]


def _one_of(*values: str) -> st.SearchStrategy[str | None]:
    return st.sampled_from((*values, None))


PARTIES = st.fixed_dictionaries(
    {
        "buyer_id": st.sampled_from(("b1", "b2")),
        "merchant_id": st.sampled_from(("m1", "m2")),
        "creator_id": _one_of("c1"),
        "item_id": _one_of("i1", "i2"),
        "device_id": _one_of("d1", "d2"),
        "address_id": _one_of("a1", "a2"),
        "payment_id": _one_of("p1", "p2"),
    }
)
AGE = st.sampled_from(AGES)
MONEY = st.integers(1, 10**11)
ORDER = st.builds(lambda parties, age, amount: {**parties, "paid_at": NOW - age, "paid_amount": amount}, PARTIES, AGE, MONEY)
CLAIM = st.builds(
    lambda parties, age, amount, reason, remedy: {
        **parties, "submitted_at": NOW - age, "amount": amount, "reason": reason, "remedy": remedy,
    },
    PARTIES, AGE, MONEY, _one_of("spoiled", "not_received", "no_reason"), _one_of("refund_only", "reship"),
)  # fmt: skip
# Labels of claims by number, as late as the same edges allow, among them reversals, repeats and ties.
LABEL = st.tuples(st.integers(0, 7), AGE, st.sampled_from(("abuse", "legitimate", "undecided")))
CLAIMS = st.lists(CLAIM, max_size=8)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    claims = [{**claim, "claim_id": f"k{place}"} for place, claim in enumerate(draw(CLAIMS))]
    labels = [
        {"claim_id": f"k{place}", "known_at": NOW - age, "label": label}
        for place, age, label in draw(st.lists(LABEL, max_size=10))
        if place < len(claims)
    ]
    return World(orders=draw(st.lists(ORDER, max_size=8)), claims=claims, labels=labels)


@pytest.fixture(scope="module")
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


def _write(connection: Connection, world: World, arrival: list[int]) -> None:
    """The events of a world in any order of arrival: what counts is when each became known."""
    log = oracle.events(world)
    names = [*(entity.column for entity in FEATURES.entities), *(measure.name for measure in FEATURES.measures)]
    for place in sorted(range(len(log)), key=lambda place: (arrival[place % len(arrival)], place)):
        event: dict[str, Any] = log[place]
        values = [event.get(name) if name.endswith("_id") else event.get(name, 0) for name in names]
        connection.execute(
            f"INSERT INTO past (known_at, event, {', '.join(names)}) VALUES ({', '.join(['%s'] * (len(names) + 2))})",
            (event["at"], event["event"][0], *values),
        )


# One database serves all examples: each is rolled back.
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(world=worlds(), probe=PARTIES, arrival=st.lists(st.integers(0, 9), min_size=1, max_size=7), steps=st.lists(AGE, max_size=3))
def test_any_past_in_any_order_of_arrival_gives_the_obvious_features_wherever_the_watermark_stands(
    database: Database, world: World, probe: dict[str, str | None], arrival: list[int], steps: list[int]
) -> None:
    claim = {**probe, "claim_id": "probe", "submitted_at": NOW, "amount": 1}
    connection = database.connection()
    with connection.transaction(force_rollback=True):
        _write(connection, world, arrival)
        start = 0
        for end in sorted(NOW - age for age in steps):
            add_up(connection, FEATURES, start, end)
            start = max(start, end)
        keys = {entity.name: probe[entity.column] for entity in FEATURES.entities}
        row = database.fetch(STATEMENT, LOOKUP.parameters(keys, NOW, "", ""))
    _decided, past = LOOKUP.read(row)
    online = Calculator(FEATURES).values(past.aggregates or (), dict.fromkeys(_FACTS) | {"submitted_at": NOW}, NOW)
    expected = oracle.windowed(World(world.orders, [*world.claims, claim], world.labels), FEATURES)[-1]
    assert dict(zip(FEATURES.names, online, strict=True)) | expected == dict(zip(FEATURES.names, online, strict=True))


_FACTS = {column for feature in FEATURES.own for column in feature.columns}
