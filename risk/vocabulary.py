"""The closed lists of the interface: one spelling of each word for requests, histories, features and texts."""

from typing import Literal, get_args

Reason = Literal[
    "no_reason", "not_shipped", "not_received", "damaged", "spoiled", "allergy", "quality", "counterfeit",
    "wrong_item", "missing_item", "not_as_described", "return_freight",
]  # fmt: skip
Remedy = Literal["refund_only", "return_and_refund", "reship", "freight"]
ReturnMethod = Literal["self_ship", "door_pickup", "in_store"]
Channel = Literal["live", "video", "search", "shop"]
EvidenceKind = Literal["photo", "video", "certificate", "parcel_scan", "chat"]
Guarantee = Literal[
    "authenticity", "seven_day_return", "express_refund", "freight_insurance", "door_pickup", "fresh_spoilage",
    "beauty_allergy", "damage_return", "late_or_lost_delivery",
]  # fmt: skip
Label = Literal["abuse", "legitimate", "undecided"]

REASONS: tuple[str, ...] = get_args(Reason)
REMEDIES: tuple[str, ...] = get_args(Remedy)
RETURN_METHODS: tuple[str, ...] = get_args(ReturnMethod)
CHANNELS: tuple[str, ...] = get_args(Channel)
EVIDENCE_KINDS: tuple[str, ...] = get_args(EvidenceKind)
GUARANTEES: tuple[str, ...] = get_args(Guarantee)
LABELS: tuple[str, ...] = get_args(Label)
