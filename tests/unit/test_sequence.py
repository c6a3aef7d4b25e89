"""The fixed sequence of exact tests, against enumeration, SciPy's distributions, and worlds whose truth is planted."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import beta, binom

from training.certificates.sequence import candidates, fewest, fixed_sequence, needed, passes, upper_bound

SHARES = st.floats(0.002, 0.4)
SAMPLES = st.integers(1, 400).flatmap(
    lambda count: st.tuples(
        # Few distinct scores: ties are the rule, not the exception.
        st.lists(st.integers(0, 40).map(lambda number: number / 40), min_size=count, max_size=count),
        st.lists(st.booleans(), min_size=count, max_size=count),
    )
)


@pytest.mark.parametrize("rows", [1, 2, 5, 9])
@pytest.mark.parametrize("alpha", [0.03, 0.2, 0.5])
def test_the_test_is_the_sum_over_all_samples_that_look_as_good(rows: int, alpha: float) -> None:
    for abusive in range(rows + 1):
        samples = (sample for sample in product((0, 1), repeat=rows) if sum(sample) <= abusive)
        chance = sum(alpha ** sum(sample) * (1 - alpha) ** (rows - sum(sample)) for sample in samples)
        assert passes(abusive, rows, alpha, chance * 1.000001)
        assert not passes(abusive, rows, alpha, chance * 0.999999)


@given(rows=st.integers(1, 5000), part=st.floats(0, 1), alpha=SHARES, error=st.floats(0.001, 0.3))
def test_the_test_and_the_bound_are_those_of_scipy_and_say_the_same(rows: int, part: float, alpha: float, error: float) -> None:
    abusive = int(part * rows)
    chance = binom.cdf(abusive, rows, alpha)
    bound = upper_bound(abusive, rows, error)
    expected = 1.0 if abusive == rows else beta.ppf(1 - error, abusive + 1, rows - abusive)
    assert bound == pytest.approx(expected, rel=1e-6)
    if not np.isclose(chance, error, rtol=1e-6):
        assert passes(abusive, rows, alpha, error) == (chance <= error) == (bound <= alpha)


@given(alpha=SHARES, error=st.floats(0.001, 0.3))
def test_fewest_is_the_first_number_that_passes_without_abuse(alpha: float, error: float) -> None:
    least = fewest(alpha, error)
    assert (1 - alpha) ** least <= error * (1 + 1e-6)
    assert least == 1 or (1 - alpha) ** (least - 1) > error * (1 - 1e-6)


@settings(max_examples=40, deadline=None)
@given(sample=SAMPLES, alpha=SHARES, error=st.floats(0.01, 0.3))
def test_a_threshold_lies_between_scores_so_that_rows_of_one_score_stay_together(
    sample: tuple[list[float], list[bool]], alpha: float, error: float
) -> None:
    score = np.sort(np.array(sample[0]))
    before, least = 0, fewest(alpha, error)
    for threshold, rows in candidates(score, alpha, error):
        assert rows == np.sum(score <= threshold) >= least
        assert rows > before
        # The row that sets a threshold is never counted; only the last threshold takes all.
        assert rows == len(score) or score[rows] == np.nextafter(threshold, np.inf)
        before = rows
    assert (before == len(score)) == (len(score) >= least)


@settings(max_examples=40, deadline=None)
@given(sample=SAMPLES, alpha=SHARES, error=st.floats(0.01, 0.3), seed=st.integers(0, 2**32 - 1))
def test_neither_the_order_of_rows_nor_the_labels_above_a_threshold_change_anything(
    sample: tuple[list[float], list[bool]], alpha: float, error: float, seed: int
) -> None:
    score, abusive = np.array(sample[0]), np.array(sample[1])
    tested = fixed_sequence(score, abusive, alpha=alpha, error=error)
    shuffled = np.random.default_rng(seed).permutation(len(score))
    assert fixed_sequence(score[shuffled], abusive[shuffled], alpha=alpha, error=error) == tested
    if tested:
        above = score > tested[-1].threshold
        assert fixed_sequence(score, np.where(above, ~abusive, abusive), alpha=alpha, error=error) == tested


@settings(max_examples=40, deadline=None)
@given(sample=SAMPLES, alpha=SHARES, error=st.floats(0.01, 0.3))
def test_only_the_ranks_of_scores_count(sample: tuple[list[float], list[bool]], alpha: float, error: float) -> None:
    score, abusive = np.array(sample[0]), np.array(sample[1])
    first = fixed_sequence(score, abusive, alpha=alpha, error=error)
    second = fixed_sequence(score**3 / 7, abusive, alpha=alpha, error=error)
    assert [(one.rows, one.abusive, one.passed) for one in first] == [(one.rows, one.abusive, one.passed) for one in second]


@settings(max_examples=40, deadline=None)
@given(sample=SAMPLES, alpha=SHARES, error=st.floats(0.01, 0.3))
def test_nothing_is_tested_beyond_the_first_failure(sample: tuple[list[float], list[bool]], alpha: float, error: float) -> None:
    score, abusive = np.array(sample[0]), np.array(sample[1])
    tested = fixed_sequence(score, abusive, alpha=alpha, error=error)
    assert all(one.passed for one in tested[:-1])
    for one in tested:
        assert one.abusive == abusive[score <= one.threshold].sum()
        assert one.passed == passes(one.abusive, one.rows, alpha, error)


@pytest.mark.parametrize(("alpha", "error"), [(0.01, 0.05), (0.02, 0.1), (0.03, 0.025)])
@pytest.mark.parametrize("part", [0.0, 0.25, 0.5, 0.7])
def test_the_rows_needed_are_the_fewest_with_that_chance_of_success(alpha: float, error: float, part: float) -> None:
    rate, found = part * alpha, needed(alpha, error, part * alpha, power=0.8)
    assert found is not None
    rows = np.arange(1, found + 1)
    # The most abusive rows that pass, by SciPy's quantile and one step of care: -1 where none do.
    most = binom.ppf(error, rows, alpha)
    most = np.where(binom.cdf(most, rows, alpha) <= error, most, most - 1)
    chance = np.where(most >= 0, binom.cdf(most, rows, rate), 0.0)
    assert chance[-1] >= 0.8
    assert (chance[:-1] < 0.8).all()


def test_no_number_of_rows_shows_what_is_not_so() -> None:
    assert needed(0.02, 0.1, 0.02) is None
    assert needed(0.02, 0.1, 0.03) is None
    assert needed(0.02, 0.1, 0.01999) is None


Truth = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _rate_below(truth: Truth, threshold: float) -> float:
    grid = np.linspace(0, threshold, 4001)
    return float(truth(grid).mean())


@pytest.mark.parametrize(
    ("name", "truth"),
    [
        # So flat around alpha that thresholds just above it look just like those just below.
        ("rising slowly", lambda score: 0.022 + 0.02 * score),
        ("rising fast", lambda score: 0.12 * score**1.5),
        ("a hidden ring low down", lambda score: np.where(np.abs(score - 0.35) < 0.02, 0.35, 0.0185)),
        ("worthless", lambda score: np.full_like(score, 0.0305)),
    ],
)
def test_the_promise_is_broken_as_rarely_as_was_said_and_the_naive_threshold_breaks_it_often(name: str, truth: Truth) -> None:
    """600 worlds; the bound allows for three and a half standard errors of what `error` allows."""
    alpha, error, runs, count = 0.03, 0.1, 600, 3000
    rng = np.random.default_rng(20261127)
    broken = naive_broken = 0
    for _ in range(runs):
        score = rng.random(count)
        abusive = rng.random(count) < truth(score)
        passed = [one for one in fixed_sequence(score, abusive, alpha=alpha, error=error) if one.passed]
        broken += bool(passed) and _rate_below(truth, passed[-1].threshold) > alpha
        order = np.argsort(score)
        observed = np.cumsum(abusive[order]) / np.arange(1, count + 1)
        below = np.flatnonzero(observed <= alpha)
        naive_broken += len(below) > 0 and _rate_below(truth, float(score[order][below[-1]])) > alpha
    assert broken / runs <= error + 3.5 * np.sqrt(error * (1 - error) / runs), name
    assert naive_broken > 3 * broken
    assert naive_broken / runs > 0.3


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_good_model_certifies_nearly_all_that_can_be(seed: int) -> None:
    rng = np.random.default_rng(seed)
    score = rng.random(8000)
    abusive = rng.random(8000) < 0.2 * score**4
    passed = [one for one in fixed_sequence(score, abusive, alpha=0.03, error=0.05) if one.passed]
    # Below t abuse is 0.04 t^4: at most 3 % up to 0.93.
    assert 0.7 < passed[-1].threshold < 1.0
