"""Bodies and answers as the page at /docs shows them: those of the README's first call, and an event of each type."""

from typing import Any

from risk.claim import Claim
from risk.policy.cover import judge
from risk.policy.definition import load_policies
from risk.policy.request import request_of
from risk.promise.appetite import load_appetite
from serving.answer import cover_parts

CLAIM: dict[str, Any] = {
    "claim_id": "first-1", "submitted_at": "2026-11-20T18:00:00+08:00",
    "reason": "spoiled", "remedy": "refund_only", "amount": 1500, "currency": "CNY",
    "affected_share": 0.15,
    "buyer": {"buyer_id": "b-1"}, "merchant": {"merchant_id": "m-1", "guarantees": ["fresh_spoilage"]},
    "order": {"order_id": "o-1", "paid_at": "2026-11-17T09:30:00+08:00", "paid_amount": 9900,
              "delivered_at": "2026-11-20T12:00:00+08:00"},
    "items": [{"item_id": "i-1", "category": "food.fresh.fruit"}],
    "evidence": [{"evidence_id": "p-1", "kind": "photo"}],
}  # fmt: skip
_GATES = {
    "bundle": "bundle 2026-06-30-5a452f5c",
    "history": "the past of all parties was read",
    "facts": "no fact contradicts another",
    "order": "nothing known of the order contradicts the claim",
    "order_amount": "1500 asked, 9900 left of the order",
    "cover": "covered by fresh_spoilage",
    "remedy": "refund_only asked, fresh_spoilage gives refund_only",
    "cover_amount": "1500 asked, 2970 covered",
    "express": "may be paid at once: without_return",
    "promise": "cert-2026-10-01-7d3f09ab, segment small: at most 3.00% of the money is abuse, confidence 90.0%, until 2026-12-30",
    "score": "score 0.0258, threshold 0.0500",
    "switch": "approving at once is turned on",
    "quota": "buyer (new): 1500 asked, 0 of 50000 in use",
}
_PARCEL: dict[str, Any] = {"order_id": "o-1", "carrier": "swift", "tracking_number": "SF1234567890"}
EVENTS: dict[str, dict[str, Any]] = {
    "order_paid": {"event_id": "e-1", "occurred_at": "2026-11-17T09:30:00+08:00", "order_id": "o-1", "buyer_id": "b-1",
                   "merchant_id": "m-1", "amount": 9900, "currency": "CNY", "channel": "live", "item_id": "i-1"},
    "order_shipped": {"event_id": "e-2", "occurred_at": "2026-11-18T16:00:00+08:00", **_PARCEL},
    "order_delivered": {"event_id": "e-3", "occurred_at": "2026-11-20T12:00:00+08:00", **_PARCEL},
    "return_shipped": {"event_id": "e-4", "occurred_at": "2026-11-21T10:00:00+08:00", "order_id": "o-1", "claim_id": "first-1",
                       "carrier": "swift", "tracking_number": "SF1234567891"},
    "return_received": {"event_id": "e-5", "occurred_at": "2026-11-23T15:00:00+08:00", "order_id": "o-1", "claim_id": "first-1"},
    "claim_outcome": {"event_id": "e-6", "occurred_at": "2026-11-24T09:00:00+08:00", "claim_id": "first-1", "outcome": "part",
                      "amount": 1500, "note": "part of the fruit was sound"},
    "return_overdue": {"event_id": "e-11", "occurred_at": "2026-12-20T09:00:00+08:00", "claim_id": "first-1"},
    "refund_recovered": {"event_id": "e-12", "occurred_at": "2026-12-22T09:00:00+08:00", "claim_id": "first-1", "amount": 1500,
                         "note": "paid back by the merchant"},
    "abuse_label": {"event_id": "e-7", "occurred_at": "2026-12-20T09:00:00+08:00", "claim_id": "first-1", "label": "legitimate",
                    "source": "investigation"},
    "chargeback": {"event_id": "e-8", "occurred_at": "2026-12-28T09:00:00+08:00", "order_id": "o-1", "amount": 9900,
                   "claim_id": "first-1"},
    "merchant_sanction": {"event_id": "e-9", "occurred_at": "2026-12-29T09:00:00+08:00", "merchant_id": "m-1",
                          "note": "sold spoiled goods again"},
    "creator_sanction": {"event_id": "e-10", "occurred_at": "2026-12-29T09:00:00+08:00", "creator_id": "c-1"},
}  # fmt: skip
"""By type."""


def answer() -> dict[str, Any]:
    """What the claim is answered; its cover is what the shipped policy says."""
    request = request_of(Claim.model_validate(CLAIM, strict=False))
    judgement = judge(load_policies().at(request.moments["paid_at"]), request)
    return {
        "claim_id": "first-1",
        "decision": "approve",
        "decided_at": "2026-11-20T10:00:01.250000Z",
        "guarantee": judgement.best.guarantee if judgement.best else None,
        "cover": cover_parts(judgement),
        "needs": list(judgement.needs),
        "risk": {
            "score": 0.025823,
            "threshold": 0.05,
            "model_version": "2026-06-30-5a452f5c",
            "segment": "small",
            "certificate_id": "cert-2026-10-01-7d3f09ab",
        },
        "reasons": [],
        "gates": [{"gate": gate, "passed": True, "detail": detail} for gate, detail in _GATES.items()],
        "approved_amount": 1500,
        "quota": {"limit": 9900, "used": 0, "reserved": 1500},
        "quotas": [{"party": "buyer", "step": "new", "limit": 50000, "used": 0, "reserved": 1500}],
        "audit": {"selected": False, "probability": 0.01},
        "case_id": None,
        "policy_version": judgement.policy.version if judgement.policy else "none",
        "appetite_version": load_appetite().version,
    }


def bodies() -> dict[str, dict[str, Any]]:
    """What the calls take, by call and then by what it shows."""
    return {
        "decide": {"Fruit of which a part is spoiled": CLAIM},
        "decideBatch": {"One claim": {"claims": [CLAIM]}},
        "turnSwitch": {
            "Everything goes to a person": {"on": False, "why": "parcels of one carrier are reported lost by the hundred"},
            "A segment is approved again": {"segment": "small", "on": True, "why": "the carrier's scans are back"},
        },
        "events": {kind: {"events": [{"type": kind} | event]} for kind, event in EVENTS.items()},
    }
