"""Scenarios of cover, as somebody from the business writes them: what it shows, what is claimed, what is to be expected.

How a scenario is written stands in tests/scenarios/README.md.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from risk.claim import Claim, facts
from risk.policy.cover import Judgement, Request, judge
from risk.policy.definition import Policy, load_policies
from risk.policy.request import request_of

FOLDER = Path(__file__).parent / "scenarios"
USUAL: dict[str, Any] = {
    "paid": "2026-03-01T10:00:00+08:00",
    "shipped": "1 d after paid",
    "signed_for": "3 d after paid",
    "made": "1 h after signed_for",
    "category": "other",
    "price": 10_000,
    "currency": "CNY",
}
_ORDER = {"paid": "paid_at", "shipped": "shipped_at", "promised_by": "promised_by", "signed_for": "delivered_at",
          "intercepted": "intercepted_at", "lost": "lost_at"}  # fmt: skip
_RETURN = {"return_shipped": "shipped_at", "picked_up": "picked_up_at", "received": "received_at"}
_ITEM = {"category": "category", "price": "unit_price", "quantity": "quantity", "item_promises": "guarantees", "opened": "opened",
         "confirmed": "no_return_confirmed", "intact": "intact", "item_share": "affected_share"}  # fmt: skip
_OTHER = {"reason", "remedy", "amount", "currency", "share", "promises", "evidence", "freight", "amount_paid", "zone", "tracking",
          "items", "left", "used", "made"}  # fmt: skip
_KNOWN = {*_ORDER, *_RETURN, *_ITEM, *_OTHER}
_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "min": timedelta(minutes=1), "s": timedelta(seconds=1),
          "us": timedelta(microseconds=1)}  # fmt: skip
_RELATIVE = re.compile(r"((?:\d+ (?:d|h|min|s|us) )+)(after|before) (\w+)")


class _Loader(yaml.SafeLoader):
    """Times stay texts: their offset is part of what is tested."""


_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True)
class Scenario:
    """One claim and what the policy has to say of it."""

    file: str
    shows: str
    said: Mapping[str, Any]
    expect: Mapping[str, Any]

    @property
    def claim(self) -> Claim:
        return Claim.model_validate_json(json.dumps(_body(self.said)))

    @property
    def policy(self) -> Policy | None:
        return load_policies().at(facts(self.claim)["paid_at"])

    @property
    def request(self) -> Request:
        return request_of(self.claim, left=self.said.get("left"), used=self.said.get("used", ()))

    @property
    def judgement(self) -> Judgement:
        return judge(self.policy, self.request)


def scenarios() -> list[Scenario]:
    return [scenario for file in sorted(FOLDER.glob("*.yaml")) for scenario in _of_file(file)]


def _of_file(file: Path) -> Iterator[Scenario]:
    document = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)
    for one in document["scenarios"]:
        said = USUAL | document.get("usual", {}) | one["claim"]
        unknown = {*said, *(key for item in said.get("items", ()) for key in item)} - _KNOWN
        if unknown or one.keys() != {"shows", "claim", "expect"}:
            raise ValueError(f"{file.name}: {one.get('shows')}: no such words: {sorted(unknown) or sorted(one)}")
        yield Scenario(file.name, one["shows"], {key: value for key, value in said.items() if value != "unknown"}, one["expect"])


def _body(said: Mapping[str, Any]) -> dict[str, Any]:
    moments = _moments(said)
    items = [_item(place, said, own) for place, own in enumerate(said.get("items", [{}]))]
    price = sum(item.get("unit_price", 0) * item.get("quantity", 1) for item in items)
    freight = said.get("freight")
    order = {_ORDER[name]: moment for name, moment in moments.items() if name in _ORDER}
    order |= {"order_id": "order", "paid_amount": said.get("amount_paid", price + (freight or 0))}
    order |= {"freight_amount": freight} if freight is not None else {}
    order |= {"time_zone": said["zone"]} if "zone" in said else {}
    parcel = {_RETURN[name]: moment for name, moment in moments.items() if name in _RETURN}
    parcel |= {"tracking_number": said["tracking"]} if "tracking" in said else {}
    merchant = {"merchant_id": "merchant"} | ({"guarantees": said["promises"]} if "promises" in said else {})
    body = {
        "claim_id": "claim", "submitted_at": moments["made"], "reason": said["reason"], "remedy": said["remedy"],
        "amount": said.get("amount", price or 1), "currency": said["currency"], "buyer": {"buyer_id": "buyer"},
        "merchant": merchant, "order": order, "items": items,
        "evidence": [{"evidence_id": f"{place}", "kind": kind} for place, kind in enumerate(said.get("evidence", ()))],
    }  # fmt: skip
    return body | ({"affected_share": said["share"]} if "share" in said else {}) | ({"return_parcel": parcel} if parcel else {})


def _item(place: int, said: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    whole = {**said, **own}
    return {"item_id": f"item {place + 1}"} | {
        theirs: whole[ours] for ours, theirs in _ITEM.items() if whole.get(ours, "unknown") != "unknown"
    }


def _moments(said: Mapping[str, Any]) -> dict[str, str]:
    known: dict[str, datetime] = {}
    for name in (*_ORDER, *_RETURN, "made"):
        text = said.get(name, "none")
        if text == "none":
            continue
        relative = _RELATIVE.fullmatch(text)
        if relative is None:
            known[name] = datetime.fromisoformat(text)
            continue
        parts = relative[1].split()
        length = sum((int(number) * _UNITS[unit] for number, unit in zip(parts[::2], parts[1::2], strict=True)), timedelta())
        known[name] = known[relative[3]] + (length if relative[2] == "after" else -length)
    return {name: moment.isoformat() for name, moment in known.items()}
