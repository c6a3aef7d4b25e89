"""Reasons say what moved a score, truly, completely, in both languages."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from risk.bundle import Bundle
from risk.features import Value, load_features
from risk.reasons import CALLER_SIGNALS, MOST, SMALLEST, Reason, explain, load_reasons
from tests.service import BUNDLE_KEY, CATEGORIES, SIGNAL

FEATURES = load_features()
TABLE = load_reasons()
SEEDS = range(200)


@pytest.fixture(scope="module")
def bundle(candidates: dict[str, Path]) -> Bundle:
    return Bundle.load(candidates["first"], BUNDLE_KEY.encode())


def some_values(bundle: Bundle, seed: int) -> list[Value]:
    """A feature vector as a claim might have it."""
    rng = np.random.default_rng(seed)

    def one(name: str) -> Value:
        if rng.random() < 0.25 and "abuse_365d" not in name:
            return None
        if name in CATEGORIES:
            return str(rng.choice(CATEGORIES[name]))
        return float(rng.random()) if "rate" in name else int(rng.poisson(0.8))

    return [one(name) for name in bundle.columns]


def neutral(bundle: Bundle, values: list[Value], names: set[str]) -> list[Value]:
    """The same claim with the features of a group at what says nothing against it."""
    return [_neutral(name, value) if name in names else value for name, value in zip(bundle.columns, values, strict=True)]


def _neutral(name: str, value: Value) -> Value:
    return {1: 0, -1: value}.get(FEATURES.monotone.get(name, 0))


def test_every_feature_stands_in_exactly_one_group() -> None:
    named = [feature for group in TABLE.groups for feature in group.features]
    assert sorted(named) == sorted(FEATURES.names)


def test_every_group_speaks_both_languages_in_both_directions() -> None:
    for group in TABLE.groups:
        assert {"raises", "lowers"} <= {*group.texts}, group.code
        for text in group.texts.values():
            assert {*text} == {"en", "zh"}, group.code
            assert all(sentence.strip() == sentence and sentence for sentence in text.values()), group.code


def test_english_is_english_and_chinese_is_chinese() -> None:
    for text in itertools.chain.from_iterable(group.texts.values() for group in TABLE.groups):
        assert text["en"].isascii()
        assert text["en"].endswith(".")
        assert any("\u4e00" <= character <= "\u9fff" for character in text["zh"])
        assert text["zh"].endswith("。")


def test_no_two_sentences_are_the_same() -> None:
    said = [text["en"] for group in TABLE.groups for text in group.texts.values()]
    assert len(said) == len({*said})


@pytest.mark.parametrize("seed", SEEDS)
def test_contributions_and_base_add_up_to_the_raw_score(bundle: Bundle, seed: int) -> None:
    row = bundle.encode(some_values(bundle, seed))
    assert abs(bundle.contributions(row).sum() - bundle.raw(row)[0]) < 1e-9


def test_weights_of_all_groups_and_the_base_add_up_to_the_calibrated_log_odds(bundle: Bundle) -> None:
    calibrator = bundle.manifest["calibrator"]
    for seed in SEEDS:
        row = bundle.encode(some_values(bundle, seed))
        parts = bundle.contributions(row)[0]
        codes = [TABLE.group_of(name) for name in bundle.columns]
        groups = {code: 0.0 for code in codes}
        for code, part in zip(codes, parts, strict=False):
            groups[code] += part * calibrator["slope"]
        base = parts[-1] * calibrator["slope"] + calibrator["intercept"]
        score = bundle.calibrate(bundle.raw(row))[0]
        assert abs(sum(groups.values()) + base - np.log(score / (1 - score))) < 1e-9


def told(bundle: Bundle) -> list[tuple[list[Value], tuple[Reason, ...]]]:
    return [(values := some_values(bundle, seed), explain(bundle, values)) for seed in SEEDS]


def test_reasons_come_most_weighty_first_and_only_those_that_matter(bundle: Bundle) -> None:
    for _, reasons in told(bundle):
        weights = [abs(reason.weight) for reason in reasons]
        assert weights == sorted(weights, reverse=True)
        assert len(reasons) <= MOST
        assert all(weight >= SMALLEST for weight in weights)
        assert all((reason.direction == "raises") == (reason.weight > 0) for reason in reasons)


def test_the_features_behind_a_reason_are_of_its_group_and_push_its_way(bundle: Bundle) -> None:
    for values, reasons in told(bundle):
        for reason, moved in ((cause, part) for cause in reasons for part in cause.features):
            assert TABLE.group_of(moved.feature) == reason.code
            assert moved.weight * reason.weight > 0
            assert moved.value is not None
            assert moved.value == values[bundle.columns.index(moved.feature)]


def test_a_sentence_that_needs_a_finding_is_never_said_without_it(bundle: Bundle) -> None:
    said = 0
    for seed in SEEDS:
        values = some_values(bundle, seed)
        for group in TABLE.groups:
            for direction, needed in group.needs.items():
                # The finding itself is taken away; whatever else the group knows may still move the score.
                bare = [0 if name in needed else value for name, value in zip(bundle.columns, values, strict=True)]
                for reason in explain(bundle, bare):
                    if (reason.code, reason.direction) == (group.code, direction):
                        assert reason.text == group.texts["unknown"]
                        said += 1
    assert said > 100


def test_a_sentence_is_said_where_its_finding_is_there() -> None:
    group = next(group for group in TABLE.groups if group.code == "buyer_outcomes")
    findings: dict[str, Value] = {"buyer_abuse_365d": 2, "buyer_legitimate_365d": None, "buyer_abuse_rate_365d": 1.0}
    assert group.sentence("raises", findings.__getitem__) == group.texts["raises"]
    assert group.sentence("lowers", findings.__getitem__) == group.texts["unknown"]


def test_nothing_is_said_of_a_group_of_which_nothing_is_known(bundle: Bundle) -> None:
    devices = {*next(group for group in TABLE.groups if group.code == "device_history").features}
    for seed in SEEDS:
        values = some_values(bundle, seed)
        blind = [None if name in devices else value for name, value in zip(bundle.columns, values, strict=True)]
        assert all(reason.code != "device_history" for reason in explain(bundle, blind))


def test_taking_away_the_first_raising_reason_lowers_the_score(bundle: Bundle) -> None:
    tried = 0
    for values, reasons in told(bundle):
        raising = [reason for reason in reasons if reason.direction == "raises"]
        if not raising:
            continue
        group = next(group for group in TABLE.groups if group.code == raising[0].code)
        monotone = {name for name in group.features if FEATURES.monotone.get(name, 0) == 1}
        if not {moved.feature for moved in raising[0].features} <= monotone:
            continue
        tried += 1
        before, after = (bundle.raw(bundle.encode(v))[0] for v in (values, neutral(bundle, values, monotone)))
        assert after < before
    assert tried > 20


@given(seed=st.integers(0, 10_000), more=st.integers(1, 5))
@settings(deadline=None, max_examples=100)
def test_more_confirmed_abuse_never_lowers_a_score(bundle: Bundle, seed: int, more: int) -> None:
    values = some_values(bundle, seed)
    worse: list[Any] = list(values)
    for name in ("buyer_abuse_365d", "device_abuse_365d", "address_abuse_365d", "payment_abuse_365d"):
        place = bundle.columns.index(name)
        worse[place] = (worse[place] or 0) + more
    assert bundle.raw(bundle.encode(worse))[0] >= bundle.raw(bundle.encode(values))[0]


def test_the_callers_own_signals_are_one_group(bundle: Bundle) -> None:
    assert TABLE.group_of(SIGNAL) == CALLER_SIGNALS
    values: list[Value] = [None] * len(bundle.columns)
    values[bundle.columns.index("buyer_abuse_365d")] = 0
    values[-1] = 0.99
    found = {reason.code: reason for reason in explain(bundle, values)}
    assert [moved.feature for moved in found[CALLER_SIGNALS].features] == [SIGNAL]


def test_every_reason_shows_a_value_that_it_rests_on(bundle: Bundle) -> None:
    assert all(reason.features for _, reasons in told(bundle) for reason in reasons)


def test_nothing_unusual_is_said_only_of_a_party_of_which_something_is_known() -> None:
    for code in ("device_history", "address_history", "payment_history"):
        group = next(group for group in TABLE.groups if group.code == code)
        assert group.sentence("lowers", lambda _name: 0) == group.texts["unknown"]
        assert group.sentence("lowers", lambda _name: 3) == group.texts["lowers"]


def test_an_explanation_is_the_same_every_time(bundle: Bundle) -> None:
    values = some_values(bundle, 1)
    assert explain(bundle, values) == explain(bundle, values)
