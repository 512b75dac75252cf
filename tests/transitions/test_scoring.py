"""The scoring rule: matching against brute force, shares by hand, intervals against formulas."""

from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.stats import poisson

from saltus.transitions.dropbench.curves import Labelled, Leap, curves
from saltus.transitions.dropbench.scoring import (
    is_scored,
    match,
    rate_interval,
    score,
    score_live,
    tolerance,
)


def labelled(leaps, kind="k", points=1001, spacing=1, changes=()):
    steps = spacing * np.arange(points, dtype=np.int64)
    return Labelled("c", kind, steps, np.zeros(points), leaps, changes)


def leap(step, width=40.0, ratio=10.0):
    return Leap(step - width / 2, step, step + width / 2, 1.0, 0.5, ratio)


whole = st.integers(0, 30).map(float)


@given(
    points=st.lists(whole, max_size=8),
    windows=st.lists(st.tuples(whole, st.integers(0, 12)), max_size=8),
)
def test_as_many_pairs_as_any_matching_has(points, windows):
    windows = [(start, start + length) for start, length in windows]
    pairs = match(points, windows)
    assert all(windows[index][0] <= point <= windows[index][1] for point, index in pairs)
    assert len({index for _, index in pairs}) == len(pairs)
    if points and windows:
        allowed = [[a <= point <= b for a, b in windows] for point in points]
        best = maximum_bipartite_matching(csr_array(np.array(allowed, dtype=int)))
        assert len(pairs) == (best >= 0).sum()
    else:
        assert pairs == []


def test_the_nearest_is_not_taken_where_it_costs_a_pair():
    """3 lies in both windows, 8 in the second only."""
    assert match([8, 3], [(0, 10), (2, 4)]) == [(3, 1), (8, 0)]


@given(events=st.integers(1, 200), exposure=st.floats(0.1, 50))
def test_a_rate_has_the_exact_poisson_interval(events, exposure):
    """At its ends the events seen, and more extreme ones, have a probability of 2.5 %."""
    found = rate_interval(events, exposure)
    assert found.estimate == pytest.approx(events / exposure)
    assert poisson.sf(events - 1, found.low * exposure) == pytest.approx(0.025, rel=1e-6)
    assert poisson.cdf(events, found.high * exposure) == pytest.approx(0.025, rel=1e-6)


def test_no_event_has_an_upper_bound_and_no_exposure_says_nothing():
    found = rate_interval(0, 2.0)
    assert (found.estimate, found.low) == (0, 0)
    assert found.high == pytest.approx(-np.log(0.025) / 2)
    nothing = rate_interval(0, 0.0)
    assert np.isnan(nothing.estimate) and (nothing.low, nothing.high) == (0, inf)


@pytest.mark.parametrize(
    ("curve", "width", "expected"),
    [
        (labelled((), points=101), 0.5, 3.0),  # three points
        (labelled((), points=101, spacing=10), 0.5, 30.0),
        (labelled((), points=1001), 0.5, 20.0),  # 2 % of the budget
        (labelled((), points=1001), 70.0, 70.0),  # the width
    ],
    ids=["points", "spaced-points", "budget", "width"],
)
def test_the_tolerance_is_the_largest_of_three(curve, width, expected):
    assert tolerance(curve, leap(500.0, width)) == expected


