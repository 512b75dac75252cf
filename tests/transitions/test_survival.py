"""Survival statistics against closed forms, textbook data and an independent implementation."""

from fractions import Fraction
from math import exp, inf, isnan, log, sqrt
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.transitions import (
    Plateau,
    Times,
    Transition,
    bootstrap_interval,
    kaplan_meier,
    leap_probability,
    mean_of_successes,
    median_interval,
    median_time,
    restricted_mean,
    share_interval,
    times_of,
)
from saltus.transitions.statistics.resampling import areas, draws, medians, shares

Z = NormalDist().inv_cdf(0.975)
# Remission of leukaemia under 6-mercaptopurine, in weeks (Freireich et al. 1963): the data that
# half of the textbooks use. The first nine relapsed, the others were censored.
MERCAPTOPURINE = [6, 6, 6, 7, 10, 13, 16, 22, 23], [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def times(leapt, censored=()):
    """Times from those of seeds that leapt and of seeds that did not."""
    values = np.array([*leapt, *censored], dtype=np.float64)
    return Times(values, np.arange(len(values)) < len(leapt))


def seeds(least=1, most=12):
    """Some seeds, few distinct times, so that there are ties."""
    one = st.tuples(st.integers(1, 9), st.booleans())
    return st.lists(one, min_size=least, max_size=most).map(
        lambda pairs: Times(
            np.array([float(time) for time, _ in pairs]),
            np.array([happened for _, happened in pairs], dtype=bool),
        )
    )


def share_by_hand(data, moment):
    """Kaplan-Meier in fractions, one leap time after the other."""
    share = Fraction(1)
    pairs = list(zip(data.times.tolist(), data.happened.tolist(), strict=True))
    for time in sorted({time for time, happened in pairs if happened and time <= moment}):
        left = sum(other >= time for other, _ in pairs)
        share *= 1 - Fraction(sum(happened and other == time for other, happened in pairs), left)
    return share


def test_the_textbook_curve():
    """The table of Kalbfleisch and Prentice (1980), section 1.1.1, and SAS's log-log medians."""
    curve = kaplan_meier(times(*MERCAPTOPURINE))
    at = dict(zip(curve.time, zip(curve.share, curve.at_risk, strict=True), strict=True))
    known = {6: (0.857, 21), 7: (0.807, 17), 10: (0.753, 15), 13: (0.690, 12), 16: (0.627, 11),
             22: (0.538, 7), 23: (0.448, 6)}  # fmt: skip
    for week, (share, at_risk) in known.items():
        assert at[week] == (pytest.approx(share, abs=5e-4), at_risk)
    treated, placebo = median_time(times(*MERCAPTOPURINE)), median_time(times(PLACEBO))
    assert (treated.estimate, treated.low, treated.high) == (23, 13, inf)
    assert (placebo.estimate, placebo.low, placebo.high) == (8, 4, 11)
    assert (treated.count, treated.confidence) == (21, 0.95)


def test_greenwood_by_hand():
    """Leaps at 1 and 3, censored at 2, one left: variances of log share 1/(4·3) + 1/(2·1)."""
    curve = kaplan_meier(times([1, 3], [2, 4]))
    assert curve.time.tolist() == [0, 1, 2, 3, 4] and curve.at_risk.tolist() == [4, 4, 3, 2, 1]
    assert curve.share == pytest.approx([1, 3 / 4, 3 / 4, 3 / 8, 3 / 8])
    for row, share, variance in ((1, 3 / 4, 1 / 12), (3, 3 / 8, 1 / 12 + 1 / 2)):
        half = Z * sqrt(variance) / abs(log(share))
        assert curve.low[row] == pytest.approx(share ** exp(half))
        assert curve.high[row] == pytest.approx(share ** exp(-half))


@given(data=seeds())
def test_the_curve_is_the_one_in_fractions(data):
    curve = kaplan_meier(data)
    assert curve.time[0] == 0 and np.all(np.diff(curve.time) > 0)
    assert curve.share[0] == 1 and curve.count == data.count
    for time, share, at_risk in zip(curve.time, curve.share, curve.at_risk, strict=True):
        assert share == pytest.approx(float(share_by_hand(data, time)), abs=1e-12)
        assert at_risk == (data.times >= time).sum()


@given(data=seeds(), confidence=st.floats(0.5, 0.99))
def test_the_band_holds_the_curve(data, confidence):
    curve = kaplan_meier(data, confidence)
    assert np.all((curve.low >= 0) & (curve.low <= curve.share))
    assert np.all((curve.high <= 1) & (curve.high >= curve.share))
    assert np.all(np.diff(curve.share) <= 0)
    assert np.all(curve.high > curve.low)  # a band without width would be certain of something


@given(values=st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_without_censoring_the_curve_counts(values):
    """The share that has not leapt is one minus the empirical distribution, the median the usual
    one, the mean too."""
    data = times(values)
    curve = kaplan_meier(data)
    expected = [np.mean(np.array(values) > time) for time in curve.time]
    assert curve.share == pytest.approx(expected, abs=1e-12)
    assert median_time(data).estimate == pytest.approx(np.median(values))
    assert restricted_mean(data, 9.0, resamples=1).estimate == pytest.approx(np.mean(values))


@given(data=seeds(), factor=st.floats(0.1, 1000))
def test_units_of_time_carry_over(data, factor):
    one, other = median_time(data), median_time(Times(data.times * factor, data.happened))
    for field in ("estimate", "low", "high"):
        assert getattr(other, field) == pytest.approx(factor * getattr(one, field))


@given(data=seeds(2), order=st.randoms(use_true_random=False))
def test_the_order_of_the_seeds_means_nothing(data, order):
    picks = list(range(data.count))
    order.shuffle(picks)
    other = Times(data.times[picks], data.happened[picks])
    horizon = float(data.times.max())
    assert median_time(other) == median_time(data)
    assert restricted_mean(other, horizon, resamples=50) == restricted_mean(
        data, horizon, resamples=50
    )
    assert np.array_equal(kaplan_meier(other).low, kaplan_meier(data).low)


def test_where_nobody_has_leapt_the_band_is_wilsons():
    curve = kaplan_meier(times([], [5, 5, 5]))
    assert curve.share.tolist() == [1, 1] and curve.high.tolist() == [1, 1]
    assert curve.low == pytest.approx([share_interval(3, 3).low] * 2)
    found = median_time(times([], [5, 5, 5, 5]))
    assert (found.estimate, found.low, found.high) == (inf, inf, inf)
    assert restricted_mean(times([], [5, 5, 5]), 5.0).low == pytest.approx(5 * curve.low[0])


def test_where_all_have_leapt_the_band_stays_open_above():
    curve = kaplan_meier(times([1, 2, 3, 4]))
    assert (curve.share[-1], curve.low[-1]) == (0, 0)
    assert curve.high[-1] == curve.high[-2] > 0.5
    assert median_time(times([1, 2, 3, 4])).high == inf


def test_one_seed_and_none():
    curve = kaplan_meier(times([3]))
    assert curve.share.tolist() == [1, 0] and curve.high.tolist() == [1, 1]
    found = median_time(times([3]))
    assert (found.estimate, found.low, found.high, found.count) == (3, 0, inf, 1)
    assert restricted_mean(times([3]), 4.0).estimate == 3
    nobody = times([])
    assert isnan(kaplan_meier(nobody).share[0]) and kaplan_meier(nobody).count == 0
    assert isnan(median_time(nobody).estimate) and median_time(nobody).high == inf
    assert isnan(restricted_mean(nobody, 4.0).estimate)
    assert isnan(leap_probability(nobody).estimate) and leap_probability(nobody).high == 1


def test_a_leap_at_time_0_and_ties_with_the_censored():
    assert kaplan_meier(times([0, 2], [2, 5])).share == pytest.approx([3 / 4, 1 / 2, 1 / 2])


def test_exactly_half_is_the_middle_of_the_tread_or_its_start():
    assert median_time(times([1, 2, 7, 9])).estimate == 4.5
    assert median_time(times([1, 2], [5, 5])).estimate == 2
    assert median_time(times([1], [5, 5])).estimate == inf
    assert median_time(times(range(1, 9))).estimate == 4.5  # in spite of rounding


def test_the_probability_of_a_leap_is_wilsons():
    assert leap_probability(times([1] * 3, [2] * 5)) == share_interval(3, 8)


def test_the_restricted_mean_is_an_area_and_no_mean_of_successes():
    """Half of the seeds leap at 2, the others never: 2 + 8/2 up to 10, and 2 for those that did."""
    data = times([2, 2], [10, 10])
    assert restricted_mean(data, 10.0).estimate == 6
    assert restricted_mean(data, 2.0).estimate == 2 and restricted_mean(data, 1.0).estimate == 1
    assert mean_of_successes(data).estimate == 2 and mean_of_successes(data).count == 2


def test_the_restricted_mean_covers_the_truth_about_as_often_as_it_says():
    """Exponential times with mean 1 up to 1: the truth is 1 - 1/e."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        drawn = rng.exponential(size=20)
        found = restricted_mean(Times(np.minimum(drawn, 1.0), drawn <= 1), 1.0, resamples=500)
        hits += found.low <= 1 - exp(-1) <= found.high
    assert 0.87 <= hits / 200 <= 0.99


def test_the_median_interval_covers_the_truth_at_least_as_often_as_it_says():
    """Exponential times, one third of them censored at random; the median is log 2."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(100):
        leap, stop = rng.exponential(size=16), rng.exponential(2, size=16)
        found = median_time(Times(np.minimum(leap, stop), leap <= stop))
        hits += found.low <= log(2) <= found.high
    assert hits / 100 >= 0.9


@given(data=seeds(2))
def test_resampled_curves_are_kaplan_meiers(data):
    """A draw's curve is the curve of its seeds, repeated as often as it holds them."""
    weights = draws(data.count, 3, 7)
    assert np.all(weights.sum(axis=1) == data.count)
    moments, found = shares(data, weights)
    middles, horizon = medians(data, weights), float(data.times.max())
    surfaces = areas(data, weights, horizon)
    for row, held in enumerate(weights):
        picked = Times(np.repeat(data.times, held), np.repeat(data.happened, held))
        expected = [float(share_by_hand(picked, moment)) for moment in moments]
        assert found[row] == pytest.approx(expected, abs=1e-12)
        assert middles[row] == pytest.approx(median_time(picked).estimate)
        widths = np.diff([0.0, *moments, horizon])
        assert surfaces[row] == pytest.approx(widths @ np.array([1.0, *expected]))


def test_times_of_largest_and_first_leaps():
    small = Transition(Plateau(2.0, 0, 10), 100, 10, 11, 12, 13, 1.5)
    large = Transition(Plateau(1.5, 13, 50), 100, 50, 51, 52, 53, 0.1)
    never = Transition(Plateau(2.0, 0, 90), 90)
    found = [(small, large), (never,), (large,)]
    largest, first = times_of(found), times_of(found, "first")
    assert largest.times.tolist() == [51, 90, 51] and first.times.tolist() == [11, 90, 51]
    assert largest.happened.tolist() == [True, False, True] and largest.leaps == 2
    assert times_of([]).count == 0
    high = times_of(found, "first", least=1.0)
    assert high.times.tolist() == [51, 90, 51]
    none = times_of(found, least=2.0)
    assert none.times.tolist() == [100, 90, 100] and none.leaps == 0


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: Times(np.array([1.0, -2.0]), np.ones(2, bool)), "times: -2 is not allowed"),
        (lambda: Times(np.array([np.nan]), np.ones(1, bool)), "times: nan is not allowed"),
        (lambda: times_of([()]), "found: nothing is not allowed for seed 0"),
        (lambda: kaplan_meier(times([1]), 1.0), "confidence: 1 is not allowed"),
        (lambda: restricted_mean(times([1], [5]), 6.0), "horizon: 6 is not allowed"),
        (lambda: restricted_mean(times([1], [5]), 0.0), "horizon: 0 is not allowed"),
        (lambda: restricted_mean(times([1]), 1.0, confidence=2.0), "confidence: 2 is not"),
        (lambda: restricted_mean(times([1, 2]), 2.0, resamples=0), "resamples: 0 is not"),
        (lambda: bootstrap_interval([1.0], confidence=0.0), "confidence: 0 is not"),
        (lambda: bootstrap_interval([1.0], resamples=0), "resamples: 0 is not"),
    ],
    ids=[
        "negative",
        "nan",
        "no-record",
        "confidence",
        "beyond",
        "no-horizon",
        "mean",
        "draws",
        "bootstrap",
        "resamples",
    ],
)
def test_bad_input_gets_one_line(act, message):
    with pytest.raises(SaltusError, match=message):
        act()


def test_a_bootstrap_of_the_median_is_the_median_interval():
    values = [5.0, 1.0, np.nan, 9.0, 3.0, 100.0]
    assert bootstrap_interval(values) == median_interval(values)
    assert bootstrap_interval(values[::-1], np.mean) == bootstrap_interval(values, np.mean)


def test_a_bootstrap_covers_the_truth_about_as_often_as_it_says():
    """The standard deviation of 40 normal values, and the mean of 12."""
    rng, hits = np.random.default_rng(2), np.zeros(2)
    for _ in range(300):
        wide = bootstrap_interval(rng.normal(5, 2, size=40), np.std, resamples=400)
        mean = bootstrap_interval(rng.normal(5, 2, size=12), np.mean, resamples=400)
        hits += [wide.low <= 2 <= wide.high, mean.low <= 5 <= mean.high]
    assert np.all(hits / 300 >= 0.86) and np.all(hits / 300 <= 0.97)
