"""What a certificate says of a segment: its status, what is missing, and how the promise keeps over all segments together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from risk.promise.appetite import Appetite, load_appetite
from training.certificates.drawn import Pool
from training.certificates.evidence import judged
from training.certificates.sequence import fewest, needed

APPETITE = load_appetite()
SMALL = APPETITE.segment[0]
ALPHA, ERROR = APPETITE.promise.alpha, APPETITE.error


def _pool(rng: np.random.Generator, count: int, abuse: float, *, slope: float = 0.0, largest: float = 1.0, rate: float = 1.0) -> Pool:
    """Claims drawn with `rate` times their share of the largest amount; abuse rises with the score by `slope`."""
    money, score = rng.random(count) * largest, rng.random(count)
    probability = rate * money
    return Pool(
        claim_id=np.array([f"{number}" for number in rng.integers(2**62, size=count)], dtype=object),
        score=score,
        money=money,
        probability=probability,
        selected=rng.random(count) < probability,
        bad=rng.random(count) < abuse + slope * score**3,
        unresolved=np.zeros(count, dtype=bool),
    )


def test_the_error_is_shared_between_looks_and_segments() -> None:
    promise = APPETITE.promise.model_copy(update={"delta": 0.12, "looks": 3})
    appetite: Appetite = APPETITE.model_copy(update={"promise": promise})
    assert appetite.error == pytest.approx(0.12 / 3 / 2)


def test_a_good_model_is_certified_with_the_share_of_money_that_it_approves() -> None:
    pool = _pool(np.random.default_rng(1), 8_000, 0.005, slope=0.3)
    evidence = judged(pool, SMALL, APPETITE).evidence
    assert evidence.status == "certified"
    assert evidence.threshold is not None
    assert evidence.bound is not None
    assert evidence.bound <= ALPHA
    below = pool.score <= evidence.threshold
    (point,) = (one for one in evidence.curve if one.threshold == evidence.threshold)
    assert point.money_share == pytest.approx(pool.money[below].sum() / pool.money.sum())
    assert [one.threshold for one in evidence.curve] == sorted(one.threshold for one in evidence.curve)
    assert evidence.missing == 0


def test_too_much_abuse_at_the_lowest_scores_is_said_to_be_beyond_any_number_of_audits() -> None:
    evidence = judged(_pool(np.random.default_rng(2), 8_000, 0.06), SMALL, APPETITE).evidence
    assert (evidence.status, evidence.threshold, evidence.missing) == ("above_alpha", None, 0)
    assert "no number of audits helps" in evidence.detail
    assert len(evidence.curve) == 1


def test_what_is_missing_would_have_been_enough_in_four_of_five_cases() -> None:
    rng = np.random.default_rng(3)
    pool = _pool(rng, 700, 0.018)
    found = judged(pool, SMALL, APPETITE).evidence
    assert found.status == "not_enough_evidence"
    assert found.missing > 0
    rate = found.abusive / found.drawn
    share = found.drawn / pool.selected.sum()
    assert 0.4 < share <= 0.5
    wanted = needed(ALPHA, ERROR, rate)
    assert wanted is not None
    # Of those that are missing the same share lies below the lowest threshold.
    assert found.missing == pytest.approx((wanted - found.drawn) / share, abs=1)
    assert "approve nothing here" in found.detail


def test_with_fewer_draws_than_any_test_needs_nothing_is_tested_and_no_outcome_looked_at() -> None:
    rng = np.random.default_rng(4)
    pool = _pool(rng, 600, 0.0, rate=0.2)
    worse = Pool(**{**pool.__dict__, "bad": np.ones(600, dtype=bool)})
    honest, abusive = judged(pool, SMALL, APPETITE), judged(worse, SMALL, APPETITE)
    assert honest == abusive
    assert honest.evidence.curve == ()
    assert honest.refused is None
    assert honest.evidence.drawn < fewest(ALPHA, ERROR)
    assert honest.evidence.missing == needed(ALPHA, ERROR, ALPHA / 2) - honest.evidence.drawn


@pytest.mark.parametrize(("count", "largest"), [(0, 1.0), (100, 1.0), (5_000, 0.01)])
def test_where_not_even_all_money_would_be_enough_that_is_said(count: int, largest: float) -> None:
    found = judged(_pool(np.random.default_rng(5), count, 0.0, largest=largest), SMALL, APPETITE)
    assert found.refused is not None
    assert f"even if all {count:,} claims were audited" in found.refused
    assert found.evidence.threshold is None


def test_what_nobody_decided_counts_as_abuse_and_is_told_apart() -> None:
    rng = np.random.default_rng(6)
    pool = _pool(rng, 8_000, 0.002)
    lazy = rng.random(8_000) < 0.05
    found = judged(Pool(**{**pool.__dict__, "bad": pool.bad | lazy, "unresolved": lazy}), SMALL, APPETITE).evidence
    assert judged(pool, SMALL, APPETITE).evidence.status == "certified"
    assert found.status == "above_alpha"
    assert 0 < found.unresolved <= found.abusive
    assert f"{found.unresolved:,} of them count as abuse because nobody decided them in time" in found.detail
    assert "no number of audits helps" not in found.detail


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), factor=st.floats(0.31, 1.0))
def test_what_amounts_are_counted_in_changes_nothing(seed: int, factor: float) -> None:
    """Cents or parts of a larger currency: only the share of the segment's largest counts, and of that only the draws."""
    pool = _pool(np.random.default_rng(seed), 4_000, 0.005, slope=0.2, rate=0.3)
    smaller = Pool(**{**pool.__dict__, "money": pool.money * factor})
    first, second = judged(pool, SMALL, APPETITE).evidence, judged(smaller, SMALL, APPETITE).evidence
    assert (first.threshold, first.drawn, first.abusive) == (second.threshold, second.drawn, second.abusive)


def test_over_two_segments_together_the_promise_is_broken_in_at_most_delta_of_the_runs() -> None:
    """200 runs in which both segments are just beyond what is tolerated wherever the threshold lies."""
    rng, broken, runs = np.random.default_rng(7), 0, 200
    for _ in range(runs):
        found = [judged(_pool(rng, 2_000, ALPHA * 1.01), segment, APPETITE).evidence for segment in APPETITE.segment]
        broken += any(evidence.threshold is not None for evidence in found)
    # The chance of so many at delta itself is below one in a thousand.
    assert broken <= binom.ppf(0.999, runs, APPETITE.promise.delta)
    assert broken > 0
