"""What a cover says to a person, in both languages, and what is missing in words instead of places in a body."""

from collections.abc import Mapping, Sequence

from risk.policy.cover import Cover
from risk.policy.definition import Exclusion, Guarantee, Policy, Rule

_MISSING: Mapping[str, tuple[str, str]] = {
    "evidence/photo": ("a photo", "照片"),
    "evidence/video": ("a video", "视频"),
    "evidence/certificate": ("a certificate or appraisal", "证明或鉴定书"),
    "evidence/parcel_scan": ("a carrier's scan of the parcel", "包裹揽收记录"),
    "evidence/chat": ("the conversation with the shop", "与商家的聊天记录"),
    "affected_share": ("the share that is affected", "坏损比例"),
    "order/freight_amount": ("the freight that was paid", "已付运费金额"),
    "order/promised_by": ("the promised time", "承诺时间"),
    "order/paid_at": ("the time of payment", "付款时间"),
    "order/shipped_at": ("the time of shipping", "发货时间"),
    "order/delivered_at": ("the time of sign-for", "签收时间"),
    "order/intercepted_at": ("an interception of the parcel", "包裹拦截记录"),
    "order/lost_at": ("a record that the parcel is lost", "包裹丢失记录"),
    "return_parcel/shipped_at": ("a scan of the return", "退货寄出记录"),
    "return_parcel/picked_up_at": ("the courier's pick-up scan", "上门揽收记录"),
    "return_parcel/received_at": ("the return's arrival", "退货签收记录"),
    "return_parcel/tracking_number": ("the return's tracking number", "退货运单号"),
    "merchant/guarantees": ("what the shop has opted in to", "商家开通的保障"),
    "guarantees": ("what was promised with the item", "商品承诺的保障"),
    "category": ("the category of the goods", "商品类目"),
    "unit_price": ("the price of the item", "商品单价"),
    "opened": ("whether it was opened", "是否拆封"),
}


def name(code: str, guarantee: Guarantee | None) -> Mapping[str, str]:
    """What a guarantee is called."""
    return {"en": code, "zh": code} if guarantee is None else {"en": guarantee.en, "zh": guarantee.zh}


def sentences(policy: Policy, cover: Cover) -> dict[str, str]:
    """One sentence that a buyer can read, in each language."""
    guarantee = policy.guarantees[cover.guarantee]
    if cover.status == "not_covered" and cover.deciding is not None:
        return _refusal(guarantee, cover.deciding.rule)
    if cover.status == "unproven" and cover.deciding is not None:
        return _open(guarantee, cover.deciding.rule, missing_words(cover.needs))
    promise = cover.findings[0].rule if guarantee.amount.of == "advance" and cover.findings else guarantee.promise
    return {"en": f"{guarantee.en}: {promise.en}", "zh": f"{guarantee.zh}：{promise.zh}"}


def _open(guarantee: Guarantee, rule: Rule, missing: Mapping[str, str]) -> dict[str, str]:
    """What would have to be handed in; nothing would where the claim is in a currency that the policy is not about."""
    english, chinese = (f" Missing: {missing['en']}.", f"缺少：{missing['zh']}。") if missing["en"] else (" A person looks.", "由人工查看。")
    return {
        "en": f"Not proven yet for “{guarantee.en}”. {rule.en}{english}",
        "zh": f"“{guarantee.zh}”尚待证明。{rule.zh}{chinese}",
    }


def _refusal(guarantee: Guarantee, rule: Rule) -> dict[str, str]:
    """The sentence of an exclusion says what speaks against the claim; that of any other rule, what it would have taken."""
    if isinstance(rule, Exclusion):
        return {"en": f"Not covered by “{guarantee.en}”. {rule.en}", "zh": f"不在“{guarantee.zh}”范围内。{rule.zh}"}
    return {"en": f"Not covered by “{guarantee.en}”, which asks for this: {rule.en}", "zh": f"不符合“{guarantee.zh}”的要求：{rule.zh}"}


def unmet(cover: Cover) -> str:
    """For a reviewer: the clause that a claim does not meet, and the fact that it was judged by."""
    if cover.deciding is None:
        return cover.clause
    rule, fact = cover.deciding.rule, cover.deciding.fact
    asks = "" if isinstance(rule, Exclusion) else "asks for this: "
    return f"{cover.clause}: {asks}{rule.en} ({fact})"


def missing_words(needs: Sequence[str]) -> dict[str, str]:
    """What is missing, in words."""
    english, chinese = [], []
    for need in needs:
        words = [_words(place) for place in need.split("|")]
        english.append(" or ".join(dict.fromkeys(word[0] for word in words)))
        chinese.append("或".join(dict.fromkeys(word[1] for word in words)))
    return {"en": "; ".join(dict.fromkeys(english)), "zh": "、".join(dict.fromkeys(chinese))}


def _words(place: str) -> tuple[str, str]:
    if place in _MISSING:
        return _MISSING[place]
    last = place.rsplit("/", 1)[-1]
    return _MISSING.get(last, (last, last))
