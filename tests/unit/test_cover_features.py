"""What the score sees of cover, on claims whose cover a person can tell; and in bulk, on any number of processes."""

from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest

from risk.claim import microseconds
from risk.errors import SettingError
from risk.features import Calculator, load_features, parse_features
from risk.features.cover import COLUMNS, PARTS, cover_of
from training import cover


def at(text: str) -> int:
    return microseconds(datetime.fromisoformat(text))


ALLERGY = {
    "submitted_at": at("2026-04-30T10:00:00+08:00"),
    "paid_at": at("2026-03-28T10:00:00+08:00"),
    "shipped_at": at("2026-03-29T10:00:00+08:00"),
    "delivered_at": at("2026-04-01T10:00:00+08:00"),
    "amount": 149_000,
    "paid_amount": 149_000,
    "unit_price": 149_000,
    "quantity": 1,
    "item_count": 1,
    "photo_count": 3,
    "reason": "allergy",
    "remedy": "return_and_refund",
    "category": "beauty.skincare",
    "merchant_guarantees": "beauty_allergy",
}


def parts(**changes: Any) -> dict[str, Any]:
    return dict(zip(PARTS, cover_of(dict.fromkeys(COLUMNS) | ALLERGY | changes), strict=True))


def test_an_allergy_29_days_after_sign_for_is_covered_with_the_rest_of_sixty_days_left() -> None:
    found = parts()
    # Sixty days from the day after sign-for end at midnight: 31 days and 14 hours from ten in the morning, less one tick.
    left = (60 - 29) * 24 + 14
    assert found == {"status": "covered", "guarantee": "beauty_allergy", "margin_hours": pytest.approx(left), "missing": 0, "share": 1.0}


def test_without_photos_it_lacks_proof_and_says_so() -> None:
    found = parts(photo_count=0)
    assert (found["status"], found["guarantee"], found["missing"]) == ("unproven", "beauty_allergy", 1)


def test_after_the_window_the_law_remains() -> None:
    found = parts(submitted_at=at("2026-07-01T10:00:00+08:00"))
    assert (found["status"], found["guarantee"]) == ("covered", "quality_right")


@pytest.mark.parametrize(
    ("late", "status", "sign"),
    [("2026-04-08T23:59:59+08:00", "covered", 1), ("2026-04-09T00:00:00+08:00", "not_covered", -1)],
)
def test_the_margin_changes_sign_with_the_status(late: str, status: str, sign: int) -> None:
    found = parts(reason="no_reason", submitted_at=at(late))
    assert (found["status"], found["guarantee"]) == (status, "seven_day_return")
    assert found["margin_hours"] * sign > 0


@pytest.mark.parametrize("paid_at", [None, at("2024-06-30T23:59:59+08:00")])
def test_nothing_could_apply_where_no_policy_held_at_purchase(paid_at: int | None) -> None:
    assert parts(paid_at=paid_at) == {"status": "none", "guarantee": None, "margin_hours": None, "missing": 0, "share": None}


@pytest.mark.parametrize("word", [None, "bored"])
def test_nothing_could_apply_to_a_reason_that_nobody_knows(word: str | None) -> None:
    assert parts(reason=word)["status"] == "none"


def test_more_than_is_paid_is_a_share_above_one() -> None:
    assert parts(amount=298_000)["share"] == 2.0


@pytest.mark.parametrize("share", [-0.5, 1.5, float("nan")])
def test_a_share_that_is_none_counts_as_unknown(share: float) -> None:
    spoiled = {"reason": "spoiled", "remedy": "refund_only", "category": "food.fresh.fruit"}
    spoiled |= {"merchant_guarantees": "fresh_spoilage", "submitted_at": at("2026-04-01T20:00:00+08:00")}
    assert parts(**spoiled, affected_share=0.5)["status"] == "covered"
    # The law gives the whole price, but only once the shop was heard.
    assert parts(**spoiled, affected_share=share) == parts(**spoiled, affected_share=None)
    assert parts(**spoiled, affected_share=share)["guarantee"] == "quality_right"


def test_a_service_without_money_tells_nothing() -> None:
    found = parts(reason="no_reason", merchant_guarantees="door_pickup", submitted_at=at("2026-04-29T10:00:00+08:00"))
    assert (found["status"], found["guarantee"]) == ("not_covered", "seven_day_return")


def test_the_columns_named_are_all_that_a_judgement_looks_at() -> None:
    assert cover_of({name: ALLERGY.get(name) for name in COLUMNS}) == tuple(parts().values())


def test_the_vector_holds_the_parts_under_their_names() -> None:
    features = load_features()
    known = dict.fromkeys(name for feature in features.own for name in feature.columns) | ALLERGY
    values = Calculator(features).values([None] * len(features.aggregates), known, ALLERGY["submitted_at"])
    vector = dict(zip(features.names, values, strict=True))
    assert {part: vector[f"cover_{part}"] for part in PARTS} == parts()
    assert {"cover_status", "cover_guarantee"} <= features.categorical
    assert not {"cover_margin_hours", "cover_missing", "cover_share"} & features.categorical


def test_a_part_that_is_none_is_refused_by_name() -> None:
    table = "utc_offset_hours = 0\n[entities]\n[measures]\n[windowed]\n[own]\nodd = { cover = 'colour' }\n"
    with pytest.raises(SettingError, match=r"own\.odd: no such part of cover: colour"):
        parse_features(table)


def pieces(count: int, size: int) -> list[pa.Table]:
    known = [dict.fromkeys(COLUMNS) | ALLERGY | {"row": row, "amount": 1000 + row} for row in range(count)]
    return [pa.Table.from_pylist(known[start : start + size]) for start in range(0, count, size)]


def test_several_processes_judge_like_one() -> None:
    alone = cover.judged(pieces(60, 7), 60).sort_by("row")
    together = cover.judged(pieces(60, 7), cover.FEW + 1).sort_by("row")
    assert alone.equals(together)
    assert alone["row"].to_pylist() == list(range(60))
    assert set(alone["status"].to_pylist()) == {"covered"}


def test_no_claim_at_all_is_an_empty_table() -> None:
    assert cover.judged([], 0).num_rows == 0
