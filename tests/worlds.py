"""Small, nasty histories for tests: ties in time, missing ids, late, repeated and withdrawn labels."""

import random
from pathlib import Path

import pandas as pd

from risk.features.definition import HOUR
from risk.vocabulary import LABELS, REASONS, REMEDIES
from tests.oracle import World

START = 1_767_225_600_000_000
TIMES = ("submitted_at", "paid_at", "known_at", "delivered_at", "shipped_at", "promised_by", "registered_at")


def random_world(seed: int, *, claims: int = 60, orders: int = 120) -> World:
    """A world in which few parties meet often and many events share a microsecond."""
    rng = random.Random(seed)
    # Steps at the very edges of the windows, and one microsecond to either side.
    steps = [0, 0, 1, HOUR - 1, HOUR, HOUR + 1, 24 * HOUR, 24 * HOUR - 1, 7 * 24 * HOUR, 30 * 24 * HOUR]

    def moment() -> int:
        return START + sum(rng.choice(steps) for _ in range(rng.randint(0, 6)))

    def party(prefix: str, many: int) -> str | None:
        return None if rng.random() < 0.15 else f"{prefix}{rng.randrange(many)}"

    def parties() -> dict[str, str | None]:
        return {
            "buyer_id": f"b{rng.randrange(4)}",
            "merchant_id": f"m{rng.randrange(3)}",
            "creator_id": party("c", 2),
            "item_id": party("i", 3),
            "address_id": party("a", 3),
            "payment_id": party("p", 3),
        }

    world = World()
    for number in range(orders):
        world.orders.append(
            {"order_id": f"o{number}", "paid_at": moment(), "paid_amount": rng.randint(0, 10**10), **parties()}
        )
    for number in range(claims):
        world.claims.append(
            {
                "claim_id": f"k{number}",
                "submitted_at": moment(),
                "amount": rng.randint(1, 10**10),
                "reason": rng.choice((None, *REASONS)),
                "remedy": rng.choice((None, *REMEDIES)),
                "device_id": party("d", 3),
                **parties(),
            }
        )
    for _ in range(claims):
        claim = rng.choice(world.claims)
        late = rng.choice((1, HOUR, 24 * HOUR, 24 * HOUR))
        world.labels.append(
            {"claim_id": claim["claim_id"], "known_at": claim["submitted_at"] + late, "label": rng.choice(LABELS)}
        )
    return world


def write(world: World, folder: Path) -> Path:
    """The world as a history folder; its rows in no particular order."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in ("orders", "claims", "labels"):
        frame = pd.DataFrame(getattr(world, table)).sample(frac=1, random_state=1)
        for name in TIMES:
            if name in frame:
                frame[name] = pd.to_datetime(frame[name], unit="us", utc=True).astype("datetime64[us, UTC]")
        frame.to_parquet(folder / f"{table}.parquet", index=False)
    return folder
