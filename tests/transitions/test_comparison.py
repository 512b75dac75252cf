"""Comparing arms: the log-rank test by hand, against lifelines and by every relabelling."""

from itertools import permutations
from math import comb, inf, isnan

import lifelines.statistics
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.transitions import (
    LogRank,
    Times,
    log_rank,
    median_difference,
    restricted_mean,
    restricted_mean_difference,
)

TREATED = [6, 6, 6, 7, 10, 13, 16, 22, 23], [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def times(leapt, censored=()):
    """Times from those of seeds that leapt and of seeds that did not."""
    values = np.array([*leapt, *censored], dtype=np.float64)
    return Times(values, np.arange(len(values)) < len(leapt))


SEEDS = st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=2, max_size=7).map(
    lambda pairs: Times(
        np.array([float(time) for time, _ in pairs]),
        np.array([happened for _, happened in pairs], dtype=bool),
    )
)


def by_hand(a, b, standardised=True):
    """Mantel's statistic, one table for each leap time; or (observed - expected)^2 alone."""
    apart = variance = 0.0
    for time in sorted({*a.times[a.happened], *b.times[b.happened]}):
        first, second = (a.times >= time).sum(), (b.times >= time).sum()
        here = (a.happened & (a.times == time)).sum()
        leaps, left = here + (b.happened & (b.times == time)).sum(), first + second
        apart += here - leaps * first / left
        if left > 1:
            variance += leaps * first * second * (left - leaps) / (left**2 * (left - 1))
    if not standardised:
        return apart**2
    return apart**2 / variance if variance > 1e-12 else 0.0


def test_the_textbook_test():
    """Freireich's leukaemia data: chi-square 16.79 (Kleinbaum and Klein, chapter 2)."""
    found = log_rank(times(*TREATED), times(PLACEBO))
    assert found.statistic == pytest.approx(16.793, abs=5e-4)
    assert found.p == pytest.approx(4.17e-5, rel=1e-2)
    assert found.exact is not None and found.exact < 1e-3
    assert not found.enumerated and found.best == found.exact


@given(a=SEEDS, b=SEEDS)
def test_the_statistic_is_mantels_and_that_of_lifelines(a, b):
    found = log_rank(a, b)
    assert found.statistic == pytest.approx(by_hand(a, b), abs=1e-9)
    if found.statistic > 0:
        theirs = lifelines.statistics.logrank_test(a.times, b.times, a.happened, b.happened)
        assert found.statistic == pytest.approx(theirs.test_statistic)
        assert found.p == pytest.approx(theirs.p_value)


def test_three_groups_are_those_of_lifelines():
    groups = [times(*TREATED), times(PLACEBO), times([3, 9, 14], [20, 30])]
    theirs = lifelines.statistics.multivariate_logrank_test(
        np.concatenate([each.times for each in groups]),
        np.repeat([0, 1, 2], [each.count for each in groups]),
        np.concatenate([each.happened for each in groups]),
    )
    for order in permutations(groups):
        found = log_rank(*order)
        assert found.statistic == pytest.approx(theirs.test_statistic)
        assert found.p == pytest.approx(theirs.p_value)
        assert found.exact == log_rank(*groups).exact


@given(a=SEEDS, b=SEEDS)
def test_the_exact_p_tries_every_relabelling(a, b):
    """Permutations of the labels one by one, where there are few enough to wait for."""
    if a.count + b.count > 6:
        return
    both = np.concatenate([a.times, b.times]), np.concatenate([a.happened, b.happened])
    observed, values = by_hand(a, b, False), []
    for order in permutations(range(a.count + b.count)):
        first, second = list(order[: a.count]), list(order[a.count :])
        arms = (Times(both[0][part], both[1][part]) for part in (first, second))
        values.append(by_hand(*arms, False))
    found = log_rank(a, b)
    assert found.enumerated
    assert found.exact == pytest.approx(np.mean(np.array(values) >= observed - 1e-9))


def test_four_against_four_cannot_be_surer_than_two_in_seventy():
    found = log_rank(times([1, 2, 3, 4]), times([5, 6, 7, 8]))
    assert found.exact == pytest.approx(2 / 70) and found.p < 0.01


def test_a_small_arm_that_leaps_after_all_others_is_as_sure_as_can_be():
    """Only one of the relabellings tears the arms further apart or as far."""
    early, late = times(range(1, 21)), times([30, 31, 32, 33])
    assert log_rank(early, late).exact == pytest.approx(1 / comb(24, 4))
    assert log_rank(late, early).exact == log_rank(early, late).exact


