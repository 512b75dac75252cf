"""Plateau level and drop step on series whose answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.transitions import Drop, drops, first_crossing
from saltus.transitions.drop import moving_average


def cliff(steps, at, high=2.6, low=1.3):
    return np.where(steps < at, high, low)


def one(steps, values, **settings):
    (drop,) = drops(steps, np.asarray(values, dtype=float)[None], **settings)
    return drop


@pytest.mark.parametrize("spacing", [1, 10])
def test_a_plateau_and_its_cliff_are_found(spacing):
    """After the cliff the average falls as 0.99^g: below a threshold of f at g > ln f / ln 0.99."""
    steps = np.arange(0, 2001, spacing)
    found = one(steps, cliff(steps, 1000), floor=1.0)
    threshold = 1.0 + 0.5 * 1.6
    lag = np.log((threshold - 1.3) / 1.3) / np.log(0.99)
    assert found.plateau == 2.6 and found.budget == 2000
    assert 1000 + lag - 2 * spacing <= found.step <= 1000 + lag + 2 * spacing


@given(at=st.integers(450, 1500), level=st.floats(0.1, 100), seed=st.integers(0, 99))
def test_noise_moves_the_drop_little(at, level, seed):
    steps = np.arange(2001)
    clean = cliff(steps, at, level, 0.05 * level)
    noisy = clean * (1 + 0.05 * np.random.default_rng(seed).normal(size=len(steps)))
    quiet, loud = one(steps, clean), one(steps, noisy)
    assert at < quiet.step < at + 100
    assert abs(loud.step - quiet.step) < 20
    assert loud.plateau == pytest.approx(level, rel=0.02)


def test_the_plateau_is_the_median_of_the_window():
    steps = np.arange(1001)
    values = np.full(1001, 3.0)
    values[:50] = 99  # before 5 % of training
    values[201:] = 0  # after 20 %
    values[60:90] = 7  # a minority inside
    assert one(steps, values).plateau == 3.0
    assert one(steps, values, window=(0.0, 0.04)).plateau == 99.0


@pytest.mark.parametrize(
    "values",
    [
        np.ones(1001),
        np.linspace(1, 2, 1001),
        np.linspace(1, 0.6, 1001),
        cliff(np.arange(1001), 999),
    ],
    ids=["constant", "rise", "gentle-slope", "too-late"],
)
def test_what_never_halves_is_censored_at_the_budget(values):
    found = one(np.arange(1001), values)
    assert found.step is None and found.budget == 1000


def test_the_floor_counts_as_zero():
    """From 2 to 1.2 is no halving, but 0.2 above a floor of 1 is less than half of 1."""
    steps = np.arange(1001)
    values = cliff(steps, 500, 2.0, 1.2)
    assert one(steps, values).step is None
    assert 500 < one(steps, values, floor=1.0).step < 700


def test_a_high_start_before_the_plateau_is_no_drop():
    steps = np.arange(1001)
    values = np.where(steps < 40, 50.0, 2.0)
    assert one(steps, values).step is None


def test_members_are_found_one_by_one():
    steps = np.arange(1001)
    values = np.stack([cliff(steps, at, 2.0, 0.1) for at in (400, 800, 5000)])
    found = drops(steps, values)
    assert found == [one(steps, row) for row in values]
    assert found[0].step < found[1].step and found[2].step is None


def test_a_member_that_stopped_being_a_number_is_censored():
    steps = np.arange(1001)
    late, always = cliff(steps, 800, 2.0, 0.1), np.full(1001, np.nan)
    late[500:] = np.nan
    found = drops(steps, np.stack([late, always, np.full(1001, np.inf)]))
    assert found[0] == Drop(2.0, None, 1000)
    assert np.isnan(found[1].plateau) and found[1].step is None
    assert np.isnan(found[2].plateau) and found[2].step is None


@given(
    gaps=st.lists(st.integers(1, 50), min_size=1, max_size=30),
    decay=st.floats(0, 0.999),
    level=st.floats(-5, 5),
)
def test_the_average_of_a_constant_is_the_constant_whatever_the_spacing(gaps, decay, level):
    steps = np.cumsum([0, *gaps])
    smooth = moving_average(steps, np.full(len(steps), level), decay)
    np.testing.assert_allclose(smooth, level, atol=1e-12)


@given(gaps=st.lists(st.integers(1, 50), min_size=1, max_size=30))
def test_the_decay_is_per_step_and_not_per_reading(gaps):
    """After a jump from 1 to 0 the average is decay^(steps since then), however it was read."""
    steps = np.cumsum([0, *gaps])
    smooth = moving_average(steps, np.array([1.0] + [0.0] * len(gaps)), 0.97)
    np.testing.assert_allclose(smooth, 0.97**steps, atol=1e-12)


def test_the_average_is_a_plain_loop_at_spacing_one():
    series = np.random.default_rng(0).normal(size=50)
    smooth, expected = moving_average(np.arange(50), series, 0.9), series[0]
    for index in range(1, 50):
        expected = 0.9 * expected + 0.1 * series[index]
        assert smooth[index] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "transitions: the series is empty"),
        ([0, 100], "transitions: no point of the series lies in the plateau window 5% to 20% "
                   "of 100 steps; read it more often"),
    ],
)  # fmt: skip
def test_a_series_too_short_for_a_plateau_is_refused_in_one_line(steps, message):
    with pytest.raises(SaltusError) as caught:
        drops(np.array(steps, dtype=int), np.ones((2, len(steps))))
    assert str(caught.value) == message


def test_the_first_crossing_is_the_first_step_at_or_beyond_the_level():
    steps = np.array([0, 10, 20, 30])
    values = np.array([[0.0, 0.5, 0.2, 0.9], [0.0, 0.1, 0.2, 0.3], [np.nan, np.nan, 1.0, np.nan]])
    assert first_crossing(steps, values, 0.5) == [10, None, 20]
    assert first_crossing(steps, values, 0.15, above=False) == [0, 0, None]
