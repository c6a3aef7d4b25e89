"""Who claims in the demonstration: real parties of the simulated past, chosen by what the store knows of them now."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString

import pyarrow.parquet as pq

from risk.errors import RiskError
from serving.store.database import Connection, Database

Row = dict[str, Any]
MANY, AUDITION = 400, 40
_TOO_FEW = "the simulated past has nobody to show a claim of; begin anew with a larger DEMO_CLAIMS"

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
# Devices from which claims were made that turned out to be abuse.
_NOTORIOUS: LiteralString = """
    SELECT device_id, sum(abuse) FROM past
    WHERE known_at > %(year)s AND device_id IS NOT NULL
    GROUP BY device_id
    HAVING sum(abuse) > 0
    ORDER BY sum(abuse) DESC, device_id
    LIMIT 20
"""
_LAST_BUYER: LiteralString = """
    SELECT buyer_id FROM past WHERE device_id = %(device)s AND event = 'c' AND claim_id NOT LIKE 'demo-%%' ORDER BY known_at DESC LIMIT 1
"""


_PROMISED = ["authenticity", "beauty_allergy", "damage_return", "door_pickup", "fresh_spoilage"]


@dataclass(frozen=True)
class Scene:
    """One claim of the demonstration, and its title for a spectator."""

    title: str
    claim: dict[str, Any]


Rank = Callable[[Sequence[Scene]], list[Scene]]
"""Puts scenes in order, the one most likely to be approved first."""


def scenes(database: Database, history: Path, rank: Rank) -> list[Scene]:
    """Claims of different risk, each with a new id."""
    now = datetime.now(UTC)
    span = {"year": _micro(now - timedelta(days=365)), "recently": _micro(now - timedelta(days=60)), "many": MANY}
    with database.patient() as connection:
        loyal = [str(row[0]) for row in connection.execute(_LOYAL, span).fetchall()]
        device, abuser, found = _notorious(connection, span)
    orders = _orders(history, loyal)
    known = {row["buyer_id"]: row for row in _claims(history, loyal)}
    fresh = _one_each(orders, "food.fresh")
    # Of many good customers the ones that the model trusts most: on any healthy run there is an approval to be seen.
    spoiled = rank([_spoiled(order, known, now, photo=True) for order in fresh])[0]
    taken = [_buyer(spoiled)]
    kept = [order for order in orders if not order["category"].startswith(("food.fresh", "custom"))]
    returned = rank([_no_reason(order, known, now) for order in _one_each(kept, "", taken)])[0]
    taken.append(_buyer(returned))
    unproven = [_spoiled(order, known, now, photo=False) for order in fresh if order["buyer_id"] not in taken]
    if not unproven:
        raise RiskError(_TOO_FEW)
    return [spoiled, returned, rank(unproven)[0], _from_notorious_device(history, device, abuser, found, now)]


def _buyer(scene: Scene) -> str:
    return str(scene.claim["buyer"]["buyer_id"])


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
    return Scene(f"A good customer, part of a fresh order spoiled, {proof}", claim)


def _no_reason(order: Row, known: dict[str, Row], now: datetime) -> Scene:
    claim = _claim(order, known.get(order["buyer_id"], {}), now, delivered_hours=40)
    claim |= {
        "reason": "no_reason",
        "remedy": "return_and_refund",
        "return_method": "door_pickup",
        "amount": order["paid_amount"],
        "description": "I changed my mind.",
        "return_parcel": {"picked_up_at": _time(now - timedelta(hours=1))},
    }
    claim["items"][0]["opened"] = False
    return Scene("Another good customer sends back an unopened purchase, picked up an hour ago", claim)


def _from_notorious_device(history: Path, device: str, buyer: str, found: int, now: datetime) -> Scene:
    order = max(_orders(history, [buyer]), key=lambda order: int(order["paid_amount"]))
    known = next(iter(_claims(history, [buyer])), {})
    claim = _claim(order, known, now, delivered_hours=20)
    claim |= {
        "reason": "damaged",
        "remedy": "refund_only",
        "amount": order["paid_amount"],
        "description": "Broken. I want all of the money back and cannot return it.",
        "device": {"device_id": device},
        "evidence": [_photo(now)],
        "extra": {"image_seen_before": 1.0, "evidence_edited": 0.8},
    }
    times = "once" if found == 1 else f"{found} times"
    return Scene(f"A whole order claimed back, nothing returned, from a device with abuse confirmed {times}", claim)


def _claim(order: Row, known: Row, now: datetime, *, delivered_hours: float) -> dict[str, Any]:
    """A claim on a new order that went like one of the history, delivered some hours ago."""
    delivered = now - timedelta(hours=delivered_hours)
    later = delivered - order["delivered_at"]
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
        "merchant": {"merchant_id": order["merchant_id"], "guarantees": _PROMISED},
        "order": _present(
            order_id=f"demo-order-{secrets.token_hex(5)}",
            paid_at=_time(order["paid_at"] + later),
            paid_amount=price,
            refunded_amount=0,
            shipped_at=_time(order["shipped_at"] + later),
            promised_by=_time(order["promised_by"] + later),
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


def _one_each(orders: Sequence[Row], category: str, without: Sequence[str] = ()) -> list[Row]:
    """One order of each buyer, the best customers first."""
    first: dict[str, Row] = {}
    for order in orders:
        if order["category"].startswith(category) and order["buyer_id"] not in without:
            first.setdefault(order["buyer_id"], order)
    if not first:
        raise RiskError(_TOO_FEW)
    return list(first.values())[:AUDITION]


def _notorious(connection: Connection, span: dict[str, int]) -> tuple[str, str, int]:
    """A device with confirmed abuse, who used it last, and how often it was confirmed."""
    devices = connection.execute(_NOTORIOUS, span).fetchall()
    if not devices:
        raise RiskError(_TOO_FEW)
    # Not always the same one: each demonstration adds a claim to its past.
    device, found = secrets.choice(devices)
    row = connection.execute(_LAST_BUYER, {"device": device}).fetchone()
    return str(device), str(row[0]) if row else "", int(found)


def _orders(history: Path, buyers: Sequence[str]) -> list[Row]:
    """Orders of these buyers, in the order of the buyers."""
    rank = {buyer: place for place, buyer in enumerate(buyers)}
    table = pq.read_table(history / "orders.parquet", filters=[("buyer_id", "in", buyers)])
    rows: list[Row] = table.to_pylist()
    whole = ("item_id", "category", "shipped_at", "promised_by", "delivered_at")
    complete = (row for row in rows if all(row[name] for name in whole))
    return sorted(complete, key=lambda row: rank[row["buyer_id"]])


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
