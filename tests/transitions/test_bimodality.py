"""Sarle's coefficient against scipy's moments, the dip against a linear program."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.stats import kurtosis, skew

from saltus.errors import SaltusError
from saltus.transitions.statistics.bimodality import UNIFORM, dip, dip_test, sarle


def nearest_unimodal(values):
    """The dip by its definition: for every mode the nearest law, convex before it, concave after.

    The mode may be taken at one of the values: moving it there costs nothing. Unknown are the law
    at every value, just before the mode, and the distance.
    """
    x, counts = np.unique(values, return_counts=True)
    above = counts.cumsum() / len(values)
    below, size = above - counts / len(values), len(x)
    best = 1.0
    for mode in range(size):
        # Unknowns: law at values 0 .. mode - 1, before the mode, at the mode, after it; distance.
        left, right = list(range(mode + 1)), list(range(mode + 1, size + 1))
        rows, limits = [], []

        def add(coefficients, limit, rows=rows, limits=limits, width=size + 2):
            row = np.zeros(width)
            for place, value in coefficients:
                row[place] += value
            rows.append(row)
            limits.append(limit)

        for place in [*left, *right]:
            own = place if place <= mode else place - 1
            sides = {below[own], above[own]}
            if own == mode:
                sides = {below[own] if place == mode else above[own]}
            for side in sides:
                add([(place, 1), (size + 1, -1)], side)
                add([(place, -1), (size + 1, -1)], -side)
        for a in range(size):  # it never falls
            add([(a, 1), (a + 1, -1)], 0)
        for part, first, sign in ((left, 0, 1), (right, mode, -1)):
            for k in range(1, len(part) - 1):
                one = x[first + k] - x[first + k - 1]
                two = x[first + k + 1] - x[first + k]
                add([(part[k - 1], -sign / one), (part[k], sign / one + sign / two),
                     (part[k + 1], -sign / two)], 0)  # fmt: skip
        cost = np.zeros(size + 2)
        cost[-1] = 1
        found = linprog(cost, np.array(rows), limits, bounds=[(0, 1)] * (size + 2))
        best = min(best, found.fun)
    return best


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.integers(0, 12), min_size=4, max_size=14)
    | st.lists(st.floats(0, 1, width=16), min_size=4, max_size=14)
)
def test_the_dip_is_the_distance_to_the_nearest_unimodal_law(values):
    expected = max(nearest_unimodal(values), 1 / (2 * len(values)))
    assert dip(values) == pytest.approx(expected, abs=1e-9)


def test_two_clusters_have_a_quarter_and_even_spacing_the_least():
    assert dip([0.0] * 6 + [1.0] * 6) == pytest.approx(0.25)
    assert dip(np.arange(10.0)) == pytest.approx(1 / 20)
    assert dip(np.full(10, 3.0)) == pytest.approx(1 / 20)
    assert dip([0, 0, 0, 1, 1, 1, 1, 1, 1]) == pytest.approx(1 / 6)  # the smaller cluster's half


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(st.integers(-50, 50), min_size=4, max_size=40),
    slope=st.sampled_from([-3.0, 0.5, 7.0]),
)
def test_both_know_nothing_of_unit_and_order(values, slope):
    moved = slope * np.array(values[::-1]) + 2
    assert dip(moved) == pytest.approx(float(dip(values)), abs=1e-9)
    np.testing.assert_allclose(sarle(moved), sarle(values), rtol=1e-9)
    assert 1 / (2 * len(values)) - 1e-12 <= dip(values) <= 0.25 + 1e-12


def test_samples_are_judged_each_by_itself():
    values = np.random.default_rng(0).random((2, 3, 20))
    for k in np.ndindex(2, 3):
        assert dip(values)[k] == dip(values[k])
        assert sarle(values)[k] == sarle(values[k])


def test_sarle_s_coefficient_has_the_corrected_moments():
    x = np.random.default_rng(1).gamma(2, size=(4, 25))
    g, k = skew(x, axis=-1, bias=False), kurtosis(x, axis=-1, bias=False)
    np.testing.assert_allclose(sarle(x), (g**2 + 1) / (k + 3 * 24**2 / (23 * 22)), rtol=1e-10)


@pytest.mark.parametrize("n", [4, 10, 144])
def test_sarle_s_coefficient_of_two_points(n):
    """Skewness 0 and kurtosis 1 leave (n-2)(n-3) / ((n-1)(n+1))."""
    expected = (n - 2) * (n - 3) / ((n - 1) * (n + 1))
    assert sarle([0.0, 1.0] * (n // 2)) == pytest.approx(expected)


def test_sarle_s_coefficient_of_known_laws():
    even = (np.arange(100_000) + 0.5) / 100_000
    assert sarle(even) == pytest.approx(UNIFORM, abs=1e-4)
    from scipy.stats import norm

    assert sarle(norm.ppf(even)) == pytest.approx(1 / 3, abs=2e-3)
    assert np.isnan(sarle(np.full(9, 0.1)))


def test_p_values_of_uniform_draws_are_uniform_and_of_two_modes_small():
    generator = np.random.default_rng(2)
    p = [dip_test(generator.random(30), draws=300).p_value for _ in range(80)]
    assert np.mean(np.array(p) <= 0.5) == pytest.approx(0.5, abs=0.15)
    assert np.mean(np.array(p) <= 0.1) <= 0.2
    heads = np.concatenate([generator.normal(1, 0.3, 70), generator.normal(41, 0.3, 70)])
    found = dip_test(heads, draws=99)
    assert (found.p_value, found.count, found.draws) == (0.01, 140, 99)
    assert dip_test(generator.normal(size=30), draws=99).p_value > 0.05
    assert dip_test(heads, draws=99, seed=1) == dip_test(heads, draws=99, seed=1)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: sarle([1.0, 2.0, 3.0]), "values: shape (3,) is not allowed"),
        (lambda: dip([1.0, 2.0, np.inf, 3.0]), "values: one is not finite"),
        (lambda: dip_test(np.ones((2, 9))), "values: 2 axes are not allowed"),
        (lambda: dip_test([1.0, 2, 3, 4], draws=0), "draws: 0 is not allowed"),
    ],
    ids=["few", "infinite", "axes", "draws"],
)
def test_bad_values_get_one_line(call, message):
    with pytest.raises(SaltusError) as error:
        call()
    assert str(error.value).startswith(message)
