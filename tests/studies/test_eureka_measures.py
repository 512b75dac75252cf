"""What claims of the Eureka study read from runs, against plain loops; comparisons of two arms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.studies.claim import Range, Verdict
from saltus.studies.eureka.measures import (
    Window,
    abruptness,
    by_setting,
    counted,
    difference,
    final,
    last_in,
    longest_stretch,
    moments,
    no_smaller_share,
    over,
    quotient,
    rise,
    saturation,
    waiting,
)
from saltus.transitions import Times
from studies.test_eureka_claims import MadeRun

NAN = np.nan


def run_with(rows):
    """Validation accuracies, read every 10 steps."""
    run = MadeRun("made", len(rows[0]) - 1, "quick", (np.inf,) * len(rows))
    run.grid = 10 * np.arange(len(rows[0]))
    run.values = {"evaluation/accuracy": np.array(rows, dtype=float)}
    return run


ROWS = [
    [0.1, 0.3, 0.54, 0.55, 0.57, 0.62, 0.85, 0.95, 0.97, 0.96],  # waits from 20 to 40, e* at 60
    [0.1, 0.5, 0.53, 0.55, 0.54, 0.56, 0.55, 0.58, 0.55, 0.57],  # never: waits to the end
    [0.1, 0.2, 0.9, 0.95, 0.96, 0.97, 0.97, 0.97, 0.97, 0.97],  # no plateau
    [0.1] * 10,  # reads no target
    [0.1, 0.55, 0.8, 0.55, 0.55, 0.55, 0.55, 0.55, 0.8, 0.9],  # one that does not hold; too late
]


def test_waiting_lasts_from_reading_both_targets_to_the_last_low_reading():
    windows = waiting(run_with(ROWS))
    expected = [(20, 40), (20, 90), (20, NAN), (NAN, NAN), (10, 70)]
    np.testing.assert_array_equal(np.array(windows), expected)


def test_saturation_rise_and_what_failed_seeds_count_as():
    run = run_with(ROWS)
    np.testing.assert_array_equal(saturation(run), [40, 70, 0, NAN, 80])
    np.testing.assert_array_equal(rise(run), [30, NAN, 20, NAN, NAN])
    np.testing.assert_array_equal(counted(moments(run)), [60, 90, 20, 90, 90])
    np.testing.assert_array_equal(counted(moments(run), 50), [50, 50, 20, 50, 50])
    np.testing.assert_allclose(final(run), [0.96, 0.17 / 3 + 0.51, 0.97, 0.1, 0.75], atol=1e-3)


def test_abruptness_is_measured_on_the_way_to_where_a_seed_ends():
    row = [0.1, 0.55, 0.55, 0.56, 0.80, 0.84, 0.86, 0.86, 0.86]  # 0.581 and 0.829
    np.testing.assert_array_equal(abruptness(run_with([row])), [20])
    np.testing.assert_array_equal(rise(run_with([row])), [NAN])  # never above 0.90


@given(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=3))
def test_the_longest_stretch_is_the_first_longest_one(rows):
    steps = np.array([0, 1, 3, 6, 10, 15, 21])
    found = longest_stretch(steps, np.array(rows))
    for row, window in zip(rows, found, strict=True):
        stretches = [
            (steps[b] - steps[a], -a, steps[a], steps[b])
            for a in range(7)
            for b in range(a, 7)
            if all(row[a : b + 1])
        ]
        if not stretches:
            assert np.isnan(window.start) and np.isnan(window.length)
        else:
            _, _, start, end = max(stretches)
            assert (window.start, window.end) == (start, end)


def test_windows_are_read_with_both_ends_and_halved_at_their_middle():
    run = run_with(ROWS[:3])
    windows = [Window(20, 40), Window(95, 99), Window(NAN, NAN)]
    np.testing.assert_allclose(over(run, "evaluation/accuracy", windows), [1.66 / 3, NAN, NAN])
    np.testing.assert_array_equal(last_in(run, "evaluation/accuracy", windows), [0.57, NAN, NAN])
    assert Window(20, 40).late == (30, 40)


def test_members_are_found_by_a_varied_setting():
    run = MadeRun("made", 3, "quick", (1,) * 4)
    run.overrides = [{"optimizer.learning_rate": rate} for rate in (1e-3, 1e-4, 1e-3, 1e-4)]
    found = by_setting(run, "optimizer.learning_rate")
    assert {rate: at.tolist() for rate, at in found.items()} == {1e-4: [1, 3], 1e-3: [0, 2]}


def test_a_difference_of_shares_has_newcombes_interval():
    """Newcombe (1998), table II: 56/70 against 48/80, method 10."""
    one = Times(np.ones(70), np.arange(70) < 56)
    other = Times(np.ones(80), np.arange(80) < 48)
    interval = no_smaller_share("x", one, other).interval
    assert interval.estimate == pytest.approx(0.2)
    assert (interval.low, interval.high) == pytest.approx((0.0524, 0.3339), abs=1e-4)


@pytest.mark.parametrize(
    ("own", "other", "verdict"),
    [
        ((8, 8), (8, 8), Verdict.REPRODUCED),
        ((5, 8), (4, 8), Verdict.REPRODUCED),
        ((4, 8), (5, 8), Verdict.INCONCLUSIVE),
        ((0, 8), (8, 8), Verdict.CONTRADICTED),
        ((1, 1), (0, 1), Verdict.INCONCLUSIVE),
    ],
)
def test_a_smaller_share_contradicts_only_where_chance_does_not_explain_it(own, other, verdict):
    arms = [Times(np.ones(n), np.arange(n) < k) for k, n in (own, other)]
    assert no_smaller_share("x", *arms).verdict is verdict


def test_a_difference_of_means_is_welchs():
    rng = np.random.default_rng(0)
    one, other = rng.normal(1.0, 1.0, 9), rng.normal(0.0, 2.0, 6)
    quantity = difference("x", one, other, Range(low=0.0))
    assert quantity.estimate == pytest.approx(one.mean() - other.mean())
    assert np.mean(quantity.values) == pytest.approx(quantity.estimate)
    from scipy.stats import ttest_ind

    low, high = ttest_ind(one, other, equal_var=False).confidence_interval()
    assert (quantity.low, quantity.high) == pytest.approx((low, high))


def test_a_difference_without_two_seeds_in_either_arm_is_open():
    none = difference("x", np.ones(3), np.array([]), Range(low=0.0))
    lost = difference("x", np.array([1.0, 1.1, NAN]), np.zeros(4), Range(low=0.0))
    assert none.verdict is lost.verdict is Verdict.INCONCLUSIVE


@given(st.floats(0.1, 10), st.floats(0.1, 10))
def test_a_quotient_scales_with_its_arms(up, down):
    one, other = np.array([1.0, 2.0, 4.0]), np.array([3.0, 5.0])
    plain, scaled = (
        quotient("x", a, b, Range(high=1.0)) for a, b in ((one, other), (up * one, down * other))
    )
    assert plain.estimate == pytest.approx(7 / 3 / 4)
    for mine, theirs in zip(
        (scaled.estimate, scaled.low, scaled.high),
        (plain.estimate, plain.low, plain.high),
        strict=True,
    ):
        assert mine == pytest.approx(theirs * up / down)
    assert plain.low >= 1 / 5 and plain.high <= 4 / 3


def test_a_quotient_does_not_depend_on_the_order_of_seeds_and_wants_enough_of_them():
    one, other = np.array([1.0, 2.0, 4.0]), np.array([30.0, 50.0, 44.0])
    whole = quotient("x", one, other, Range(high=0.7))
    turned = quotient("x", one[::-1].copy(), other, Range(high=0.7))
    assert (whole.low, whole.high) == (turned.low, turned.high)
    assert whole.verdict is Verdict.REPRODUCED
    assert quotient("x", other, one, Range(high=0.7)).verdict is Verdict.CONTRADICTED
    assert quotient("x", one, other, Range(high=0.7), fewest=5).verdict is Verdict.INCONCLUSIVE
    lost = quotient("x", np.array([1.0, 2.0, NAN]), other, Range(high=0.7))
    none = quotient("x", one, other * NAN, Range(high=0.7))
    assert lost.verdict is none.verdict is Verdict.INCONCLUSIVE
    assert np.isnan(none.estimate)
