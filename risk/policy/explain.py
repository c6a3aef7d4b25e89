"""`explain`: what each guarantee of a policy says of one claim, rule by rule, with what it was judged by."""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

from pydantic import ValidationError

from risk.claim import Claim
from risk.errors import InputError, Problem, RiskError
from risk.policy.check import read_files, read_text
from risk.policy.cover import Cover, Finding, Goods, Judgement, Request, judge
from risk.policy.definition import MOMENTS, Amount, Policy, Window, load_policies
from risk.policy.request import request_of
from risk.policy.words import (
    LANGUAGES,
    Language,
    exactly,
    in_language,
    indented,
    joined,
    moment,
    money,
    padded,
    validity,
)
from risk.validation import problems_of

_LABEL, _GAP = 12, 3
_COLOURS = {"covered": "\033[32m", "unproven": "\033[33m", "not_covered": "\033[31m"}
_BOLD, _PLAIN = "\033[1m", "\033[0m"
_HOLDS: Mapping[bool | None, str] = {True: "holds", False: "fails", None: "not known"}
_SAID: Mapping[str, tuple[str, str]] = {
    "policy": ("policy", "政策"), "claim": ("claim", "申请"), "order": ("order", "订单"), "goods": ("goods", "商品"),
    "shop": ("shop", "商家"), "proof": ("proof", "凭证"), "left": ("left", "可退余额"), "item": ("item", "商品"),
    "covered": ("covered", "保障"), "not_covered": ("not covered", "不保障"), "unproven": ("unproven", "待证明"),
    "does_not_apply": ("does not apply", "不适用"),
    "holds": ("holds", "符合"), "fails": ("fails", "不符合"), "not known": ("not known", "未知"), "missing": ("missing", "缺少"),
    "pays": ("pays", "赔付"),
    "up to": ("up to {}", "最多 {}"), "what is left": ("what is left of the order", "订单可退余额"),
    "not about reason": ("is not about {}", "不涉及 {}"), "grade": ("grade {}", "等级 {}"), "until": ("until {}", "截至 {}"),
    "best": ("best cover", "最优保障"), "supported": ("supported", "支持金额"), "trigger": ("pay first", "先行退款"),
    "contradictions": ("contradicts", "矛盾"), "none": ("none", "无"), "of asked": ("{} of {} asked for", "{}，申请金额 {}"),
    "no trigger": ("no: nothing lets money go out before the goods are back", "否：尚无先行退款的依据"),
    "without return": ("the goods need not come back", "无需退货"),
    "promised": ("promised {}", "承诺 {}"), "not said": ("nobody said what was promised", "承诺情况未知"), "nothing": ("nothing", "无"),
    "made": ("made {}", "提交于 {}"), "zone": ("clocks of {}", "时区 {}"),
    "in full": ("{} asked for, in full", "{}，即申请金额全额"),
}  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help="policy as TOML (default: the shipped one valid at purchase)")
    parser.add_argument("--claim", type=Path, required=True, metavar="JSON", help="a body of POST /v1/claims")
    parser.add_argument("--lang", choices=LANGUAGES, default="en", help="language of the sentences (default: en)")
    parser.add_argument("--left", type=int, metavar="N", help="what may still be paid for the order, in minor units (default: no limit)")


def run(args: argparse.Namespace) -> None:
    """Print what the policy says; a policy that was not valid at purchase is explained all the same."""
    claim = read_claim(args.claim)
    request = request_of(claim, left=args.left)
    policy, name = _policy(args.file, request)
    lines = explained(judge(policy, request), policy, request, args.lang, name=name, asked=claim.currency, claim_id=claim.claim_id)
    print("\n".join(lines))


def read_claim(file: Path) -> Claim:
    """The claim in a file; an InputError lists everything wrong with it, with JSON pointers."""
    try:
        return Claim.model_validate_json(read_text(file))
    except ValidationError as error:
        problems = problems_of(error)
        raise InputError([Problem(f"{file}#{one.where}" if one.where else str(file), one.detail) for one in problems]) from error


