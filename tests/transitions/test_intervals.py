"""Intervals against known values, and what every interval must do."""

from math import inf, isnan, sqrt

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from saltus.transitions import Interval, mean_interval, median_interval, share_interval

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12)
MEASURES = [mean_interval, lambda values: median_interval(values, resamples=500)]
every_measure = pytest.mark.parametrize("measure", MEASURES, ids=["mean", "median"])


def test_the_t_interval_is_the_one_by_hand():
    """Mean 3, standard deviation sqrt(2.5), 4 degrees of freedom: t = 2.7764."""
    found = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.7764451 * sqrt(2.5 / 5)
    assert found.estimate == 3 and found.count == 5
    assert found.low == pytest.approx(3 - half, abs=1e-6)
    assert found.high == pytest.approx(3 + half, abs=1e-6)


@given(values=VALUES, confidence=st.floats(0.5, 0.99))
def test_the_t_interval_is_scipys(values, confidence):
    if np.std(values) < 1e-9 * (1 + np.max(np.abs(values))):
        return  # scipy gives nan for values that are all the same
    found = mean_interval(values, confidence)
    error = scipy.stats.sem(values)
    low, high = scipy.stats.t.interval(confidence, len(values) - 1, np.mean(values), error)
    assert (found.low, found.high) == (pytest.approx(low, rel=1e-6), pytest.approx(high, rel=1e-6))


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [(8, 8, 0.6756, 1.0), (0, 8, 0.0, 0.3244), (4, 8, 0.2152, 0.7848), (4, 4, 0.5101, 1.0),
     (3, 3, 0.4385, 1.0), (81, 263, 0.2553, 0.3662)],
)  # fmt: skip
def test_the_wilson_interval_has_its_known_values(successes, count, low, high):
    found = share_interval(successes, count)
    assert found.estimate == successes / count
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(count=st.integers(1, 60), share=st.floats(0, 1), confidence=st.floats(0.5, 0.99))
def test_the_wilson_interval_is_scipys_and_lies_around_the_share(count, share, confidence):
    successes = round(share * count)
    found = share_interval(successes, count, confidence)
    expected = scipy.stats.binomtest(successes, count).proportion_ci(confidence, "wilson")
    assert found.low == pytest.approx(expected.low, abs=1e-9)
    assert found.high == pytest.approx(expected.high, abs=1e-9)
    assert 0 <= found.low <= found.estimate <= found.high <= 1


@given(successes=st.integers(0, 20), more=st.integers(0, 20))
def test_a_share_and_its_complement_mirror_each_other(successes, more):
    count = successes + more
    one, other = share_interval(successes, count), share_interval(more, count)
    assert one.low == pytest.approx(1 - other.high)


@every_measure
@given(values=VALUES)
def test_the_estimate_lies_in_the_interval(measure, values):
    found = measure(values)
    slack = 1e-9 * max(map(abs, values))
    assert found.low - slack <= found.estimate <= found.high + slack
    assert found.count == len(values)


@every_measure
@given(values=VALUES, order=st.randoms(use_true_random=False))
def test_the_order_of_the_seeds_means_nothing(measure, values, order):
    shuffled = list(values)
    order.shuffle(shuffled)
    one, other = measure(values), measure(shuffled)
    scale = 1e-9 * (1 + max(map(abs, values)))
    for field in ("estimate", "low", "high"):
        assert getattr(one, field) == pytest.approx(getattr(other, field), abs=scale)


@every_measure
@given(values=VALUES, shift=st.floats(-1e3, 1e3), factor=st.floats(0.1, 10))
def test_units_carry_over(measure, values, shift, factor):
    one = measure(values)
    other = measure([factor * value + shift for value in values])
    scale = 1e-6 * (1 + abs(shift) + factor * max(map(abs, values)))
    assert other.low == pytest.approx(factor * one.low + shift, abs=scale)
    assert other.high == pytest.approx(factor * one.high + shift, abs=scale)


@every_measure
def test_more_seeds_shrink_the_interval(measure):
    values = np.random.default_rng(0).normal(size=512)
    widths = [measure(values[:n]).high - measure(values[:n]).low for n in (8, 32, 128, 512)]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < widths[0] / 3


def test_more_confidence_widens_the_interval():
    widths = []
    for confidence in (0.5, 0.9, 0.99):
        found = [mean_interval([1.0, 2.0, 4.0], confidence), share_interval(3, 5, confidence)]
        widths.append([interval.high - interval.low for interval in found])
    assert np.all(np.diff(widths, axis=0) > 0)


def test_the_t_interval_covers_the_truth_as_often_as_it_says():
    rng, hits = np.random.default_rng(1), 0
    for _ in range(1000):
        found = mean_interval(rng.normal(5, 2, size=6))
        hits += found.low <= 5 <= found.high
    assert abs(hits / 1000 - 0.95) < 5 * sqrt(0.95 * 0.05 / 1000)


@every_measure
@pytest.mark.parametrize("values", [[], [2.0], [float("nan")], [2.0, float("inf")]], ids=str)
def test_fewer_than_two_finite_values_bound_nothing(measure, values):
    found = measure(values)
    assert (found.low, found.high) == (-inf, inf)
    assert found.count == sum(np.isfinite(values))
    assert found.estimate == 2.0 if found.count else isnan(found.estimate)


@every_measure
def test_values_that_are_not_finite_are_left_out_and_not_counted(measure):
    nan = float("nan")
    assert measure([1.0, nan, 2.0, float("inf"), 4.0]) == measure([1.0, 2.0, 4.0])


def test_no_seeds_leave_a_share_open():
    found = share_interval(0, 0)
    assert (found.low, found.high, found.count) == (0, 1, 0) and isnan(found.estimate)


def test_the_median_is_the_median_and_its_interval_lies_among_the_values():
    found = median_interval([5.0, 1.0, 9.0, 3.0, 100.0])
    assert found.estimate == 5
    assert 1 <= found.low <= 5 <= found.high <= 100
    assert found == median_interval([5.0, 1.0, 9.0, 3.0, 100.0])


def test_an_interval_reads_as_estimate_and_bounds():
    assert str(Interval(0.123456, 0.1, 2.0, 8)) == "0.1235 [0.1, 2]"
