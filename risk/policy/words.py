"""How the commands write what a policy says: money, moments, rules as values, and lines of a terminal, in two languages."""

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal
from zoneinfo import ZoneInfo

from risk.policy.definition import Band, Policy, Rule, Sentence

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS = {"BHD": 3, "CLP": 0, "ISK": 0, "JOD": 3, "JPY": 0, "KRW": 0, "KWD": 3, "OMR": 3, "PYG": 0, "TND": 3, "UGX": 0, "VND": 0}
"""Digits after the point where they are not two (ISO 4217)."""


def money(amount: int, currency: str) -> str:
    """Minor units as people write them.

    >>> money(149000, "CNY"), money(5, "CNY"), money(149000, "JPY")
    ('CNY 1,490.00', 'CNY 0.05', 'JPY 149,000')
    """
    digits = _DIGITS.get(currency, 2)
    whole, rest = divmod(abs(amount), 10**digits)
    return f"{currency} {'-' * (amount < 0)}{whole:,}" + (f".{rest:0{digits}}" if digits else "")


def moment(microseconds: int, time_zone: str) -> str:
    """A moment as the clocks of a time zone show it; seconds only where there are any.

    >>> moment(1769875200_000000, "Asia/Shanghai"), moment(1769875199_999999, "Asia/Shanghai")
    ('2026-02-01 00:00', '2026-01-31 23:59:59')
    """
    local = (_EPOCH + timedelta(microseconds=microseconds)).astimezone(ZoneInfo(time_zone))
    return f"{local:%Y-%m-%d %H:%M:%S}".removesuffix(":00")


def validity(policy: Policy, language: Language) -> str:
    """From when until when a policy holds, on the clocks of its time zone."""
    zone = ZoneInfo(policy.time_zone)
    start = f"{policy.valid_from.astimezone(zone):%Y-%m-%d %H:%M}"
    end = f"{policy.valid_until.astimezone(zone):%Y-%m-%d %H:%M}" if policy.valid_until else None
    if language == "zh":
        return f"自 {start} 起至 {end} 前" if end else f"自 {start} 起，未定截止"
    return f"from {start} until {end}" if end else f"from {start} until further notice"


def in_language(sentence: Sentence, language: Language) -> str:
    """The sentence itself."""
    return sentence.zh if language == "zh" else sentence.en


# --- rules as values --------------------------------------------------------------------------------------------------

_PAID_OF: Mapping[Language, Mapping[str, str]] = {
    "en": {"items": "the price of the goods", "freight": "the freight of the return", "nothing": "nothing: a service",
           "advance": "what another guarantee pays, in advance"},
    "zh": {"items": "商品货款", "freight": "退货运费", "nothing": "不涉及款项", "advance": "先行支付其他保障应付的款项"},
}  # fmt: skip


def exactly(rule: Rule, currency: str, language: Language) -> str:
    """What a rule asks for as values of the file, so that a sentence that says something else is noticed."""
    own = {name: getattr(rule, name) for name in type(rule).model_fields if name not in Rule.model_fields}
    return ("；" if language == "zh" else "; ").join(
        _value(name, value, currency, language) for name, value in own.items() if value not in (None, False, [])
    )


def narrowed(rule: Rule, language: Language) -> str:
    """The reasons and goods to which alone a rule applies; empty where it applies to all of its guarantee."""
    return joined([*rule.reasons, *rule.categories], language)


def joined(words: list[str], language: Language) -> str:
    """Alternatives in a row."""
    return "、".join(words) if language == "zh" else ", ".join(words)


def _value(name: str, value: Any, currency: str, language: Language) -> str:
    write = _WRITTEN.get(name)
    if write is None:  # a key that this page has no words for is shown as it stands in the file
        return f"{name}: {joined([str(part) for part in value], language) if isinstance(value, list) else value}"
    return write(value, currency)[LANGUAGES.index(language)]


def _alternatives(value: list[str], _: str) -> tuple[str, str]:
    return " or ".join(value), " 或 ".join(value)


def _bands(bands: list[Band], _: str) -> tuple[str, str]:
    return (
        "by affected share: " + ", ".join(f"up to {band.up_to:.4g} pays {band.pays:.4g}" for band in bands),
        "按受损比例：" + "、".join(f"不超过 {band.up_to:.4g} 赔 {band.pays:.4g}" for band in bands),
    )


def _pair(english: str, chinese: str, value: Any, _: str) -> tuple[str, str]:
    shown = ", ".join(value) if isinstance(value, list) else value
    return english.format(shown), chinese.format(shown)


_WRITTEN: Mapping[str, Callable[[Any, str], tuple[str, str]]] = {
    "by": lambda value, _: ("promised by " + " or ".join(value), "承诺方：" + " 或 ".join(value)),
    "after": partial(_pair, "after {}", "起算：{}"),
    "days": partial(_pair, "{} days, counted from the day after", "{} 天，自次日起算"),
    "hours": partial(_pair, "{} hours", "{} 小时"),
    "if_opened": partial(_pair, "if opened", "已拆封"),
    "if_confirmed": partial(_pair, "if confirmed at purchase", "购买时已确认"),
    "any": _alternatives,
    "none": partial(_pair, "none of {}", "均未发生：{}"),
    "passed": partial(_pair, "{} has passed", "已过 {}"),
    "of": lambda value, _: (_PAID_OF["en"].get(value, value), _PAID_OF["zh"].get(value, value)),
    "with_freight": partial(_pair, "and the freight paid", "及已付运费"),
    "bands": _bands,
    "pro_rata": partial(_pair, "{}: the affected share itself", "{}：按实际比例"),
    "most": lambda value, currency: (f"at most {money(value, currency)}", f"最多 {money(value, currency)}"),
    "pays": lambda _value, _: ("the refund is due by itself", "无需其他依据即应退款"),
    "remedies": partial(_pair, "asked as {}", "诉求：{}"),
}


# --- lines of a terminal ----------------------------------------------------------------------------------------------


def width(text: str) -> int:
    """Columns that a text takes: Chinese characters are two wide."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def padded(text: str, columns: int) -> str:
    """A text with spaces behind it, so that what follows stands in line."""
    return text + " " * (columns - width(text))


def wrapped(text: str, columns: int) -> Iterator[str]:
    """A text in lines of so many columns, broken between words and between Chinese characters."""
    line = ""
    for piece in _pieces(text):
        if line and width(line + piece.rstrip()) > columns:
            yield line.rstrip()
            line = ""
        line += piece
    if line.strip():
        yield line.rstrip()


def _pieces(text: str) -> Iterator[str]:
    """What may not be broken: a word with the spaces behind it, or one wide character with its punctuation."""
    piece = ""
    for character in text:
        if piece and (piece[-1] == " " or (width(character) == 2 and character not in "，。；：、！？）")):
            yield piece
            piece = ""
        piece += character
    if piece:
        yield piece


def indented(label: str, text: str, *, left: int, columns: int, most: int = 100) -> Iterator[str]:
    """A label and a text beside it, in as many lines as it takes."""
    for number, line in enumerate(wrapped(text, most - left - columns) if text else [""]):
        yield (" " * left + padded(label if number == 0 else "", columns) + line).rstrip()
