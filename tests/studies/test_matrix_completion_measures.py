"""What claims and figures of matrix completion read from runs, against plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.runs import Series
from saltus.studies.matrix_completion import STUDY, convex
from saltus.studies.matrix_completion.measures import (
    MASKED,
    at,
    half_plateau,
    layers,
    leap_width,
    median_over,
    numbers,
    task_of,
)
from studies.test_matrix_completion_runs import MadeRun

ARM = STUDY.recipe("quick")["signed"]
VARIANCE = 1 / 9
SEEDS = len(ARM.seeds)


def run_with(**series) -> MadeRun:
    """name=(steps, values) with `__` for a slash."""
    run = MadeRun(ARM, np.inf)
    for name, (steps, values) in series.items():
        full = name.replace("__", "/")
        run.readings[full] = Series(full, np.array(steps), np.array(values, dtype=float))
    return run


def masked(rows) -> MadeRun:
    """L_mask in units of Var(X), read every 10 steps."""
    values = np.array(rows) * VARIANCE
    return run_with(**{MASKED.replace("/", "__"): (10 * np.arange(values.shape[1]), values)})


def test_the_task_is_the_one_that_was_trained():
    assert task_of(MadeRun(ARM, 1)) == ARM.task
    assert task_of(MadeRun(ARM, 1)).variance == pytest.approx(VARIANCE)


def test_a_metric_is_read_at_its_step_and_else_at_the_last():
    values = np.arange(24.0).reshape(2, 3, 4)
    run = run_with(x__y=([0, 5, 9], values))
    np.testing.assert_array_equal(at(run, "x/y", 5), values[:, 1])
    np.testing.assert_array_equal(at(run, "x/y", 0), values[:, 0])
    np.testing.assert_array_equal(at(run, "x/y"), values[:, 2])


@pytest.mark.parametrize("step", [1, 6, 10, -1])
def test_a_step_without_a_reading_is_refused_with_those_that_have_one(step):
    with pytest.raises(SaltusError) as caught:
        at(run_with(x=([0, 5, 9], np.zeros((2, 3)))), "x", step)
    assert f"x was not read at step {step}, only at 0, 5, 9" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_layers_come_by_number_and_those_of_other_names_stay_out():
    shown = {f"a__blocks.{k}": ([3], np.full((2, 1, 4), k)) for k in (10, 2, 0, 1, 11, 9)}
    others = {f"{name}__blocks.5": ([3], np.full((2, 1, 4), 5)) for name in ("a__b", "aa", "c__a")}
    found = layers(run_with(**others, **shown), "a")
    assert [each[0, 0] for each in found] == [0, 1, 2, 9, 10, 11]
    assert {each.shape for each in found} == {(2, 4)}


def test_a_median_over_readings_is_each_seeds_own():
    run = run_with(x=([1, 2, 3, 4], [[1, 5, 2, 99], [7, 7, 9, 99]]))
    np.testing.assert_array_equal(median_over(run, "x", (1, 2, 3)), [2, 7])


rows = st.lists(
    st.lists(st.floats(0, 1.5), min_size=6, max_size=6), min_size=1, max_size=4
)  # in units of Var(X)


@given(rows)
def test_half_of_the_plateau_is_the_first_reading_at_or_below_it(rows):
    run = masked(rows)
    expected = []
    for values in run.series(MASKED).values:
        found = None
        for place, value in enumerate(values):
            if found is None and value <= task_of(run).variance / 2:
                found = 10 * place
        expected.append(found)
    assert half_plateau(run) == expected
    times = numbers(half_plateau(run))
    assert [None if np.isnan(time) else time for time in times] == expected


@given(rows)
def test_the_width_of_a_leap_against_a_loop(rows):
    run = masked(rows)
    variance = task_of(run).variance
    for values, width in zip(run.series(MASKED).values, leap_width(run, 3), strict=True):
        low = [place for place, value in enumerate(values) if value <= variance / 3]
        high = [place for place in range(low[0] if low else 0) if values[place] > 0.9 * variance]
        if low and high:
            assert width == 10 * (low[0] - high[-1])
        else:
            assert np.isnan(width)


def test_a_width_counts_from_the_last_reading_of_the_plateau_to_the_first_below():
    rows = [
        [1.2, 1.0, 0.8, 0.95, 0.6, 0.3, 1.0, 0.1],  # back and forth: from step 30 to step 50
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5],  # not yet there
        [0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1],  # never on a plateau
        [0.1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.1],  # below from the start
        [1.0, 1.0, np.nan, 1.0, 0.2, np.nan, 0.1, 0.1],  # a reading lost
    ]
    np.testing.assert_array_equal(leap_width(masked(rows), 3), [20, np.nan, np.nan, np.nan, 10])
    assert half_plateau(masked(rows)) == [50, 70, 30, 0, 40]


def test_sets_of_matrices_of_the_solver_are_independent_and_kept(monkeypatch):
    for name, value in (("SEEDS", 3), ("MATRICES", 2), ("AT_THE_MODELS", 4)):
        monkeypatch.setattr(convex, name, value)
    solve = convex.points.__wrapped__
    few, more = solve(0.1), solve(0.3)
    assert [point.matrices for point in few] == [2] * 3
    assert [point.matrices for point in more] == [4] * 3
    assert len({point.true_norm.value for point in more}) == 3
    assert all(point.residual < 1e-6 and point.norm.value <= point.true_norm.value + 1e-9
               for point in more)  # fmt: skip
    again = solve(0.3)
    assert [each.errors.everything for each in again] == [each.errors.everything for each in more]
