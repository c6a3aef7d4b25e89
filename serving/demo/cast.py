"""Who claims in the demonstration: real parties of the simulated past, chosen by what the store knows of them now."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString

import pyarrow.parquet as pq

from risk.errors import RiskError
from serving.store.database import Connection, Database

Row = dict[str, Any]
MANY = 400

# A good customer: buys often, was never found to abuse, did not claim for two months (an earlier demonstration counts).
_LOYAL: LiteralString = """
    SELECT buyer_id FROM past
    WHERE known_at > %(year)s AND buyer_id IS NOT NULL
    GROUP BY buyer_id
    HAVING sum(abuse) = 0 AND sum(legitimate) > 0 AND sum(orders) >= 4
       AND coalesce(max(known_at) FILTER (WHERE claims > 0), 0) < %(recently)s
    ORDER BY sum(claims)::float / sum(orders), sum(orders) DESC, buyer_id
    LIMIT %(many)s
"""
# A device from which claims were made that turned out to be abuse; the worst one with the fewest claims of today.
_NOTORIOUS: LiteralString = """
    SELECT device_id FROM past
    WHERE known_at > %(year)s AND device_id IS NOT NULL
    GROUP BY device_id
    HAVING sum(abuse) > 0
    ORDER BY sum(abuse) DESC, device_id
    LIMIT 20
"""
_LAST_BUYER: LiteralString = """
    SELECT buyer_id FROM past WHERE device_id = %(device)s AND claims > 0 ORDER BY known_at DESC LIMIT 1
