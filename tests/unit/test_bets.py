"""The watch, against a double loop over bets, its own fairness in exact fractions, and streams whose truth is known."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from risk.promise.watch import EVERY, STAKES, log_values, watch


def _by_hand(outcomes: list[int], alpha: float) -> list[float]:
    """The value after each audit: every run, every stake, every audit by itself."""
    values = []
    for seen in range(1, len(outcomes) + 1):
        value, weights = 0.0, 0.0
        for run in range((seen - 1) // EVERY + 1):
            weight = 6 / math.pi**2 / (run + 1) ** 2
            weights += weight
            for stake in STAKES:
                worth = 1.0
                for outcome in outcomes[run * EVERY : seen]:
                    worth *= 1 + stake / alpha * (outcome - alpha)
                value += weight * worth / len(STAKES)
        values.append(value + 1 - weights)
    return values


@pytest.mark.parametrize("count", [1, EVERY - 1, EVERY, EVERY + 1, 2 * EVERY + 30])
def test_it_is_what_a_loop_over_every_bet_gives(count: int) -> None:
    outcomes = (np.random.default_rng(count).random(count) < 0.05).astype(int)
    assert np.allclose(np.exp(log_values(outcomes, 0.03)), _by_hand(outcomes.tolist(), 0.03), rtol=1e-9)


@given(past=st.lists(st.integers(0, 1), max_size=3 * EVERY), alpha=st.floats(0.005, 0.4))
@settings(max_examples=60, deadline=None)
def test_where_the_promise_just_holds_the_value_is_expected_to_stay_and_never_negative(past: list[int], alpha: float) -> None:
    now = np.exp(log_values(np.array(past, dtype=np.int64), alpha))[-1] if past else 1.0
    good, bad = (np.exp(log_values(np.array([*past, outcome]), alpha))[-1] for outcome in (0, 1))
    assert good > 0
    assert (1 - alpha) * good + alpha * bad == pytest.approx(now, rel=1e-9)
    # Where less is abuse it is expected to fall: the larger of both is the one for abuse.
    assert bad >= good


def test_each_bet_is_fair_to_the_last_digit() -> None:
    alpha = Fraction(3, 100)
    for stake in map(Fraction, STAKES):
        factor = {outcome: 1 + stake / alpha * (outcome - alpha) for outcome in (0, 1)}
        assert (1 - alpha) * factor[0] + alpha * factor[1] == 1
        assert factor[0] > 0


@given(outcomes=st.lists(st.integers(0, 1), min_size=1, max_size=600), place=st.integers(0, 599))
@settings(max_examples=40, deadline=None)
def test_an_audit_that_turns_out_abusive_never_lowers_the_value_before_or_after(outcomes: list[int], place: int) -> None:
    worse = [*outcomes]
    worse[place % len(outcomes)] = 1
    assert (log_values(np.array(worse), 0.03) >= log_values(np.array(outcomes), 0.03) - 1e-12).all()


@given(outcomes=st.lists(st.integers(0, 1), min_size=1, max_size=600), more=st.lists(st.integers(0, 1), max_size=60))
@settings(max_examples=40, deadline=None)
def test_later_audits_change_nothing_about_earlier_values(outcomes: list[int], more: list[int]) -> None:
    first = watch(outcomes, 0.03, 0.05)
    both = log_values(np.array(outcomes + more), 0.03)
    assert np.allclose(both[: len(outcomes)], log_values(np.array(outcomes), 0.03), rtol=1e-12)
    if first.alarm_at is not None:
        assert watch(outcomes + more, 0.03, 0.05).alarm_at == first.alarm_at


def test_it_tells_when_the_alarm_was_raised_though_the_value_fell_again() -> None:
    found = watch([1] * 12 + [0] * 2000, 0.03, 0.05)
    assert found.alarm_at is not None
    assert found.alarm_at <= 12
    assert found.highest >= 20 > found.value
    assert (found.audits, found.abusive) == (2012, 12)
    assert watch([1] * (found.alarm_at - 1), 0.03, 0.05).alarm_at is None


def test_without_audits_nothing_is_known() -> None:
    found = watch([], 0.03, 0.05)
    assert (found.value, found.highest, found.alarm_at, found.audits, found.abusive) == (1.0, 1.0, None, 0, 0)


@pytest.mark.parametrize(
    ("outcomes", "alpha", "level"),
    [([0, 2], 0.03, 0.05), ([-1], 0.03, 0.05), ([[0]], 0.03, 0.05), ([0], 0.0, 0.05), ([0], 1.0, 0.05), ([0], 0.03, math.nan)],
)
def test_what_are_no_outcomes_or_shares_is_refused(outcomes: list[int], alpha: float, level: float) -> None:
    with pytest.raises(ValueError, match=r"expected|outcomes are"):
        watch(outcomes, alpha, level)


def _alarms(rate: float, *, streams: int, audits: int, before: int = 0, alpha: float = 0.03, level: float = 0.05) -> list[int | None]:
    """When the alarm was raised in each stream; `before` quiet audits at half of alpha come first."""
    rng = np.random.default_rng(20261127)
    rates = np.concatenate([np.full(before, alpha / 2), np.full(audits, rate)])
    return [watch((rng.random(len(rates)) < rates).astype(np.int8), alpha, level).alarm_at for _ in range(streams)]


def test_it_raises_false_alarms_as_rarely_as_was_said_however_often_it_is_looked_at() -> None:
    # 2,000 streams of 3,000 audits, each looked at after every audit, at the very edge of the promise.
    false = sum(alarm is not None for alarm in _alarms(0.03, streams=2_000, audits=3_000))
    assert false / 2_000 <= 0.05
    # A test that never raises one would be useless.
    assert false > 10


@pytest.mark.parametrize(("times", "median", "most"), [(2, 450, 1000), (3, 140, 350), (5, 50, 120)])
def test_it_finds_more_abuse_within_so_many_audits(times: int, median: int, most: int) -> None:
    found = [alarm or 10**9 for alarm in _alarms(0.03 * times, streams=200, audits=3_000)]
    assert np.median(found) < median
    assert np.quantile(found, 0.9) < most


def test_it_finds_a_change_after_a_long_good_stretch() -> None:
    found = [(alarm or 10**9) - 2_000 for alarm in _alarms(0.09, streams=200, audits=3_000, before=2_000)]
    assert min(found) > 0
    assert np.median(found) < 400
    assert np.quantile(found, 0.9) < 700


def test_a_hundred_thousand_audits_are_read_in_no_time_and_without_an_infinity() -> None:
    quiet = watch(np.zeros(100_000, dtype=np.int8), 0.03, 0.05)
    loud = watch(np.ones(100_000, dtype=np.int8), 0.03, 0.05)
    assert 0 < quiet.value < 1
    assert math.isfinite(loud.value)
    assert loud.alarm_at is not None
