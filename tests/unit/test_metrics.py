"""Metrics against independent oracles: scikit-learn, SciPy, brute force, and truths known in closed form."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest, norm
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score, roc_curve

from training.metrics import (
    BINS,
    Labelled,
    area,
    average_precision,
    clopper_pearson,
    curve,
    precision_at,
    ranking,
    rate,
    recall_at,
    resampled_sums,
    roc_at,
    top_k,
    upper_bound,
)
from training.report.calibration import calibration, equal_mass
from training.report.money import approvals, money_share, own_threshold


def made(seed: int, *, size: int = 3_000, ties: bool = False, weighted: bool = False) -> Labelled:
    """Claims whose score says something about abuse."""
    rng = np.random.default_rng(seed)
    score = rng.beta(1.0, 6.0, size)
    score = np.round(score, 2) if ties else score
    return Labelled(
        score=score,
        abuse=rng.random(size) < score,
        amount=np.round(np.exp(rng.normal(8.0, 1.0, size))),
        weight=1.0 / rng.uniform(0.05, 1.0, size) if weighted else np.ones(size),
    )


CASES = [(seed, ties, weighted) for seed in range(3) for ties in (False, True) for weighted in (False, True)]


@pytest.mark.parametrize(("seed", "ties", "weighted"), CASES)
def test_areas_and_recalls_are_those_of_scikit_learn(seed: int, ties: bool, weighted: bool) -> None:
    claims = made(seed, ties=ties, weighted=weighted)
    line = curve(claims.score, claims.abuse, claims.weight)
    args = (claims.abuse, claims.score)
    assert float(area(line)) == pytest.approx(roc_auc_score(*args, sample_weight=claims.weight), abs=1e-12)
    expected = average_precision_score(*args, sample_weight=claims.weight)
    assert float(average_precision(line)) == pytest.approx(expected, abs=1e-12)
    wrong, recall, _ = roc_curve(*args, sample_weight=claims.weight, drop_intermediate=False)
    for allowed in (0.01, 0.05, 0.5):
        assert float(recall_at(line, allowed)) == pytest.approx(recall[wrong <= allowed].max(), abs=1e-12)
    grid = np.linspace(0.0, 1.0, 33)
    np.testing.assert_allclose(roc_at(line, grid), np.interp(grid, wrong, recall), atol=1e-9)


def test_precision_at_a_recall_is_that_of_the_first_threshold_that_reaches_it() -> None:
    claims = made(5, size=400)
    line = curve(claims.score, claims.abuse, claims.weight)
    for wanted in (0.1, 0.5, 1.0):
        for threshold in np.sort(claims.score)[::-1]:
            marked = claims.score >= threshold
            if claims.abuse[marked].sum() >= wanted * claims.abuse.sum() - 1e-9:
                break
        assert precision_at(line, np.array([wanted]))[0] == pytest.approx(claims.abuse[marked].mean())


def test_intervals_cover_a_truth_known_in_closed_form() -> None:
    """Two normal distributions one and a half apart: area and recalls follow from the normal distribution."""
    apart, size, base, repetitions = 1.5, 4_000, 0.1, 80
    truths = {"auc": norm.cdf(apart / math.sqrt(2)), "recall": norm.cdf(apart - norm.isf(0.05))}
    covered = dict.fromkeys(truths, 0)
    for seed in range(repetitions):
        rng = np.random.default_rng(1_000 + seed)
        abuse = rng.random(size) < base
        score = norm.cdf(rng.normal(0.0, 1.0, size) + apart * abuse)
        ranked = ranking(Labelled(score, abuse, np.ones(size), np.ones(size)), resamples=200, rng=rng)
        found = {"auc": ranked.interval(area), "recall": ranked.interval(lambda line: recall_at(line, 0.05))}
        for name, interval in found.items():
            covered[name] += interval.low <= truths[name] <= interval.high
    # 95 % intervals: fewer than 70 of 80 happens once in 300 runs of a right method.
    assert min(covered.values()) >= 70, covered


def test_weighted_intervals_cover_the_truth_of_the_whole_population() -> None:
    """Labels drawn with a chance that depends on the score: weights put the area right, and its interval holds it."""
    apart, size, repetitions, covered = 1.5, 20_000, 60, 0
    for seed in range(repetitions):
        rng = np.random.default_rng(2_000 + seed)
        abuse = rng.random(size) < 0.1
        value = rng.normal(0.0, 1.0, size) + apart * abuse
        chance = np.where(value < 0.5, 0.1, 1.0)
        drawn = rng.random(size) < chance
        claims = Labelled(norm.cdf(value), abuse, np.ones(size), 1.0 / chance).where(drawn)
        interval = ranking(claims, resamples=200, rng=rng).interval(area)
        covered += interval.low <= norm.cdf(apart / math.sqrt(2)) <= interval.high
    assert covered >= 51


def test_bootstrap_on_bins_is_as_wide_as_one_on_claims() -> None:
    claims = made(11, size=6_000)
    assert len(np.unique(claims.score)) > BINS
    binned = ranking(claims, resamples=800, rng=np.random.default_rng(1)).interval(area)
    rng = np.random.default_rng(2)
    plain = []
    for _ in range(300):
        drawn = rng.integers(0, len(claims), len(claims))
        plain.append(roc_auc_score(claims.abuse[drawn], claims.score[drawn]))
    low, high = np.quantile(plain, (0.025, 0.975))
    assert binned.high - binned.low == pytest.approx(high - low, rel=0.2)


def test_the_same_seed_gives_the_same_intervals() -> None:
    claims = made(3, weighted=True)
    one, two, other = (
        ranking(claims, resamples=100, rng=np.random.default_rng(seed)).interval(area) for seed in (7, 7, 8)
    )
    assert one == two != other


def test_resampled_sums_have_the_mean_and_the_spread_of_a_poisson_bootstrap() -> None:
    rng = np.random.default_rng(4)
    place, value = rng.integers(0, 3, 5_000), rng.lognormal(3.0, 1.0, 5_000)
    sums = np.concatenate(list(resampled_sums(place, value, 4, resamples=2_000, rng=rng)))
    expected = np.bincount(place, value, 4)
    np.testing.assert_allclose(sums.mean(axis=0), expected, rtol=0.01)
    np.testing.assert_allclose(sums.var(axis=0), np.bincount(place, value**2, 4), rtol=0.15)


def test_exact_bounds_are_those_of_scipy() -> None:
    for hits, trials in ((0, 10), (3, 40), (40, 40), (17, 5_000)):
        expected = binomtest(hits, trials).proportion_ci(0.95, method="exact")
        found = clopper_pearson(hits, trials)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
        one_sided = binomtest(hits, trials, alternative="less").proportion_ci(0.95, method="exact")
        assert upper_bound(hits, trials) == pytest.approx(one_sided.high, abs=1e-12)
    assert math.isnan(clopper_pearson(0, 0).value)
    assert math.isnan(upper_bound(0, 0))


def test_a_weighted_share_is_that_of_repeated_claims() -> None:
    hit = np.array([True, False, False, True])
    assert rate(hit, np.array([3.0, 1.0, 1.0, 1.0])).value == pytest.approx(4 / 6)
    assert math.isnan(rate(hit[:0], np.array([])).value)


def test_the_daily_top_k_is_that_of_sorting_each_day() -> None:
    rng = np.random.default_rng(6)
    size, k = 900, 7
    day, score = rng.integers(0, 40, size), np.round(rng.random(size), 2)
    known, abuse = rng.random(size) < 0.7, rng.random(size) < 0.3
    abuse &= known
    precision, at_least, recall, looked = [], [], [], 0
    for one in np.unique(day):
        rows = [row for row in range(size) if day[row] == one]
        chosen = sorted(rows, key=lambda row: (-score[row], row))[:k]
        looked += len(chosen)
        found = sum(abuse[row] for row in chosen)
        at_least.append(found / len(chosen))
        if any(known[row] for row in chosen):
            precision.append(found / sum(known[row] for row in chosen))
        if abuse[rows].any():
            recall.append(found / abuse[rows].sum())
    top = top_k(score, day, known, abuse, k=k, resamples=200, rng=rng)
    assert (top.days, top.reviewed) == (len(np.unique(day)), looked)
    assert top.precision.value == pytest.approx(np.mean(precision))
    assert top.at_least.value == pytest.approx(np.mean(at_least))
    assert top.recall.value == pytest.approx(np.mean(recall))
    assert top.precision.low < top.precision.value < top.precision.high


@pytest.mark.parametrize("weighted", [False, True])
def test_losses_are_those_of_scikit_learn(weighted: bool) -> None:
    claims = made(8, weighted=weighted)
    found = calibration(claims, resamples=100, rng=np.random.default_rng(1))
    args = {"sample_weight": claims.weight}
    assert found.brier.value == pytest.approx(brier_score_loss(claims.abuse, claims.score, **args), abs=1e-12)
    assert found.log_loss.value == pytest.approx(log_loss(claims.abuse, claims.score, **args), abs=1e-12)
    assert found.brier.low < found.brier.value < found.brier.high


def test_calibration_error_of_right_predictions_is_what_chance_gives_and_of_wrong_ones_more() -> None:
    claims = made(9, size=20_000)
    right = calibration(claims, resamples=200, rng=np.random.default_rng(1))
    assert right.ece < 2 * right.ece_of_chance
    assert right.low_risk_ratio.low < 1.0 < right.low_risk_ratio.high
    halved = Labelled(claims.score / 2, claims.abuse, claims.amount, claims.weight)
    wrong = calibration(halved, resamples=200, rng=np.random.default_rng(1))
    # Every bin errs to the same side, so the error is that of the means.
    assert wrong.ece == pytest.approx(claims.abuse.mean() - claims.score.mean() / 2, rel=1e-6)
    assert wrong.low_risk_ratio.high < 1.0


def test_equal_mass_bins_hold_equal_mass_and_equal_scores_stay_together() -> None:
    claims = made(10, weighted=True)
    mass = np.bincount(equal_mass(claims.score, claims.weight, 10), claims.weight)
    np.testing.assert_allclose(mass / mass.sum(), 0.1, atol=0.01)
    tied = made(10, ties=True)
    place = equal_mass(tied.score, tied.weight, 10)
    for value in np.unique(tied.score):
        assert len(np.unique(place[tied.score == value])) == 1


@pytest.mark.parametrize("weighted", [False, True])
def test_money_by_threshold_is_that_of_adding_up(weighted: bool) -> None:
    claims = made(12, ties=True, weighted=weighted)
    rng = np.random.default_rng(1)
    score = np.concatenate([claims.score, np.round(rng.random(500), 2)])
    amount = np.concatenate([claims.amount, np.full(500, 1_000.0)])
    for found in approvals(score, amount, claims, [0.0, 0.05, 0.2, 1.0]):
        approved, passed = score <= found.threshold, claims.score <= found.threshold
        value = claims.weight * claims.amount
        lost = value[passed & claims.abuse].sum()
        assert found.approved_share == pytest.approx(approved.mean())
        assert found.approved_money_share == pytest.approx(amount[approved].sum() / amount.sum())
        assert found.to_review == (~approved).sum()
        assert found.let_through_money == pytest.approx(lost)
        assert found.caught_money == pytest.approx(value[~passed & claims.abuse].sum())
        if passed.any():
            assert found.let_through_share == pytest.approx(lost / value[passed].sum())
            expected = np.average(claims.abuse[passed], weights=claims.weight[passed])
            assert found.let_through_claims_share == pytest.approx(expected)
            honest = claims.weight[~claims.abuse].sum()
            assert found.honest_approved_share == pytest.approx(claims.weight[passed & ~claims.abuse].sum() / honest)


def test_the_own_threshold_has_exact_bounds_with_and_without_the_unknown() -> None:
    claims = made(13)
    score, known = np.append(claims.score, [0.01, 0.01, 0.9]), np.append(np.ones(len(claims), bool), [False] * 3)
    amount = np.append(claims.amount, [1.0, 1.0, 1.0])
    own = own_threshold(score, amount, known, claims, 0.05, resamples=300, rng=np.random.default_rng(1))
    hits, trials = int(claims.abuse[claims.score <= 0.05].sum()), int((claims.score <= 0.05).sum())
    assert (own.approved_abuse, own.approved_known, own.approved_unknown) == (hits, trials, 2)
    assert own.bound == pytest.approx(binomtest(hits, trials, alternative="less").proportion_ci(0.95).high)
    worse = binomtest(hits + 2, trials + 2, alternative="less").proportion_ci(0.95).high
    assert own.bound_pessimistic == pytest.approx(worse)
    assert own.let_through_share.low < own.approval.let_through_share < own.let_through_share.high


def test_a_money_share_of_nothing_is_unknown_and_without_abuse_has_a_bound() -> None:
    claims, rng = made(14), np.random.default_rng(1)
    assert math.isnan(money_share(claims.where(claims.score < 0), resamples=50, rng=rng).value)
    honest = money_share(claims.where(~claims.abuse), resamples=50, rng=rng)
    assert honest.value == 0.0 < honest.high


def test_a_million_claims_are_ranked_with_intervals_in_bounded_time() -> None:
    claims = made(15, size=1_000_000)
    interval = ranking(claims, resamples=500, rng=np.random.default_rng(1)).interval(area)
    assert interval.low < interval.value < interval.high
    assert interval.high - interval.low < 0.01
