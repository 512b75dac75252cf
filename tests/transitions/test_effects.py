"""Effects against scipy, textbook numbers and their own invariants."""

from math import inf, isnan, sqrt

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from saltus.errors import SaltusError
from saltus.transitions.statistics.effects import (
    effect,
    holm,
    median_ratio,
    noncentrality,
    unbiased,
)
from saltus.transitions.statistics.times import Times

numbers = st.integers(-10_000, 10_000).map(lambda whole: whole / 100)
samples = st.lists(numbers, min_size=2, max_size=8).map(np.array)
pairs = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=8).map(
    lambda rows: np.array(rows).T
)
quick = settings(deadline=None, max_examples=30)


def drawn(seed=0, sizes=(7, 9)):
    generator = np.random.default_rng(seed)
    return generator.normal(1.0, 0.5, sizes[0]), generator.normal(1.7, 1.5, sizes[1])


def test_independent_groups_are_compared_by_welch():
    a, b = drawn()
    found, known = effect(a, b), stats.ttest_ind(b, a, equal_var=False)
    interval = known.confidence_interval(0.95)
    assert found.p == pytest.approx(known.pvalue, rel=1e-9)
    assert found.difference.estimate == pytest.approx(b.mean() - a.mean())
    assert (found.difference.low, found.difference.high) == pytest.approx(tuple(interval))
    assert (found.difference.count, found.paired) == (16, False)
    assert (found.reference.count, found.other.count) == (7, 9)


def test_the_same_seeds_are_compared_pair_by_pair():
    a, noise = drawn(sizes=(8, 8))
    b = a + 0.1 * noise + 0.2
    found, known = effect(a, b, paired=True), stats.ttest_rel(b, a)
    assert found.p == pytest.approx(known.pvalue, rel=1e-9)
    interval = known.confidence_interval(0.95)
    assert (found.difference.low, found.difference.high) == pytest.approx(tuple(interval))
    assert found.difference.count == 8
    assert found.p < effect(a, b).p / 10  # what the seeds share is no noise here


def test_hedges_g_is_the_pooled_difference_without_bias():
    a, b = drawn()
    pooled = sqrt((6 * a.var(ddof=1) + 8 * b.var(ddof=1)) / 14)
    found = effect(a, b).standardised
    assert found.estimate == pytest.approx(unbiased(14) * (b.mean() - a.mean()) / pooled)
    assert found.low < found.estimate < found.high


@pytest.mark.parametrize("freedom", [2, 3, 5, 10, 50, 1000])
def test_the_correction_is_hedges_and_close_to_his_approximation(freedom):
    assert unbiased(freedom) == pytest.approx(1 - 3 / (4 * freedom - 1), rel=0.03 / freedom)
    # It takes the bias out of 1 / S, where S^2 is chi^2 / freedom.
    if freedom > 2:
        inverse = stats.chi2(freedom).expect(lambda square: sqrt(freedom / square))
        assert unbiased(freedom) * inverse == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("freedom", [2.0, 3.3, 9.0, 60.0])
@pytest.mark.parametrize("t", [-3.0, 0.0, 0.4, 2.5, 9.0])
def test_the_interval_of_the_noncentrality_is_that_of_the_noncentral_t(t, freedom):
    low, high = noncentrality(t, freedom)
    assert stats.nct.cdf(t, freedom, low) == pytest.approx(0.975, abs=5e-5)
    assert stats.nct.cdf(t, freedom, high) == pytest.approx(0.025, abs=5e-5)


def test_intervals_of_g_cover_the_truth_as_often_as_they_say():
    generator = np.random.default_rng(1)
    inside = 0
    for _ in range(120):
        a, b = generator.normal(0.0, 1.0, 6), generator.normal(0.8, 1.0, 6)
        found = effect(a, b).standardised
        inside += found.low <= 0.8 <= found.high
    share = stats.binomtest(inside, 120, 0.95)
    assert share.pvalue > 0.001, inside


@quick
@given(samples, samples)
def test_exchanging_the_groups_changes_the_sign_and_nothing_else(a, b):
    found, back = effect(a, b), effect(b, a)
    assert found.difference.estimate == pytest.approx(-back.difference.estimate)
    assert found.difference.low == pytest.approx(-back.difference.high)
    if not isnan(found.p):
        assert found.p == pytest.approx(back.p)
        assert found.standardised.low == pytest.approx(-back.standardised.high, abs=1e-6)


@quick
@given(pairs)
def test_the_order_of_the_seeds_means_nothing(rows):
    a, b = rows
    back = effect(a[::-1].copy(), b[::-1].copy(), paired=True)
    found = effect(a, b, paired=True)
    assert isnan(found.p) == isnan(back.p)
    if not isnan(found.p):
        assert found.p == pytest.approx(back.p, rel=1e-6)


