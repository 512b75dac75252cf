"""Fans against numpy, and thinning that loses no extreme."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.report.fan import fan, thin


def test_a_fan_is_the_quantiles_over_seeds():
    values = np.random.default_rng(0).normal(size=(9, 50))
    found = fan(np.arange(50), values)
    for curve, level in zip(
        (found.low, found.quarter, found.median, found.three_quarters, found.high),
        (0, 0.25, 0.5, 0.75, 1),
        strict=True,
    ):
        np.testing.assert_allclose(curve, np.quantile(values, level, axis=0))
    assert (found.counts == 9).all()


def test_values_that_are_not_finite_are_left_out_and_counted():
    values = np.random.default_rng(0).normal(size=(4, 6))
    values[1, 2:], values[2, 4], values[:, 5] = np.nan, np.inf, np.nan
    found = fan(np.arange(6), values)
    assert found.counts.tolist() == [4, 4, 3, 3, 2, 0]
    assert found.median[2] == pytest.approx(np.median(values[[0, 2, 3], 2]))
    assert found.high[4] == pytest.approx(values[[0, 3], 4].max())
    assert np.isnan(found.median[5]) and np.isnan(found.low[5])


def test_without_seeds_or_without_points_nothing_is_known():
    assert np.isnan(fan(np.arange(2), np.zeros((0, 2))).median).all()
    assert len(fan(np.arange(0), np.zeros((3, 0))).median) == 0


@given(st.integers(1, 5000), st.integers(10, 400), st.integers(0, 2**32 - 1))
def test_thinning_keeps_ends_and_extremes(count, limit, seed):
    generator = np.random.default_rng(seed)
    curves = generator.normal(size=(3, count))
    curves[0, generator.integers(count)] = 1e6
    places = thin(limit, *curves)
    assert len(places) <= max(limit, 8)
    assert places[0] == 0 and places[-1] == count - 1 and (np.diff(places) > 0).all()
    for curve in curves:
        assert curve[places].min() == curve.min() and curve[places].max() == curve.max()


def test_thinning_keeps_a_spike_of_one_step_and_a_long_gap():
    curve = np.zeros(10_000)
    curve[7_777], curve[2_000:4_000] = 1.0, np.nan
    places = thin(400, curve)
    assert 7_777 in places
    assert np.isnan(curve[places]).sum() > 30


def test_a_short_series_is_not_thinned():
    assert thin(400, np.zeros(400)).tolist() == list(range(400))
