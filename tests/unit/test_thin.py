"""Thinning: what is kept of draws looks as if one probability in proportion to the amount had drawn it."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, kstest

from risk.promise.appetite import Segment
from risk.promise.thin import kept, kept_of, uniform, uniforms
from training.certificates.drawn import Pool, drawn, pool_of

IDS = [f"claim-{number}" for number in range(40_000)]


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40), st.floats(0.001, 1), st.floats(0.001, 1))
def test_one_claim_and_many_are_thinned_alike_and_always_the_same(claim_id: str, wanted: float, more: float) -> None:
    stored = max(wanted, more)
    assert uniforms([claim_id])[0] == uniform(claim_id)
    assert kept(claim_id, wanted=wanted, stored=stored) == (uniform(claim_id) < wanted / stored)
    assert kept_of([claim_id], wanted=np.array([wanted]), stored=np.array([stored]))[0] == kept(
        claim_id, wanted=wanted, stored=stored
    )
    assert kept(claim_id, wanted=stored, stored=stored)


def test_the_numbers_are_spread_evenly_and_neighbouring_ids_have_nothing_in_common() -> None:
    numbers = uniforms(IDS)
    assert kstest(numbers, "uniform").pvalue > 0.001
    assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 0.02


@pytest.mark.parametrize(("wanted", "stored"), [(0.5, 0.4), (0.0, 0.5), (0.5, 1.1), (float("nan"), 0.5)])
def test_more_than_was_drawn_cannot_be_kept(wanted: float, stored: float) -> None:
    with pytest.raises(ValueError, match="only fewer can be kept"):
        kept("c", wanted=wanted, stored=stored)
    with pytest.raises(ValueError, match="only fewer can be kept"):
        kept_of(["c"], wanted=np.array([wanted]), stored=np.array([stored]))


def _pool(rng: np.random.Generator, count: int = 40_000, *, least: float = 0.05) -> Pool:
    """Amounts of all sizes; draws with more than their share, by a floor that differs between claims."""
    money = np.clip(rng.lognormal(-2.0, 1.0, count), 1e-4, 1.0)
    probability = np.maximum(0.3 * money, rng.choice([least, 0.4, 1.0], count))
    score = rng.random(count)
    bad = rng.random(count) < score * money
    return Pool(
        claim_id=np.array(IDS[:count], dtype=object),
        score=score,
        money=money,
        probability=probability,
        selected=rng.random(count) < probability,
        bad=bad,
        unresolved=np.zeros(count, dtype=bool),
    )


def test_what_thinning_keeps_was_drawn_in_proportion_to_the_amount() -> None:
    rng = np.random.default_rng(5)
    pool = _pool(rng)
    sample = drawn(pool)
    assert sample.rate == pytest.approx((pool.probability / pool.money).min())
    bins = np.digitize(pool.money, np.quantile(pool.money, np.linspace(0, 1, 21)[1:-1]))
    expected = np.bincount(bins, sample.rate * pool.money)
    observed = np.bincount(bins[np.isin(pool.score, sample.score)], minlength=20)
    variance = np.bincount(bins, sample.rate * pool.money * (1 - sample.rate * pool.money))
    assert chi2.sf(np.sum((observed - expected) ** 2 / variance), 20) > 0.001
    # Among what is kept the plain share of abuse is that of the money.
    truth = (pool.money * pool.bad).sum() / pool.money.sum()
    assert abs(sample.bad.mean() - truth) < 4 * np.sqrt(truth / len(sample))
    # Before thinning it is not.
    assert abs(pool.bad[pool.selected].mean() - truth) > 10 * np.sqrt(truth / pool.selected.sum())


def test_the_rate_is_what_the_rarest_claim_allows_and_that_claim_is_named() -> None:
    pool = _pool(np.random.default_rng(6))
    assert not drawn(pool).collapsed
    pool.probability[17] = 1e-6 * pool.money[17]
    sample = drawn(pool)
    assert (sample.rate, sample.rarest, sample.collapsed) == (pytest.approx(1e-6), IDS[17], True)


def test_everything_that_was_reviewed_is_thinned_to_the_share_of_the_largest_amount() -> None:
    rng = np.random.default_rng(7)
    money = rng.random(20_000)
    everything = np.ones(20_000, dtype=bool)
    pool = Pool(np.array(IDS[:20_000], dtype=object), rng.random(20_000), money, np.ones(20_000), everything, ~everything, ~everything)
    sample = drawn(pool)
    assert (sample.rate, sample.rarest) == (1.0, None)
    assert abs(len(sample) - money.sum()) < 4 * np.sqrt((money * (1 - money)).sum())


def test_a_claim_has_the_chance_of_its_draw_whatever_was_decided_and_none_where_it_was_approved_without_one() -> None:
    claims = pd.DataFrame(
        [
            ("drawn and approved", 300, "CNY", "approve", 0.2, True, "abuse"),
            ("not drawn but approved", 300, "CNY", "approve", 0.2, False, None),
            ("drawn and reviewed, nobody decided", 300, "CNY", "review", 0.2, True, "undecided"),
            ("not drawn, reviewed, labelled all the same", 300, "CNY", "review", 0.2, False, "abuse"),
            ("reviewed before there were draws", 600, "CNY", "review", None, None, "legitimate"),
            ("reviewed, in no draw, without a label", 600, None, "review", 0.0, False, None),
            ("approved before there were draws", 600, "EUR", "approve", None, None, None),
            ("nobody says what was decided", 600, "CNY", None, None, None, "abuse"),
        ],
        columns=["claim_id", "amount", "currency", "decision", "audit_probability", "audit_selected", "label"],
    ).assign(score=0.1, segment="small")
    other = claims.assign(segment="large")
    pool = pool_of(pd.concat([claims, other]), Segment(name="small", largest={"CNY": 600, "EUR": 1200}))
    assert pool.claim_id.tolist() == claims["claim_id"].tolist()
    assert pool.money.tolist() == [0.5, 0.5, 0.5, 0.5, 1, 1, 0.5, 1]
    assert np.array_equal(pool.probability, [0.2, 0.2, 0.2, 0.2, 1, 1, np.nan, 1], equal_nan=True)
    assert pool.selected.tolist() == [True, False, True, False, True, True, False, True]
    assert pool.bad.tolist() == [True, True, True, True, False, True, True, True]
    assert pool.unresolved.tolist() == [False, True, True, False, False, True, True, False]
    assert pool.without_draw == 1