def _policy(file: Path | None, request: Request) -> tuple[Policy, str]:
    """The policy to explain, and what it is called."""
    paid = request.moments["paid_at"]
    if file is None:
        policy = load_policies().at(paid)
        if policy is None:
            shipped = "; ".join(f"{one.version} {validity(one, 'en')}" for one in load_policies().all)
            raise RiskError(f"no shipped policy was valid at purchase ({_paid(request, request.time_zone or 'UTC')}): {shipped}. Name a FILE.")
        return policy, policy.version
    [(_, policy)] = read_files([file])
    if paid is None or not policy.holds_at(paid):
        said = f"{policy.version} was not valid at purchase ({_paid(request, _zone(policy, request))}); it holds {validity(policy, 'en')}"
        print(f"note: {said}. Explained all the same.", file=sys.stderr)
    return policy, f"{policy.version} ({file})"


def _paid(request: Request, zone: str) -> str:
    paid = request.moments["paid_at"]
    return "not known" if paid is None else f"{moment(paid, zone)} {zone}"


def _zone(policy: Policy, request: Request) -> str:
    return request.time_zone or policy.time_zone


def explained(
    judgement: Judgement, policy: Policy, request: Request, language: Language, *, name: str, asked: str, claim_id: str
) -> Iterator[str]:
    """The lines that tell a person what a policy says of a claim; `asked` is the claim's own currency."""
    page = _Page(judgement, policy, request, language, asked)
    yield from page.head(name, claim_id)
    yield ""
    yield from page.guarantees()
    yield ""
    yield from page.together()


