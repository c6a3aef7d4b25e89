"""What a claim may say, and what becomes of it as facts."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from risk.claim import MAX_MONEY, Claim, facts, microseconds, parties, principal_item
from risk.features.definition import NUMBERS, TEXTS, TIMES
from serving.api.problems import problems_of
from tests.service import a_claim

REQUIRED = ("claim_id", "submitted_at", "reason", "remedy", "amount", "currency", "buyer", "merchant", "order", "items")
moments = st.datetimes(datetime(1990, 1, 2), datetime(2099, 12, 30)).flatmap(
    lambda naive: st.integers(-23 * 60, 23 * 60).map(
        lambda offset: naive.replace(tzinfo=timezone(timedelta(minutes=offset)))
    )
)


def parsed(body: Any) -> Claim:
    return Claim.model_validate_json(json.dumps(body))


def refused(body: Any) -> set[str]:
    """JSON pointers to everything that is wrong."""
    with pytest.raises(ValidationError) as caught:
        parsed(body)
    return {problem.where for problem in problems_of(caught.value)}


def test_a_claim_survives_being_written_and_read_again() -> None:
    claim = parsed(a_claim(extra={"b": 1, "a": "x"}, affected_share=0.5))
    assert Claim.model_validate_json(claim.model_dump_json(exclude_defaults=True)) == claim


def test_all_missing_required_fields_are_named_at_once() -> None:
    assert refused({}) == {f"/{name}" for name in REQUIRED}


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01", "2026-01-01T10:00:00", "2026-01-01T10:00Z", "1700000000", "1700000000.5", "2026-01-01T10:00:00+0800",
        "2026-01-01_10:00:00Z", "2026-13-01T10:00:00Z", "2026-01-01T25:00:00Z", "2026-01-01T10:00:00+25:00",
        "1989-12-31T23:59:59Z", "2100-01-01T00:00:00Z", "", "now", "٢٠٢٦-01-01T10:00:00Z", "2026-01-01T10:00:00Z\n",
    ],
)  # fmt: skip
def test_a_time_without_offset_or_in_another_form_is_refused(text: str) -> None:
    assert refused(a_claim(submitted_at=text)) == {"/submitted_at"}


@pytest.mark.parametrize("number", [1700000000, 1700000000.5, None, True, [], {}])
def test_a_time_is_a_text_and_nothing_else(number: Any) -> None:
    assert "/submitted_at" in refused(a_claim(submitted_at=number))


@given(moments)
@settings(deadline=None, max_examples=300)
def test_a_time_is_kept_to_the_microsecond_whatever_its_offset(moment: datetime) -> None:
    claim = parsed(a_claim(submitted_at=moment.isoformat()))
    assert facts(claim)["submitted_at"] == microseconds(moment)
    assert microseconds(moment) == (moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@pytest.mark.parametrize("amount", [0, -1, 1.0, 1.5, "100", True, None, MAX_MONEY + 1, 10**30, [], {}])
def test_money_is_a_whole_number_of_minor_units_and_nothing_else(amount: Any) -> None:
    assert refused(a_claim(amount=amount)) == {"/amount"}


@given(st.integers(1, MAX_MONEY))
@settings(deadline=None)
def test_every_amount_within_the_limits_is_kept_exactly(amount: int) -> None:
    assert parsed(a_claim(amount=amount)).amount == amount


@pytest.mark.parametrize("currency", ["cny", "CN", "CNYY", "", "C\u212aY", "CNY\n", 156])
def test_a_currency_is_three_capital_letters(currency: Any) -> None:
    assert refused(a_claim(currency=currency)) == {"/currency"}


@given(st.text(min_size=1, max_size=128))
@settings(deadline=None, max_examples=300)
def test_an_id_is_any_text_without_characters_that_cannot_be_seen(text: str) -> None:
    unseen = {*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A)}
    wrong = any(ord(character) in unseen for character in text)
    if wrong:
        assert refused(a_claim(claim_id=text)) == {"/claim_id"}
    elif not any(0xD800 <= ord(character) < 0xE000 for character in text):
        assert parsed(a_claim(claim_id=text)).claim_id == text


@pytest.mark.parametrize("text", ["", "x" * 129, 5, None, "a\0b", "a\nb", "a\x9bb", "a\u202eb"])
def test_an_id_that_cannot_be_kept_is_refused(text: Any) -> None:
    assert refused(a_claim(claim_id=text)) == {"/claim_id"}


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"items": []}, "/items"),
        ({"items": [{"item_id": "i", "category": "food"}] * 101}, "/items"),
        ({"extra": {f"x{n}": n for n in range(65)}}, "/extra"),
        ({"evidence": [{"evidence_id": "e", "kind": "photo"}] * 51}, "/evidence"),
        ({"description": "x" * 4001}, "/description"),
        ({"affected_share": 1.01}, "/affected_share"),
        ({"affected_share": -0.01}, "/affected_share"),
        ({"device": {"ip": "not an address"}}, "/device/ip"),
        ({"reason": "because"}, "/reason"),
        ({"items": [{"item_id": "i", "category": "Food"}]}, "/items/0/category"),
        ({"items": [{"item_id": "i", "category": "food."}]}, "/items/0/category"),
        ({"items": [{"item_id": "i", "category": "food", "quantity": 0}]}, "/items/0/quantity"),
        ({"order": {"paid_amount": -1}}, "/order/paid_amount"),
        ({"merchant": {"guarantees": ["No Code"]}}, "/merchant/guarantees/0"),
    ],
)
def test_what_is_out_of_bounds_is_refused_where_it_stands(changes: dict[str, Any], where: str) -> None:
    assert refused(a_claim(**changes)) == {where}


def test_the_largest_allowed_claim_is_accepted() -> None:
    item = {"item_id": "i" * 128, "category": "food", "quantity": 1_000_000, "unit_price": MAX_MONEY}
    claim = parsed(
        a_claim(
            claim_id="c" * 128, items=[item] * 100, extra={f"x{n}": "v" * 128 for n in range(64)},
            evidence=[{"evidence_id": "e", "kind": "chat"}] * 50, description="d" * 4000,
        )
    )  # fmt: skip
    assert (facts(claim)["item_count"], facts(claim)["chat_count"]) == (100, 50)


@pytest.mark.parametrize(
    ("path", "name"), [((), "colour"), (("buyer",), "age"), (("order",), "extra"), (("items", 0), "weight")]
)
def test_an_unknown_field_is_refused_by_name_wherever_it_stands(path: tuple[Any, ...], name: str) -> None:
    body: Any = a_claim()
    part = body
    for step in path:
        part = part[step]
    part[name] = 1
    assert refused(body) == {"".join(f"/{step}" for step in (*path, name))}


@pytest.mark.parametrize("signal", [True, False, 0, -1, 2**53, 0.25, 1e300, "", "text"])
def test_a_signal_keeps_its_type_and_value(signal: Any) -> None:
    kept = parsed(a_claim(extra={"signal": signal})).extra["signal"]
    assert (kept, type(kept)) == (signal, type(signal))


@pytest.mark.parametrize("signal", [None, [1], {"a": 1}, "x" * 129, "a\0", float("nan"), float("inf")])
def test_a_signal_is_a_number_a_text_or_a_boolean(signal: Any) -> None:
    assert refused(a_claim(extra={"signal": signal})) == {"/extra/signal"}


def test_the_order_of_signals_makes_no_other_claim() -> None:
    claim = a_claim(extra={"a": 1, "b": 2})
    other = claim | {"extra": {"b": 2, "a": 1}}
    assert parsed(claim).model_dump_json() == parsed(other).model_dump_json()


COVER_FACTS = {"merchant_guarantees", "item_guarantees", "intercepted_at", "lost_at", "return_shipped_at",
               "return_picked_up_at", "return_received_at"}  # fmt: skip


def test_facts_are_the_columns_of_a_history() -> None:
    known = facts(parsed(a_claim()))
    assert set(known) == {*TIMES, *NUMBERS, *TEXTS, "currency", "buyer_id", "merchant_id", *COVER_FACTS}


def test_the_item_with_most_money_speaks_for_the_claim() -> None:
    items = [
        {"item_id": "cheap", "category": "food", "unit_price": 100, "quantity": 3},
        {"item_id": "dear", "category": "beauty.skincare", "unit_price": 400},
        {"item_id": "unpriced", "category": "food"},
    ]
    claim = parsed(a_claim(items=items))
    assert principal_item(claim).item_id == parties(claim)["item"] == "dear"


def test_missing_parties_are_none_and_never_an_empty_text() -> None:
    found = parties(parsed(a_claim()))
    assert [name for name, party in found.items() if party is None] == ["device", "address", "payment", "creator"]
