"""Rows of a history as the bodies that the claims service would have sent."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = {"photo_count": "photo", "video_count": "video", "certificate_count": "certificate",
          "scan_count": "parcel_scan", "chat_count": "chat"}  # fmt: skip


def body(row: Mapping[str, Any], signals: tuple[str, ...] = ()) -> dict[str, Any]:
    """The request of one claim; `row` has the columns of `History.claims`, times in microseconds."""
    order_times = {
        name: _time(row[name]) for name in ("shipped_at", "promised_by", "delivered_at", "intercepted_at", "lost_at")
    }
    parcel = {name: _time(row[f"return_{name}"]) for name in ("shipped_at", "picked_up_at", "received_at")}
    evidence = [
        {"evidence_id": f"{kind}-{place}", "kind": kind}
        for column, kind in _KINDS.items()
        for place in range(row[column] or 0)
    ]
    item = {
        "item_id": row["item_id"],
        "category": row["category"],
        "quantity": row["quantity"],
        "unit_price": row["unit_price"],
        "guarantees": _codes(row["item_guarantees"]),
        "opened": _flag(row["opened"]),
        "no_return_confirmed": _flag(row["no_return_confirmed"]),
    }
    others = [{"item_id": f"other-{row['claim_id']}-{place}", "category": "other"} for place in range((row["item_count"] or 1) - 1)]
    return _known(
        {
            "claim_id": row["claim_id"],
            "submitted_at": _time(row["submitted_at"]),
            "reason": row["reason"],
            "remedy": row["remedy"],
            "amount": row["amount"],
            "currency": "CNY",
            "description": row["description"],
            "return_method": row["return_method"],
            "affected_share": row["affected_share"],
            "buyer": {
                "buyer_id": row["buyer_id"],
                "registered_at": _time(row["registered_at"]),
                "verified": _flag(row["verified"]),
                "guest": _flag(row["guest"]),
            },
            "merchant": {"merchant_id": row["merchant_id"], "guarantees": _codes(row["merchant_guarantees"])},
            "order": {
                "order_id": row["order_id"],
                "paid_at": _time(row["paid_at"]),
                **{name: row[name] for name in ("paid_amount", "refunded_amount", "channel", "creator_id", "address_id",
                                                "payment_id", "carrier", "tracking_number")},
                **order_times,
            },
            "items": [item, *others],
            "device": {"device_id": row["device_id"]},
            "extra": {name: row[name] for name in signals if row[name] is not None},
            "return_parcel": parcel if any(parcel.values()) else None,
            "evidence": evidence,
        }
    )  # fmt: skip


def _time(moment: int | None) -> str | None:
    return None if moment is None else (_EPOCH + timedelta(microseconds=moment)).isoformat()


def _codes(text: str | None) -> list[str] | None:
    return None if text is None else text.split()


def _flag(value: int | None) -> bool | None:
    return None if value is None else bool(value)


def _known(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _known(value) for name, value in part.items() if value is not None}
    return [_known(value) for value in part] if isinstance(part, list) else part