class _Page:
    def __init__(self, judgement: Judgement, policy: Policy, request: Request, language: Language, asked: str) -> None:
        self._judgement, self._policy, self._request, self._language, self._asked = judgement, policy, request, language, asked
        self._zone = _zone(policy, request)

    def head(self, name: str, claim_id: str) -> Iterator[str]:
        """What is judged."""
        request = self._request
        made = self._say("made", moment(request.submitted_at, self._zone))
        zone = self._say("zone", self._zone)
        yield from self._line("policy", f"{name}, {validity(self._policy, self._language)}; {zone}")
        yield from self._line("claim", f"{claim_id}: {request.reason}, {request.remedy}, {money(request.amount, self._asked)}, {made}")
        moments = [(place, name) for name in MOMENTS if (place := request.moments.get(name)) is not None]
        yield from self._line("order", ", ".join(f"{name} {moment(place, self._zone)}" for place, name in moments))
        for goods in request.goods:
            yield from self._line("goods", self._goods(goods))
        yield from self._line("shop", self._promised(request.promises))
        yield from self._line("proof", joined(sorted(request.evidence), self._language) or self._say("none"))
        if request.left is not None:
            yield from self._line("left", money(request.left, self._asked))

    def _goods(self, goods: Goods) -> str:
        facts = {name: getattr(goods, name) for name in ("opened", "no_return_confirmed", "intact", "affected_share")}
        said = [str(goods.category)] + ([] if goods.value is None else [money(goods.value, self._asked)])
        said += [f"{name}: {str(value).lower()}" for name, value in facts.items() if value is not None]
        return ", ".join([f"{goods.item_id}: {said[0]}", *said[1:]] + ([] if goods.promises is None else [self._promised(goods.promises)]))

    def _promised(self, promises: frozenset[str] | None) -> str:
        if promises is None:
            return self._say("not said")
        return self._say("promised", joined(sorted(promises), self._language) or self._say("nothing"))

    def guarantees(self) -> Iterator[str]:
        """One line for each guarantee; below it, where it applies, its rules."""
        covers = {cover.guarantee: cover for cover in self._judgement.covers}
        for code, cover in covers.items():
            amount = self._amount(cover)
            yield self._row(code, cover.status, cover.clause, amount)
            yield from self._rules(cover)
            yield ""
        for code in self._policy.guarantees:
            if code not in covers:
                yield self._row(code, "does_not_apply", "-", self._why_not(code))

    def _row(self, code: str, status: str, clause: str, last: str) -> str:
        columns = max(map(len, self._policy.guarantees)) + _GAP
        clauses = max([len(cover.clause) for cover in self._judgement.covers], default=1) + _GAP
        shown = padded(self._say(status), 14 + _GAP)
        return padded(_paint(code, _BOLD), columns + len(_paint("", _BOLD))) + _paint(shown, _COLOURS.get(status, "")) + padded(clause, clauses) + last

    def _amount(self, cover: Cover) -> str:
        in_advance = self._policy.guarantees[cover.guarantee].amount.of == "advance"
        if cover.status == "covered" and in_advance and self._request.left is None:
            return self._say("what is left")
        return self._say("up to", money(cover.max_amount, self._policy.currency))

    def _why_not(self, code: str) -> str:
        guarantee, request = self._policy.guarantees[code], self._request
        if request.reason not in guarantee.reasons:
            return self._say("not about reason", request.reason)
        return self._say("not about reason", joined([str(goods.category) for goods in request.goods], self._language))

    def _rules(self, cover: Cover) -> Iterator[str]:
        end = self._end(cover)
        for item, findings in groupby(cover.findings, key=lambda finding: finding.item):
            if item is not None:
                yield from self._line("item", item, left=_GAP)
            for finding in findings:
                yield from self._rule(finding, end)
        if cover.needs:
            yield from self._line("missing", ", ".join(need.replace("|", " or ") for need in cover.needs), left=_GAP)
        if len(cover.by_item) > 1:
            parts = [f"{item} {money(amount, self._policy.currency)}" for item, amount in cover.by_item.items()]
            yield from self._line("pays", ", ".join(parts), left=_GAP)

    def _rule(self, finding: Finding, end: str | None) -> Iterator[str]:
        rule, fact = finding.rule, self._fact(finding)
        if isinstance(rule, Window) and finding.holds is not None and end is not None:
            fact += f" ({end})"
        yield from self._line(_HOLDS[finding.holds], in_language(rule, self._language), left=_GAP)
        yield from self._line("", f"= {fact}", left=_GAP)
        values = exactly(rule, self._policy.currency, self._language)
        source = f"{rule.source}, {self._say('grade', rule.grade)}"
        kind = finding.clause.partition("/")[2]
        yield from self._line("", " | ".join(part for part in (kind, values, source) if part), left=_GAP)

    def _fact(self, finding: Finding) -> str:
        """The fact as the judgement says it, with money as people write it."""
        if not isinstance(finding.rule, Amount):
            return finding.fact
        words = finding.fact.split(" ")
        return " ".join(money(int(word), self._policy.currency) if word.isdecimal() else word for word in words)

    def _end(self, cover: Cover) -> str | None:
        """When the window of a cover ends, where it is one and the same for all goods."""
        windows = {(finding.clause, finding.fact) for finding in cover.findings if isinstance(finding.rule, Window)}
        if len(windows) != 1 or cover.margin is None:
            return None
        return self._say("until", moment(self._request.submitted_at + cover.margin, self._zone))

    def together(self) -> Iterator[str]:
        """What follows from all guarantees."""
        judgement, currency = self._judgement, self._policy.currency
        best, trigger = judgement.best, judgement.trigger
        said = f"{best.guarantee}, {self._amount(best)}" if best else self._say("none")
        yield from self._line("best", said)
        supported, asked = money(judgement.supported, currency), money(self._request.amount, self._asked)
        yield from self._line("supported", self._say("in full", asked) if supported == asked else self._say("of asked", supported, asked))
        rule = self._policy.triggers.get(trigger or "")
        why = in_language(rule, self._language) if rule else self._say("without return")
        yield from self._line("trigger", f"{trigger}: {why}" if trigger else self._say("no trigger"))
        yield from self._line("contradictions", "; ".join(judgement.problems) or self._say("none"))

    def _line(self, label: str, text: str, *, left: int = 0) -> Iterator[str]:
        return indented(self._say(label) if label else "", text, left=left, columns=_LABEL)

    def _say(self, word: str, *values: str) -> str:
        return _SAID[word][LANGUAGES.index(self._language)].format(*values)


def _paint(text: str, colour: str) -> str:
    plain = not colour or not sys.stdout.isatty() or "NO_COLOR" in os.environ
    return text if plain else f"{colour}{text}{_PLAIN}"