def test_shares_are_counted_by_hand():
    made = [
        labelled((leap(300.0), leap(700.0, ratio=3.0)), "two"),
        labelled((), "null"),
        labelled((), "null"),
        labelled((leap(500.0, ratio=inf),), "one"),
    ]
    found = score(made, [[310.0, 705.0, 900.0], [], [100.0, 800.0], [400.0]])
    assert (found.precision.estimate, found.precision.count) == (2 / 6, 6)
    assert (found.recall.estimate, found.recall.count) == (2 / 3, 3)
    assert (found.alarmed.estimate, found.alarmed.count) == (1 / 2, 2)
    assert (found.false_per_null_curve.estimate, found.false_per_null_curve.count) == (1.0, 2)
    assert found.error.estimate == pytest.approx((10 / 40 + 5 / 40) / 2)
    assert found.lag.estimate == pytest.approx(7.5)
    assert {name: each.estimate for name, each in found.recall_by_kind.items()} == {
        "two": 1.0,
        "one": 0.0,
    }
    assert {name: each.estimate for name, each in found.recall_by_ratio.items()} == {
        "2 to 4": 1.0,
        "10 to 30": 1.0,
        "30 or more": 0.0,
    }
    assert {name: each.estimate for name, each in found.false_by_kind.items()} == {
        "two": 1.0,
        "null": 0.5,
        "one": 1.0,
    }


def test_a_leap_is_found_once():
    found = score([labelled((leap(500.0),))], [[490.0, 500.0, 510.0]])
    assert (found.recall.estimate, found.precision.estimate) == (1.0, 1 / 3)


def test_a_faint_leap_counts_neither_way():
    faint = labelled((leap(500.0, ratio=1.5),))
    for drops, counted in (([], 0), ([505.0], 0), ([505.0, 520.0], 1), ([900.0], 1)):
        found = score([faint], [drops])
        assert found.recall.count == 0 and found.precision.count == counted
    assert not is_scored(leap(1.0, ratio=1.99)) and is_scored(leap(1.0, ratio=2.0))
    assert is_scored(leap(1.0, ratio=nan))  # of a real curve nobody knows it


def test_what_nobody_labelled_is_passed_over():
    found = score([labelled(None), labelled((leap(500.0),))], [[3.0], [500.0]])
    assert (found.precision.estimate, found.recall.estimate) == (1.0, 1.0)
    live = score_live([labelled(None), labelled((leap(500.0),))], [[3.0], [500.0]])
    assert (live.precision.estimate, live.detected.estimate) == (1.0, 1.0)


def test_the_truth_scores_full_marks_on_generated_curves():
    made = list(curves("test", 320))
    truth = [[leap.step for leap in each.leaps] for each in made]
    found = score(made, truth)
    assert found.precision.estimate == found.recall.estimate == 1.0
    assert found.alarmed.estimate == 0.0 and found.error.estimate == found.lag.estimate == 0.0
    said = [[leap.onset for leap in each.leaps] for each in made]
    live = score_live(made, said)
    assert live.precision.estimate == live.detected.estimate == live.before_late.estimate == 1.0
    assert live.false_per_million.estimate == live.delay_steps.estimate == 0.0


def test_alarms_are_scored_by_when_they_are_said():
    """Onset 480, 90 % at 520; an alarm belongs to the leap from 440 to 570."""
    curve = labelled((leap(500.0),), spacing=1)
    for said, detected, early in ((439, 0, 0), (440, 1, 1), (520, 1, 1), (521, 1, 0), (571, 0, 0)):
        found = score_live([curve], [[float(said)]])
        assert (found.detected.estimate, found.before_late.estimate) == (detected, early)
        assert found.precision.estimate == detected
        if detected:
            assert found.delay_steps.estimate == said - 480
            assert found.delay_widths.estimate == pytest.approx((said - 480) / 40)


def test_delays_count_points_and_false_alarms_count_readings():
    made = [
        labelled((leap(5000.0, 400.0),), spacing=10),
        labelled((), points=1000, spacing=20),
        labelled((), points=3000, changes=(700.0,), kind="rate-steps"),
    ]
    found = score_live(made, [[4900.0], [100.0, 5000.0], [750.0]])
    assert (found.delay_steps.estimate, found.delay_points.estimate) == (100.0, 10.0)
    assert found.false_per_million.estimate == pytest.approx(2000.0)  # 2 in 1,000 readings
    assert found.alarmed_by_rate_steps.estimate == 1.0
    assert found.precision.estimate == pytest.approx(1 / 4)
