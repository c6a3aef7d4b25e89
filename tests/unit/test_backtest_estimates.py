"""What labels say of claims that nobody looked at: estimates against what was made up, bounds against their promise."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from training.backtest.honest import Honest, difference, honest_of
from training.backtest.truth import Bound, Truth, bound, let_through, read_truth, together
from training.metrics import Interval, upper_bound

CLAIMS = 6_000


def _world(seed: int, *, rate: float = 1.0) -> tuple[Truth, NDArray, NDArray, NDArray]:
    """Amounts, scores and abuse; every claim drawn in proportion to its amount. Truth, amount, score, abuse."""
    rng = np.random.default_rng(seed)
    amount = np.exp(rng.normal(8.5, 1.0, CLAIMS)).clip(100, 30_000).round()
    score = rng.beta(0.6, 9.0, CLAIMS)
    abuse = rng.random(CLAIMS) < score
    chance = rate * amount / 30_000
    selected = rng.random(CLAIMS) < chance
    labels = pd.DataFrame({"label": np.where(selected, np.where(abuse, "abuse", "legitimate"), None), "audit_probability": np.nan})
    decisions = pd.DataFrame({"decision": "review", "audit_probability": chance, "audit_selected": selected})
    return read_truth(labels, decisions, abuse), amount, score, abuse


def test_draws_of_all_claims_are_told_from_draws_of_approvals_and_from_none() -> None:
    label = pd.DataFrame({"label": ["abuse", "legitimate", "legitimate", None], "audit_probability": np.nan})
    nothing = pd.DataFrame({"decision": [None] * 4, "audit_probability": [None] * 4, "audit_selected": [None] * 4})
    every = nothing.assign(decision=["approve", "review"] * 2, audit_probability=0.5, audit_selected=[True, False, True, True])
    some = every.assign(audit_probability=[0.25, None, 0.25, None], audit_selected=[True, None, False, None])
    found = [read_truth(label, decisions, None) for decisions in (every, some, nothing)]
    assert [truth.design for truth in found] == ["drawn", "mixed", "labels"]
    # The drawn stand for 1 / chance; of the reviewed one has a label and stands for both.
    assert [truth.weight.tolist() for truth in found] == [[2.0, 0.0, 2.0, 2.0], [4.0, 2.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]]
    assert found[0].open.tolist() == [False, False, False, True]
    assert read_truth(label.assign(label=None), nothing, None).design == "nothing"


def test_the_estimate_of_abuse_is_right_on_average_and_its_interval_holds_the_truth() -> None:
    errors, held = [], 0
    for seed in range(60):
        truth, amount, score, abuse = _world(seed)
        approved = score < 0.08
        found = let_through(truth, amount, approved, resamples=200, rng=np.random.default_rng(seed))
        assert found.true == pytest.approx(amount[approved & abuse].sum() / amount[approved].sum())
        errors.append(found.share.value - found.true)
        held += found.share.low <= found.true <= found.share.high
    assert abs(np.mean(errors)) < 3 * np.std(errors) / math.sqrt(len(errors))
    assert held >= 0.85 * 60


def test_the_exact_bound_is_broken_no_more_often_than_it_says() -> None:
    broken = 0
    for seed in range(200):
        truth, amount, score, abuse = _world(seed, rate=0.4)
        approved = score < 0.08
        found = bound(truth, amount, approved, [str(place) for place in range(CLAIMS)], 0.8)
        assert found.value is not None
        broken += found.value < amount[approved & abuse].sum() / amount[approved].sum()
    # Expected are at most 40; 57 is three deviations above.
    assert 10 <= broken <= 57


def test_draws_that_were_not_in_proportion_are_thinned_until_they_are() -> None:
    amount = np.array([100.0, 200.0, 400.0] * 400)
    chance = np.tile([0.5, 0.5, 0.5], 400)
    selected = np.random.default_rng(3).random(1200) < chance
    labels = pd.DataFrame({"label": np.where(amount == 100.0, "abuse", "legitimate"), "audit_probability": np.nan})
    decisions = pd.DataFrame({"decision": "review", "audit_probability": chance, "audit_selected": selected})
    truth = read_truth(labels, decisions, None)
    found = bound(truth, amount, np.ones(1200, dtype=bool), [f"k{place}" for place in range(1200)], 0.9)
    # A quarter of the cheapest, half of the middle ones: a seventh of the money is abuse, a third of the claims.
    assert found.drawn < selected.sum()
    assert 1 / 7 < found.value < 0.24
    assert found.value == upper_bound(found.abusive, found.drawn, 0.9)


def test_what_is_open_counts_as_abuse_in_the_bound_and_the_worst_case_and_not_in_the_estimate() -> None:
    labels = pd.DataFrame({"label": ["legitimate", None, "undecided", "legitimate"], "audit_probability": np.nan})
    decisions = pd.DataFrame({"decision": "approve", "audit_probability": 0.5, "audit_selected": [True] * 4})
    decisions.loc[3, "decision"] = "review"
    truth, amount, everything = read_truth(labels, decisions, None), np.full(4, 100.0), np.ones(4, dtype=bool)
    found = let_through(truth, amount, everything, resamples=20, rng=np.random.default_rng(1))
    assert (found.share.value, found.pessimistic, found.open) == (0.0, 0.5, 2)
    assert bound(truth, amount, everything, list("abcd"), 0.9).abusive == 2


def test_claims_about_no_money_change_no_bound_and_alone_have_none() -> None:
    truth, amount, score, _abuse = _world(1)
    approved, ids = score < 0.08, [str(place) for place in range(CLAIMS)]
    free = np.flatnonzero(approved & np.isfinite(truth.probability))[0]
    less, rest = np.where(np.arange(CLAIMS) == free, 0.0, amount), approved & (np.arange(CLAIMS) != free)
    assert bound(truth, less, approved, ids, 0.9) == bound(truth, amount, rest, ids, 0.9)
    assert bound(truth, np.zeros(CLAIMS), approved, ids, 0.9).value is None


def test_a_bound_is_refused_where_some_approvals_could_not_have_been_drawn() -> None:
    truth, amount, _score, _abuse = _world(1)
    chance = truth.chance.copy()
    chance[5] = 0.0
    assert bound(replace(truth, chance=chance), amount, np.ones(CLAIMS, dtype=bool), [""] * CLAIMS, 0.9).value is None


def test_bounds_of_segments_together_count_what_cannot_be_said_as_abuse() -> None:
    some, none = Bound(0.02, 0.95, 100, 0, ""), Bound(None, 0.95, 0, 0, "no draw")
    assert together([(300.0, some), (100.0, none)], 0.9).value == pytest.approx(0.75 * 0.02 + 0.25)
    assert together([(300.0, none)], 0.9).value is None
    assert together([], 0.9).value is None


# --- honest claims ------------------------------------------------------------------------------------------------


def test_the_share_of_honest_claims_is_right_on_average_even_where_scores_are_wrong() -> None:
    errors, held = [], 0
    for seed in range(80):
        truth, _amount, score, abuse = _world(seed)
        # These scores say twice the abuse that there is.
        honest, approved = honest_of(truth, np.clip(2.0 * score, 0.0, 0.9)), score < 0.05
        found, true = honest.share(approved), approved[~abuse].mean()
        errors.append(found.value - true)
        held += found.low <= true <= found.high
    assert abs(np.mean(errors)) < 3 * np.std(errors) / math.sqrt(len(errors))
    assert held >= 0.9 * 80


def test_with_every_label_known_honest_claims_are_those_labelled_so() -> None:
    rng = np.random.default_rng(4)
    abuse, value = rng.random(500) < 0.2, rng.exponential(3.0, 500)
    labels = pd.DataFrame({"label": np.where(abuse, "abuse", "legitimate"), "audit_probability": np.nan})
    nothing = pd.DataFrame({name: [None] * 500 for name in ("decision", "audit_probability", "audit_selected")})
    honest = honest_of(read_truth(labels, nothing, None), rng.random(500))
    assert honest.count == pytest.approx((~abuse).astype(float))
    assert honest.total(value) == pytest.approx(value[~abuse].sum())
    approved = value < 2.0
    assert honest.share(approved).value == pytest.approx(approved[~abuse].mean())
    found = [interval.value for interval in honest.quantiles(value, (0.5, 0.9))]
    assert found == pytest.approx(np.quantile(value[~abuse], (0.5, 0.9), method="inverted_cdf"))
    member = rng.random(500) < 0.4
    gap = honest.gap(approved, member)
    assert gap.value == pytest.approx(approved[~abuse].mean() - approved[~abuse & member].mean())


def test_intervals_of_gaps_hold_a_gap_that_is_there_and_no_gap() -> None:
    """Two groups approved with chances 0.5 and 0.3, and two with the same."""
    for chances, gap in (((0.5, 0.3), 0.1), ((0.4, 0.4), 0.0)):
        held = 0
        for seed in range(100):
            rng = np.random.default_rng([seed, 9])
            member = rng.random(800) < 0.5
            approved = rng.random(800) < np.where(member, chances[1], chances[0])
            count = np.ones(800)
            found = Honest(count, count > 0).gap(approved, member)
            held += found.low <= gap <= found.high
        assert 88 <= held <= 100


def test_intervals_of_quantiles_hold_them_about_as_often_as_they_say() -> None:
    held = 0
    for seed in range(200):
        value = np.random.default_rng([seed, 2]).exponential(1.0, 300)
        (found,) = Honest(np.ones(300), np.ones(300, dtype=bool)).quantiles(value, (0.9,))
        held += found.low <= -math.log(0.1) <= found.high
    assert 180 <= held <= 200


def test_the_difference_of_intervals_is_no_narrower_than_either() -> None:
    found = difference(Interval(5.0, 4.0, 7.0), Interval(2.0, 1.0, 2.5))
    assert found == Interval(3.0, 3.0 - math.hypot(1.0, 0.5), 3.0 + math.hypot(2.0, 1.0))


def test_without_any_label_nothing_is_said_of_honest_claims() -> None:
    honest = Honest(np.full(3, 0.9), np.zeros(3, dtype=bool))
    assert math.isnan(honest.share(np.ones(3, dtype=bool)).value)
    assert math.isnan(honest.total(np.ones(3)))
    assert honest.total(np.zeros(3)) == 0.0
