"""`table`: policies as a page that a person can read; docs/guarantees.md is what it prints for the shipped ones."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from risk.claim import microseconds
from risk.policy.check import read_files
from risk.policy.definition import Guarantee, Policy, Rule, Sentence, load_policies
from risk.policy.words import LANGUAGES, Language, exactly, in_language, joined, money, narrowed, validity

_INTRODUCTION: Mapping[Language, str] = {
    "en": """\
# Guarantees

What buyers were promised, which claims it covers, and up to which amount. This page is printed by
`python -m risk.policy table` from the policy files in `risk/policy/`; do not edit it.

A **guarantee** is a published promise, or a right that the law gives (statutory). It is a list of rules, and the name of
a rule is its **clause**: the guarantee and the kind of rule, with a number where there are several of a kind
(`damage_return/window/2`). A claim is judged by the policy that was valid when the order was paid, guarantee by guarantee:

- **covered**: every rule holds. The guarantee pays up to an amount; whether money goes out at once is decided by the gates.
- **not covered**: a rule fails, and its clause says which. This is never a denial: the claim goes to a person, who sees the
  clause.
- **unproven**: a fact or a proof is missing that would decide it. The answer says what would be needed.

A **trigger** is an event after which money may go out before the goods are back. Times are counted on the clocks of the
order's time zone, or of the policy's where the order does not say. What nobody stated is not known, with two exceptions for
the buyer: until somebody states otherwise, goods are intact and nobody confirmed that they cannot be returned.

Each rule says how sure it is. P: the text of a law or of a platform's own rules. V: a vendor or a survey. J: press.
S: second-hand. A: an assumption of ours.

## How to change a policy