@given(a=SEEDS, b=SEEDS, order=st.randoms(use_true_random=False))
def test_neither_the_order_of_seeds_nor_of_arms_matters(a, b, order):
    picks = list(range(a.count))
    order.shuffle(picks)
    other = log_rank(b, Times(a.times[picks], a.happened[picks]))
    mine = log_rank(a, b)
    assert other.statistic == pytest.approx(mine.statistic, abs=1e-9)
    assert other.exact == pytest.approx(mine.exact)


@given(a=SEEDS)
def test_an_arm_does_not_differ_from_itself(a):
    found = log_rank(a, a)
    assert found.statistic == pytest.approx(0, abs=1e-12)
    assert (found.p, found.exact) == (pytest.approx(1), 1)
    assert restricted_mean_difference(a, a, 1.0, resamples=50).estimate == 0


def test_arms_in_which_nobody_leapt_do_not_differ():
    never = times([], [5, 5, 5])
    assert log_rank(never, never) == LogRank(0.0, 1.0, 1.0, True)
    found = median_difference(never, never)
    assert isnan(found.estimate) and (found.low, found.high) == (-inf, inf)
    apart = restricted_mean_difference(never, never, 5.0)
    assert apart.estimate == 0 and apart.low == -apart.high < -1


def test_many_seeds_need_no_relabelling():
    rng = np.random.default_rng(0)
    found = log_rank(times(rng.exponential(size=101)), times(rng.exponential(size=101)))
    assert found.exact is None and found.best == found.p


def test_the_exact_p_rejects_no_more_often_than_it_says_and_chi_square_does():
    """Two arms of four seeds from one distribution: alpha 0.1, 400 pairs."""
    rng, exact, approximate = np.random.default_rng(3), 0, 0
    for _ in range(400):
        found = log_rank(times(rng.exponential(size=4)), times(rng.exponential(size=4)))
        exact += found.best <= 0.1
        approximate += found.p <= 0.1
    assert 0.05 < exact / 400 < 0.13 < approximate / 400


@given(a=SEEDS, b=SEEDS, shift=st.floats(0, 100))
def test_the_difference_of_medians_is_that_of_the_medians(a, b, shift):
    late = Times(a.times + shift, a.happened)
    one, other = (median_difference(each, b, resamples=50) for each in (a, late))
    assert other.count == a.count + b.count
    assert other.estimate == pytest.approx(one.estimate + shift, nan_ok=True)
    assert other.low == pytest.approx(one.low + shift)
    assert not other.low > other.high


def test_an_arm_that_rarely_leaps_may_be_infinitely_later():
    rare, fast = times([3], [9] * 7), times([1, 1, 2, 2, 2, 3, 3, 4])
    found = median_difference(rare, fast)
    assert (found.estimate, found.high) == (inf, inf)
    assert median_difference(fast, rare).estimate == -inf


def test_one_seed_bounds_nothing():
    found = median_difference(times([3]), times([1, 2]))
    assert (found.estimate, found.low, found.high) == (1.5, -inf, inf)
    apart = restricted_mean_difference(times([3]), times([1, 2]), 3.0)
    assert apart.low < 0 < apart.estimate < apart.high


@given(a=SEEDS, b=SEEDS)
def test_the_difference_of_restricted_means_is_that_of_the_means(a, b):
    horizon = float(min(a.times.max(), b.times.max()))
    found = restricted_mean_difference(a, b, horizon, resamples=50)
    one, other = (restricted_mean(each, horizon, resamples=50) for each in (a, b))
    assert found.estimate == pytest.approx(one.estimate - other.estimate)
    assert found.low <= found.estimate <= found.high
    assert abs(found.estimate) <= horizon


def test_the_difference_covers_the_truth_about_as_often_as_it_says():
    """Exponential times of mean 1 and 2, seen up to 2: 1 - e^-2 and 2 (1 - e^-1)."""
    rng, hits, truth = np.random.default_rng(0), 0, (1 - np.exp(-2)) - 2 * (1 - np.exp(-1))
    for _ in range(200):
        arms = (rng.exponential(mean, size=20) for mean in (1, 2))
        cut = [Times(np.minimum(each, 2.0), each <= 2) for each in arms]
        found = restricted_mean_difference(*cut, 2.0, resamples=500)
        hits += found.low <= truth <= found.high
    assert 0.88 <= hits / 200 <= 0.99


@pytest.mark.parametrize(
    ("groups", "message"),
    [([times([1])], "1 is not allowed: two"), ([times([1]), times([])], "no seeds")],
    ids=["one", "empty"],
)
def test_bad_input_gets_one_line(groups, message):
    with pytest.raises(SaltusError, match=message):
        log_rank(*groups)