@quick
@given(pairs, st.booleans(), st.sampled_from([1e-150, 1e-3, 7.0, 1e100]))
def test_units_change_the_difference_and_nothing_else(rows, paired, factor):
    a, b = rows
    found, scaled = effect(a, b, paired), effect(factor * a, factor * b, paired)
    assert scaled.difference.estimate == pytest.approx(factor * found.difference.estimate)
    assert isnan(found.p) == isnan(scaled.p)
    if not isnan(found.p):
        assert scaled.p == pytest.approx(found.p)
        assert scaled.standardised.estimate == pytest.approx(found.standardised.estimate)


@quick
@given(pairs, st.booleans())
def test_all_intervals_and_the_test_agree(rows, paired):
    found = effect(*rows, paired)
    assume(not isnan(found.p) and abs(found.p - 0.05) > 1e-3)
    excluded = found.p < 0.05
    assert (found.difference.low > 0 or found.difference.high < 0) == excluded
    if not isnan(found.standardised.estimate):
        assert (found.standardised.low > 0 or found.standardised.high < 0) == excluded
        assert found.standardised.low <= found.standardised.estimate <= found.standardised.high


@quick
@given(pairs, st.data())
def test_values_that_are_not_finite_are_left_out(rows, data):
    a, b = rows
    place = data.draw(st.integers(0, len(a) - 1))
    broken = a.copy()
    broken[place] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    rest = np.delete(a, place), np.delete(b, place)
    assert effect(broken, b, paired=True).difference == effect(*rest, paired=True).difference
    assert effect(broken, b).difference == effect(rest[0], b).difference
    assert effect(broken, b, paired=True).other.count == len(b)  # its mean is over all its seeds


def test_values_without_spread_are_not_tested():
    for paired in (False, True):
        found = effect(np.full(4, 0.1), np.full(4, 0.3), paired)
        ends = (found.difference.low, found.difference.estimate, found.difference.high)
        assert ends == pytest.approx((0.2, 0.2, 0.2))
        assert isnan(found.p) and isnan(found.standardised.estimate)
    same = effect(np.zeros(3), np.zeros(3))
    assert (same.difference.estimate, same.difference.high) == (0.0, 0.0)
    # one group with spread is enough
    assert effect(np.zeros(4), np.array([1.0, 2.0, 3.0, 4.0])).p < 0.05
    # a constant shift of every seed: nothing to test, though each group has a spread
    assert isnan(effect(np.array([1.0, 2.0, 4.0]), np.array([2.0, 3.0, 5.0]), paired=True).p)


def test_too_few_seeds_have_no_interval():
    one = effect(np.array([1.0]), np.array([2.0]))
    assert (one.difference.estimate, one.difference.low, one.difference.high) == (1.0, -inf, inf)
    none = effect(np.array([np.nan]), np.array([2.0]))
    assert isnan(none.difference.estimate) and none.difference.count == 1
    two = effect(np.array([1.0, 2.0]), np.array([2.0, 4.0]), paired=True)
    assert np.isfinite(two.difference.high) and isnan(two.standardised.estimate)


def test_pairs_must_be_pairs():
    with pytest.raises(SaltusError, match="as many seeds in both groups, not 2 and 3"):
        effect(np.zeros(2), np.zeros(3), paired=True)


def test_holm_on_paper():
    assert holm([0.01, 0.04, 0.03, np.nan]) == pytest.approx(
        [0.03, 0.06, 0.06, np.nan], nan_ok=True
    )
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@quick
@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_lies_between_no_correction_and_bonferroni(p):
    adjusted = holm(p)
    for own, raw in zip(adjusted, p, strict=True):
        assert raw <= own <= min(1.0, len(p) * raw)
    assert [adjusted[k] for k in np.argsort(p, kind="stable")] == sorted(adjusted)


def leaps(times, budget=1000.0):
    given = np.asarray(times, dtype=np.float64)
    return Times(np.minimum(given, budget), given < budget)


def test_the_ratio_of_medians_is_free_of_units_and_turns_around():
    a, b = leaps([200, 210, 230, 240, 300]), leaps([100, 105, 120, 125, 140])
    found, back = median_ratio(a, b), median_ratio(b, a)
    assert found.estimate == pytest.approx(230 / 120)
    assert found.low == pytest.approx(1 / back.high, rel=0.1)
    assert 1 < found.low < found.estimate < found.high
    assert found.count == 10
    scaled = median_ratio(Times(a.times * 7, a.happened), Times(b.times * 7, b.happened))
    assert scaled.low == pytest.approx(found.low)


def test_a_median_that_is_missing_bounds_no_ratio():
    half, none = leaps([100, 110, 120, 130, 140, 2000]), leaps([2000] * 6)
    assert median_ratio(none, half).estimate == inf
    assert median_ratio(none, half).low > 1
    assert median_ratio(half, none).estimate == 0.0
    both = median_ratio(none, none)
    assert isnan(both.estimate) and (both.low, both.high) == (0.0, inf)
    one = median_ratio(leaps([100]), half)
    assert (one.low, one.high) == (0.0, inf)