"""


@dataclass(frozen=True)
class Scene:
    """One claim of the demonstration, and what a spectator should know about it."""

    title: str
    who: str
    claim: dict[str, Any]


def scenes(database: Database, history: Path) -> list[Scene]:
    """Claims of different risk, each with a new id."""
    with database.patient() as connection:
        now = datetime.now(UTC)
        span = {"year": _micro(now - timedelta(days=365)), "recently": _micro(now - timedelta(days=60)), "many": MANY}
        loyal = [row[0] for row in connection.execute(_LOYAL, span).fetchall()]
        orders = _orders(history, loyal)
        fruit, other = _chosen(orders, "food.fresh", 2), _chosen(orders, "", 1)
        device, abuser = _notorious(connection, span)
        known = {row["buyer_id"]: row for row in _claims(history, [order["buyer_id"] for order in (*fruit, *other)])}
        return [
            _spoiled(fruit[0], known, now, photo=True),
            _no_reason(other[0], known, now),
            _spoiled(fruit[1], known, now, photo=False),
            _from_notorious_device(connection, history, device, abuser, span["year"], now),
        ]


def _spoiled(order: Row, known: dict[str, Row], now: datetime, *, photo: bool) -> Scene:
    proof = "with a photo" if photo else "without any photo"
    claim = _claim(order, known.get(order["buyer_id"], {}), now, delivered_hours=6)
    claim |= {
        "reason": "spoiled",
        "remedy": "refund_only",
        "amount": max(1, order["paid_amount"] * 15 // 100),
        "affected_share": 0.15,
        "description": "Some of it had gone bad when I opened the box this evening.",
        "evidence": [_photo(now)] if photo else [],
        "extra": {"image_seen_before": 0.0, "evidence_edited": 0.01} if photo else {},
    }
    return Scene(f"A good customer, part of a fresh order spoiled, {proof}", "a good customer", claim)


def _no_reason(order: Row, known: dict[str, Row], now: datetime) -> Scene:
    claim = _claim(order, known.get(order["buyer_id"], {}), now, delivered_hours=40)
    claim |= {
        "reason": "no_reason",
        "remedy": "return_and_refund",
        "return_method": "door_pickup",
        "amount": order["paid_amount"],
        "description": "I changed my mind.",
    }
    claim["items"][0]["opened"] = False
    return Scene("Another good customer sends back an unopened purchase", "a good customer", claim)


def _from_notorious_device(
    connection: Connection, history: Path, device: str, buyer: str, year: int, now: datetime
) -> Scene:
    row = connection.execute(
        "SELECT sum(abuse) FROM past WHERE device_id = %s AND known_at > %s", (device, year)
    ).fetchone()
    order = max(_orders(history, [buyer]), key=lambda order: int(order["paid_amount"]))
    known = next(iter(_claims(history, [buyer])), {})
    claim = _claim(order, known, now, delivered_hours=60)
    claim |= {
        "reason": "damaged",
        "remedy": "refund_only",
        "amount": order["paid_amount"],
        "description": "Broken. I want all of the money back and cannot return it.",
        "device": {"device_id": device},
        "evidence": [_photo(now)],
        "extra": {"image_seen_before": 1.0, "evidence_edited": 0.8},
    }
    found = int(row[0]) if row else 0
    times = "once" if found == 1 else f"{found} times"
    return Scene(
        f"All of a large order claimed, from a device on which abuse was confirmed {times}", "a known device", claim
    )


def _claim(order: Row, known: Row, now: datetime, *, delivered_hours: float) -> dict[str, Any]:
    """A claim on a new order like the one of the history, delivered some hours ago."""
    delivered = now - timedelta(hours=delivered_hours)
    price = order["paid_amount"]
    return {
        "claim_id": f"demo-{secrets.token_hex(5)}",
        "submitted_at": _time(now),
        "currency": order["currency"],
        "buyer": _present(
            buyer_id=order["buyer_id"],
            registered_at=_time(known.get("registered_at")),
            verified=known.get("verified"),
            guest=known.get("guest"),
        ),
        "merchant": {"merchant_id": order["merchant_id"]},
        "order": _present(
            order_id=f"demo-order-{secrets.token_hex(5)}",
            paid_at=_time(delivered - timedelta(hours=50)),
            paid_amount=price,
            refunded_amount=0,
            shipped_at=_time(delivered - timedelta(hours=36)),
            promised_by=_time(delivered + timedelta(hours=48)),
            delivered_at=_time(delivered),
            **{name: order[name] for name in ("channel", "creator_id", "address_id", "payment_id", "carrier")},
        ),
        "items": [{"item_id": order["item_id"], "category": order["category"], "quantity": 1, "unit_price": price}],
        "device": _present(device_id=known.get("device_id")),
    }


def _photo(now: datetime) -> dict[str, Any]:
    return {
        "evidence_id": f"demo-photo-{secrets.token_hex(5)}",
        "kind": "photo",
        "content_type": "image/jpeg",
        "captured_at": _time(now - timedelta(minutes=20)),
    }


def _chosen(orders: list[Row], category: str, count: int) -> list[Row]:
    """One order each of as many buyers, the best customers first; taken out of `orders`."""
    chosen: list[Row] = []
    for order in list(orders):
        if len(chosen) < count and str(order["category"]).startswith(category):
            chosen.append(order)
            orders[:] = [other for other in orders if other["buyer_id"] != order["buyer_id"]]
    if len(chosen) < count:
        raise RiskError("the history has no good customer to show a claim of; simulate more claims (DEMO_CLAIMS)")
    return chosen


def _notorious(connection: Connection, span: dict[str, int]) -> tuple[str, str]:
    devices = [str(row[0]) for row in connection.execute(_NOTORIOUS, span).fetchall()]
    if not devices:
        raise RiskError("the history has no device with confirmed abuse; simulate more claims (DEMO_CLAIMS)")
    # Not always the same one: each demonstration adds a claim to its past.
    device = secrets.choice(devices)
    row = connection.execute(_LAST_BUYER, {"device": device}).fetchone()
    return device, str(row[0]) if row else ""


def _orders(history: Path, buyers: Sequence[str]) -> list[Row]:
    """Orders of these buyers, in the order of the buyers."""
    rank = {buyer: place for place, buyer in enumerate(buyers)}
    table = pq.read_table(history / "orders.parquet", filters=[("buyer_id", "in", buyers)])
    rows: list[Row] = table.to_pylist()
    return sorted((row for row in rows if row["item_id"] and row["category"]), key=lambda row: rank[row["buyer_id"]])


def _claims(history: Path, buyers: Sequence[str]) -> list[Row]:
    columns = ["buyer_id", "device_id", "registered_at", "verified", "guest"]
    rows: list[Row] = pq.read_table(
        history / "claims.parquet", columns=columns, filters=[("buyer_id", "in", buyers)]
    ).to_pylist()
    return rows


def _present(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment is not None else None


def _micro(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000