What changes for purchases from some day on is a new policy: copy the file, give the copy a new `version` and `valid_from`,
and end the earlier one with `valid_until` at the same moment. A mistake is mended where it stands. Change the value and both
sentences: buyers read the sentences, and `check` warns where they do not say the number. Then

    python -m risk.policy check risk/policy/*.toml                         # everything that is wrong, with its line
    python -m risk.policy explain risk/policy/NEW.toml --claim claim.json  # what it says of one claim, rule by rule
    python -m risk.policy table > docs/guarantees.md                       # this page anew; a test compares it

`claim.json` is a body of `POST /v1/claims`; `--lang zh` tells it in Chinese. Then restart: a running service keeps the policies
that it started with. The score's features of cover change with the policy, so evaluate the model again.
""",
    "zh": """\
# 保障说明

买家得到哪些承诺、哪些申请受保障、最多赔付多少。本页由 `python -m risk.policy table --lang zh` 根据 `risk/policy/` 中的
政策文件生成，请勿手工修改。

**保障**是一项公开承诺，或法律赋予的权利（法定）。它由若干规则组成，规则的名称即**条款**：保障代码加规则种类，同类多条时
加序号（`damage_return/window/2`）。申请按订单付款时有效的政策逐项判断：

- **保障**：所有规则均符合，最多赔付至相应金额；是否立即付款由各道关卡决定。
- **不保障**：某条规则不符合，由条款指明。这绝不是拒绝：申请转交人工，由其查看该条款。
- **待证明**：缺少可以定论的事实或凭证；结果会说明还需要什么。

**触发事件**发生后，货物退回之前即可退款。时间按订单时区计算，订单未注明时按政策时区计算。无人说明的事实视为
未知，但有两项有利于买家的例外：在有人说明之前，商品视为完好，且视为买家未确认不可退。

每条规则注明可靠程度。P：法律或平台规则原文；V：供应商或调查；J：媒体报道；S：二手资料；A：我方假设。

## 如何修改政策

自某日起对新订单生效的变更是一份新政策：请复制文件，填写新的 `version` 和 `valid_from`，并将旧政策的 `valid_until` 设为
同一时刻。错误则就地更正。请同时修改数值和中英文两句说明：买家看到的是说明，其中未写明该数值时 `check` 会提示。然后

    python -m risk.policy check risk/policy/*.toml
    python -m risk.policy explain risk/policy/NEW.toml --claim claim.json --lang zh
    python -m risk.policy table > docs/guarantees.md

最后重启服务：运行中的服务沿用启动时的政策。评分中的保障特征随政策变化，因此请重新评估模型。
""",
}
_SAID: Mapping[str, tuple[str, str]] = {
    "policy": ("For purchases {}, on the clocks of {}. Jurisdiction {}, amounts in {}.", "适用于{}的订单，时区 {}。适用地区 {}，币种 {}。"),
    "overview": ("Overview", "概览"), "triggers": ("Triggers", "触发事件"), "categories": ("Categories", "商品类目"),
    "overview columns": ("guarantee | promise | reasons | goods | who pays | goods kept if worth", "保障 | 承诺 | 理由 | 商品 | 赔付方 | 价值在此以内无需退货"),
    "rule columns": ("clause | asks for | exactly | source | grade", "条款 | 要求 | 具体数值 | 来源 | 等级"),
    "trigger columns": ("trigger | happens when | exactly | source | grade", "触发事件 | 情形 | 具体数值 | 来源 | 等级"),
    "category columns": ("category | English | Chinese", "类目 | 英文 | 中文"),
    "all goods": ("all", "全部"), "up to": ("up to {}", "不超过 {}"), "never": ("no", "否"),
    "only for": ("only {}: ", "仅限 {}："), "only": ("only {}", "仅限 {}"),
    "reasons": ("Reasons: {}. Goods: {}. Asked as: {}.", "理由：{}。商品：{}。诉求：{}。"),
    "kept": ("Goods need not come back up to {}.", "不超过 {} 无需退货。"), "come back": ("Goods have to come back.", "须退回商品。"),
    "payer": ("Paid by: {}.", "赔付方：{}。"), "statutory": ("A right that the law gives.", "法定权利。"),
    "person": ("A person looks before money goes out.", "付款前须经人工审核。"), "once": ("Pays once for each: {}.", "仅赔付一次，按：{}。"),
    "source": ("Source: {}, grade {}.", "来源：{}，等级 {}。"),
    "below": ("Goods below one of these paths are known with it.", "下级类目随上级类目一并适用。"),
}  # fmt: skip
_TOLD = {"promise", "source", "grade", "payer", "reasons", "remedies", "categories", "statutory", "keeps_goods_up_to", "at_once",
         "single_use", *Sentence.model_fields}  # fmt: skip
"""Keys of a guarantee that the page has words for; any other one is shown as it stands in the file."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE", help="policy as TOML (default: all shipped ones)")
    parser.add_argument("--lang", choices=LANGUAGES, default="en", help="language of the page (default: en)")


def run(args: argparse.Namespace) -> None:
    """Print the page."""
    policies = [policy for _, policy in read_files(args.files)] if args.files else load_policies().all
    print(page(policies, args.lang), end="")


def page(policies: Sequence[Policy], language: Language = "en") -> str:
    """The whole page, the newest policy first."""
    newest_first = sorted(policies, key=lambda policy: microseconds(policy.valid_from), reverse=True)
    parts = [_INTRODUCTION[language], *("\n".join(_Page(policy, language).lines()) + "\n" for policy in newest_first)]
    return "\n".join(parts)


def clauses(code: str, guarantee: Guarantee) -> Iterator[tuple[str, Rule]]:
    """Every rule of a guarantee by its clause, named as a judgement names it."""
    rules = list(guarantee.rules())
    kinds = [kind for kind, _ in rules]
    for place, (kind, rule) in enumerate(rules):
        number = f"/{kinds[: place + 1].count(kind)}" if kinds.count(kind) > 1 else ""
        yield f"{code}/{kind}{number}", rule


class _Page:
    """One policy."""

    def __init__(self, policy: Policy, language: Language) -> None:
        self._policy, self._language = policy, language

    def lines(self) -> Iterator[str]:
        policy = self._policy
        yield f"## {policy.version}"
        yield ""
        yield self._say("policy", validity(policy, self._language), policy.time_zone, policy.jurisdiction, policy.currency)
        yield from self._heading("overview")
        yield from self._table("overview columns", (self._summary(code, one) for code, one in policy.guarantees.items()))
        for code, guarantee in policy.guarantees.items():
            yield from self._guarantee(code, guarantee)
        yield from self._heading("triggers")
        yield from self._table("trigger columns", (self._rule(code, rule) for code, rule in policy.triggers.items()))
        yield from self._heading("categories")
        yield self._say("below")
        yield ""
        yield from self._table("category columns", ([f"`{path}`", name.en, name.zh] for path, name in policy.categories.items()))

    def _summary(self, code: str, guarantee: Guarantee) -> list[str]:
        kept = guarantee.keeps_goods_up_to
        return [
            f"`{code}` {guarantee.en} {guarantee.zh}",
            in_language(guarantee.promise, self._language),
            joined(list(guarantee.reasons), self._language),
            joined(guarantee.categories, self._language) or self._say("all goods"),
            guarantee.payer,
            self._say("never") if kept is None else self._say("up to", money(kept, self._policy.currency)),
        ]

    def _guarantee(self, code: str, guarantee: Guarantee) -> Iterator[str]:
        yield ""
        yield f"### `{code}` {guarantee.en} {guarantee.zh}"
        yield ""
        yield from self._about(guarantee)
        yield ""
        yield from self._table("rule columns", (self._rule(clause, rule) for clause, rule in clauses(code, guarantee)))

    def _about(self, guarantee: Guarantee) -> Iterator[str]:
        language, kept = self._language, guarantee.keeps_goods_up_to
        yield in_language(guarantee.promise, language)
        yield self._say(
            "reasons",
            joined(list(guarantee.reasons), language),
            joined(guarantee.categories, language) or self._say("all goods"),
            joined(list(guarantee.remedies), language),
        )
        yield self._say("payer", guarantee.payer)
        yield self._say("come back") if kept is None else self._say("kept", money(kept, self._policy.currency))
        yield from [self._say("statutory")] * guarantee.statutory
        yield from [self._say("person")] * (not guarantee.at_once)
        yield from [self._say("once", joined(list(guarantee.single_use), language))] * bool(guarantee.single_use)
        ruled = {kind for kind, _ in guarantee.rules()}
        others = {name: getattr(guarantee, name) for name in Guarantee.model_fields if name not in _TOLD | ruled}
        yield from (f"`{name}`: {value}." for name, value in others.items() if value not in (None, False, []))
        yield self._say("source", guarantee.source, guarantee.grade)

    def _rule(self, name: str, rule: Rule) -> list[str]:
        where, values = narrowed(rule, self._language), exactly(rule, self._policy.currency, self._language)
        narrow = self._say("only for" if values else "only", where) if where else ""
        return [f"`{name}`", in_language(rule, self._language), narrow + values, rule.source, rule.grade]

    def _heading(self, word: str) -> Iterator[str]:
        yield from ("", f"### {self._say(word)}", "")

    def _table(self, columns: str, rows: Iterator[list[str]]) -> Iterator[str]:
        names = self._say(columns)
        yield f"| {names} |"
        yield "|" + "---|" * len(names.split("|"))
        yield from ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)

    def _say(self, word: str, *values: str) -> str:
        return _SAID[word][LANGUAGES.index(self._language)].format(*values)
