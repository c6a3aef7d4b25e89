"""A decision as a card that somebody understands who has never seen the service."""

import os
import sys
import textwrap
from typing import Any

from risk.gates import UNCOVERED
from serving.demo.cast import Scene
from serving.demo.client import Answer

WIDTH = 84
_LABEL = 10
_GREEN, _YELLOW, _BOLD, _PLAIN = "\033[32m", "\033[33m", "\033[1m", "\033[0m"
_VERDICT = {"approve": "APPROVED AT ONCE", "review": "GOES TO A PERSON"}
_REASON = {"spoiled": "spoiled", "no_reason": "changed mind", "damaged": "damaged"}
_REMEDY = {"refund_only": "money back, goods kept", "return_and_refund": "goods back, then money"}


def card(number: int, scene: Scene, answer: Answer, *, reasons: list[dict[str, Any]], language: str) -> str:
    """The lines of one decision; `reasons` most weighty first."""
    body, claim = answer.body, scene.claim
    verdict = _VERDICT[body["decision"]]
    colour = _GREEN if body["decision"] == "approve" else _YELLOW
    lines = [_paint(f"{number}  {scene.title}", _BOLD)]
    lines += _line("decision", _paint(verdict, colour) + f"   in {answer.milliseconds:.0f} ms")
    lines += _line("who", _who(claim))
    lines += _line("asks", _asks(claim))
    lines += _covered(body, language)
    lines += _line("score", _score(body["risk"]))
    unsaid = {"cover", "score"} if body["risk"]["threshold"] is None else {"cover"}
    because = [_gate(gate, claim) for gate in body["gates"] if not gate["passed"] and gate["gate"] not in unsaid]
    lines += [part for said in because if said != UNCOVERED for part in _line("because", said)]
    for place, reason in enumerate(reasons[:3]):
        sign = "+" if reason["direction"] == "raises" else "-"
        label = "reasons" if place == 0 else ""
        lines += _line(label, f"{sign} {reason['text']['en']}")
        if language == "zh":
            lines += _line("", f"  {reason['text']['zh']}", wrap=False)
    if body["case_id"]:
        lines += _line("next", f"waits for a reviewer as {body['case_id']}")
    elif body["audit"]["selected"]:
        lines += _line("next", "paid; drawn at random for a later look by a person")
    return "\n".join(lines)


def money(amount: int, currency: str) -> str:
    """Minor units as people write them."""
    return f"{currency} {amount / 100:,.2f}"


def _who(claim: dict[str, Any]) -> str:
    device = claim.get("device", {}).get("device_id")
    parts = [f"buyer {claim['buyer']['buyer_id'][:8]}", f"shop {claim['merchant']['merchant_id'][:8]}"]
    parts += [f"device {device[:8]}"] if device else []
    return ", ".join([*parts, claim["items"][0]["category"]])


def _asks(claim: dict[str, Any]) -> str:
    share = money(claim["order"]["paid_amount"], claim["currency"])
    wish = f"{_REASON[claim['reason']]}: {_REMEDY[claim['remedy']]}"
    return f"{money(claim['amount'], claim['currency'])} of {share} paid ({wish})"


def _covered(body: dict[str, Any], language: str) -> list[str]:
    """What the guarantee that covers the claim says, or why the one that comes nearest does not."""
    said = [cover for cover in body["cover"] if cover["guarantee"] == body["guarantee"]]
    said = said or sorted(body["cover"], key=lambda cover: cover["status"] != "unproven")[:1]
    lines = [part for cover in said for part in _line("covered" if body["guarantee"] else "cover", cover["text"]["en"])]
    return lines + [part for cover in said if language == "zh" for part in _line("", cover["text"]["zh"], wrap=False)]


def _score(risk: dict[str, Any]) -> str:
    if risk["score"] is None:
        return "none could be computed"
    if risk["threshold"] is None:
        return f"{risk['score']:.1%} likely to be abuse, no limit is certified"
    side = "under" if risk["score"] <= risk["threshold"] else "over"
    return f"{risk['score']:.1%} likely to be abuse, {side} the limit of {risk['threshold']:.1%}"


def _gate(gate: dict[str, Any], claim: dict[str, Any]) -> str:
    if gate["gate"] == "score":
        return "the risk is over the limit"
    if gate["gate"] == "promise":
        # The figures behind it are in the certificate.
        return ": ".join(str(gate["detail"]).split(": ")[:2])
    if gate["gate"] == "order_amount" and "may be approved at once" in gate["detail"]:
        return f"{money(claim['amount'], claim['currency'])} is more than may be approved at once"
    return str(gate["detail"])


def _line(label: str, text: str, *, wrap: bool = True) -> list[str]:
    indent = " " * (3 + _LABEL)
    parts = textwrap.wrap(text, WIDTH - len(indent), subsequent_indent="  ") if wrap else [text]
    return [f"   {label:<{_LABEL}}{parts[0]}", *(indent + part for part in parts[1:])]


def _paint(text: str, colour: str) -> str:
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ
    return text if plain else f"{colour}{text}{_PLAIN}"
