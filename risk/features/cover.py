"""What the score sees of cover: how the principal item of a claim stands under the guarantees that held at purchase.

Bulk and online call this very function with the same facts, so both see the same to the bit.
"""

from risk.features.columns import Facts, Value
from risk.policy import request
from risk.policy.cover import Cover, Judgement, judge_whole
from risk.policy.definition import MOMENTS, Policy, load_policies

PARTS = ("status", "guarantee", "margin_hours", "missing", "share")
WORDS = ("status", "guarantee")
"""Parts whose values are words."""
COLUMNS = (
    "submitted_at", *MOMENTS, "amount", "paid_amount", "unit_price", "quantity", "item_count", "affected_share", "opened",
    "no_return_confirmed", "photo_count", "video_count", "certificate_count", "scan_count", "chat_count", "reason", "remedy",
    "category", "merchant_guarantees", "item_guarantees",
)  # fmt: skip
"""All columns that a judgement looks at."""
Parts = tuple[Value, ...]
"""The values of `PARTS`, in their order."""
_NOTHING: Parts = ("none", None, None, 0, None)
"""Where no guarantee could apply, or no policy held."""
_HOUR = 3_600_000_000


def cover_of(known: Facts) -> Parts:
    """The parts of one claim; a share that is none counts as unknown."""
    policy = load_policies().at(known["paid_at"])
    if policy is None:
        return _NOTHING
    share = known["affected_share"]
    if share is not None and not 0 <= share <= 1:
        known = {**known, "affected_share": None}
    return parts_of(judge_whole(policy, request.request_of_facts(known)), known["amount"])


def parts_of(judgement: Judgement, amount: int) -> Parts:
    """The parts of a claim that was judged already, for the whole of its order.

    They tell of one guarantee: the one that is best for the buyer, or else the first that lacks a proof, or else the first
    that does not cover. Services without money of their own and advances on another guarantee are left out.
    """
    cover = None if judgement.policy is None else _telling(judgement.policy, judgement)
    if cover is None:
        return _NOTHING
    margin = None if cover.margin is None else float(cover.margin) / _HOUR
    part = float(amount) / float(cover.max_amount) if cover.max_amount else None
    return cover.status, cover.guarantee, margin, len(cover.needs), part


def _telling(policy: Policy, judgement: Judgement) -> Cover | None:
    if judgement.best is not None and _pays(policy, judgement.best):
        return judgement.best
    paying = [cover for cover in judgement.covers if _pays(policy, cover)]
    for status in ("covered", "unproven", "not_covered"):
        found = next((cover for cover in paying if cover.status == status), None)
        if found is not None:
            return found
    return None


def _pays(policy: Policy, cover: Cover) -> bool:
    return cover.pays_money or policy.guarantees[cover.guarantee].pays_money
