"""Small, nasty histories for tests: ties in time, missing ids, late, repeated and withdrawn labels."""

import random
from pathlib import Path

import pandas as pd

from risk.features.definition import HOUR
from risk.vocabulary import GUARANTEES, LABELS, REASONS, REMEDIES
from tests.oracle import World

START = 1_772_323_200_000_000
HAPPENED = ("paid_at", "shipped_at", "promised_by", "delivered_at", "registered_at", "intercepted_at", "lost_at",
            "return_shipped_at", "return_picked_up_at", "return_received_at")  # fmt: skip
TIMES = ("submitted_at", "known_at", *HAPPENED)
COUNTS = ("photo_count", "video_count", "certificate_count", "scan_count", "chat_count")
CATEGORIES = (None, "food.fresh.fruit", "food.fresh.live.crab", "beauty.skincare", "electronics.phone", "home", "foods", "custom.mug")


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


def with_facts(world: World, seed: int) -> World:
    """The same world with claims that tell all sorts of things, true, false and odd ones, about goods, times and promises."""
    rng = random.Random(seed)
    windows = [12, 24, 48, 72, 7 * 24, 61 * 24]

    def moment(submitted: int) -> int | None:
        ago = rng.choice(windows) * HOUR + rng.choice((-1, 0, 1, 0, HOUR, -HOUR, -9 * HOUR))
        return rng.choice((None, submitted - ago, submitted - rng.randrange(40 * 24) * HOUR, submitted, submitted + 1))

    def codes() -> str | None:
        return rng.choice((None, "", *GUARANTEES, " ".join(GUARANTEES), "gold_service damage_return"))

    for claim in world.claims:
        claim |= {name: moment(claim["submitted_at"]) for name in HAPPENED if rng.random() < 0.6}
        claim.setdefault("paid_at", claim["submitted_at"] - rng.randrange(90) * 24 * HOUR)
        claim |= {name: rng.choice((None, 0, 0, 1, 2)) for name in COUNTS}
        claim |= {name: rng.choice((None, 0, 1)) for name in ("opened", "no_return_confirmed", "verified", "guest")}
        claim |= {
            "merchant_guarantees": codes(),
            "item_guarantees": codes(),
            "category": rng.choice(CATEGORIES),
            "affected_share": rng.choice((None, 0.0, 0.1, 0.3, 1 / 3, 0.7000001, 1.0, 1.5, -0.5)),
            "unit_price": rng.choice((None, 0, claim["amount"], rng.randint(1, 10**7))),
            "quantity": rng.choice((None, 1, 3)),
            "paid_amount": rng.choice((None, claim["amount"], rng.randint(1, 10**7))),
            "item_count": rng.choice((None, 1, 2)),
            "description": rng.choice((None, "", "broken", "坏了")),
        }
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
