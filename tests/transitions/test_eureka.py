"""Eureka statistics against hand-made curves, closed forms and a plain-Python reference."""

from math import ceil, inf, isnan, log, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.transitions import (
    Criterion,
    EurekaMoments,
    eureka_comparison,
    eureka_moments,
    eureka_summary,
    log_rank,
    mean_of_successes,
    median_time,
    share_interval,
)
from saltus.transitions.statistics.eureka import ACCURACY, TRAINING_LOSS, lag

EVERY = 100


def found(*curves, criterion=ACCURACY) -> EurekaMoments:
    """The Eureka-moments of curves that are read every 100 steps."""
    longest = max(map(len, curves))
    rows = [[*curve, *[nan] * (longest - len(curve))] for curve in curves]
    return eureka_moments(EVERY * np.arange(longest), np.array(rows), criterion)


def curve(moment, readings=31, seed=0):
    """0.1, then a plateau of 0.55 with noise from 300 on, 0.7 and 0.97 from `moment` on."""
    steps = EVERY * np.arange(readings)
    noise = np.random.default_rng(seed).normal(0, 0.01, readings)
    values = np.where(steps < 300, 0.1, np.where(steps < moment, 0.55, 0.97)) + noise
    values[steps == moment - EVERY] = 0.7
    return values


def test_a_clean_curve_has_the_steps_that_were_put_into_it():
    got = found(curve(1400), curve(2000, seed=1))
    assert got.step.tolist() == [1400, 2000]
    assert got.plateau.tolist() == [300, 300]
    assert got.early.tolist() == [1200, 1800] and got.late.tolist() == [1400, 2000]
    assert got.saturation.times.tolist() == [1100, 1700]
    assert got.abruptness.times.tolist() == [200, 200]
    assert got.times.happened.all() and got.budget == 3000 and not got.pending.any()


def test_the_threshold_itself_counts_and_two_more_readings_confirm():
    level = [0.55] * 3
    got = found([*level, 0.75, 0.75, 0.75], [*level, 0.75, 0.75, 0.74], [*level, 0.7499, 0.9, 0.9],
                [*level, 0.9, 0.6, 0.9])  # fmt: skip
    assert got.happened.tolist() == [True, False, False, False]
    assert got.step[0] == 300 and got.times.times.tolist() == [300, 500, 500, 500]
    # short of a confirmation: the third crossed with one reading to follow, the fourth with none
    assert got.pending.tolist() == [False, False, True, True]
    assert eureka_summary(got).pending == 2 and eureka_summary(got).ratio.estimate == 0.25
    less = Criterion(confirmations=1)
    assert found([*level, 0.7499, 0.9, 0.9], criterion=less).step.tolist() == [400]
    assert found([*level, 0.9], criterion=Criterion(confirmations=0)).step.tolist() == [300]


def test_a_peak_on_the_plateau_is_no_moment_but_may_begin_no_rise():
    noisy = [0.1, 0.55, 0.8, 0.55, 0.6, 0.55, 0.9, 0.96, 0.96, 0.96]
    got = found(noisy)
    assert (got.step[0], got.plateau[0], got.early[0], got.late[0]) == (600, 100, 500, 700)


def test_a_rise_that_does_not_end_within_the_budget_is_censored():
    got = found([0.55, 0.55, 0.8, 0.85, 0.85], curve(400, 12))
    assert isnan(got.late[0])
    assert got.abruptness.times.tolist() == [300, 200]
    assert got.abruptness.happened.tolist() == [False, True]


def test_a_diverged_seed_is_censored_where_it_ends_and_counted_at_the_budget():
    got = found([0.1, 0.55, 0.55], [0.1, 0.55, 0.56, 0.55, 0.9, 0.9, 0.9, 0.9])
    assert got.last.tolist() == [200, 700] and got.times.times.tolist() == [200, 400]
    said = eureka_summary(got)
    assert (said.diverged, said.runs, said.budget) == (1, 2, 700)
    assert said.censored.estimate == pytest.approx((700 + 400) / 2)
    assert said.successes.estimate == 400


def test_nothing_finite_is_a_failed_run():
    got = found([nan, nan], [0.1, 0.1])
    assert not got.happened.any() and got.times.times.tolist() == [0, 100]
    assert got.saturation.count == 0 and got.abruptness.count == 0
    assert (
        isnan(eureka_summary(got).saturation.estimate)
        and eureka_summary(got).median.estimate == inf
    )


def test_the_loss_falls_through_the_middle_of_plateau_and_floor():
    assert TRAINING_LOSS.threshold == pytest.approx(0.762, abs=5e-4)
    steps = np.arange(400)
    loss = np.where(steps < 50, 2.3, np.where(steps < 200, 1.03, 0.51))
    sharp = Criterion(1.0246, 0.5003, confirmations=0, margin=0.05)
    got = eureka_moments(steps, loss[None], sharp)
    assert (got.step[0], got.plateau[0], got.early[0], got.late[0]) == (200, 50, 199, 200)
    # Smoothed, after n values of 0.51: 0.51 + (0.52 + 1.27 * 0.95^150) 0.95^n <= 0.76245.
    smooth = eureka_moments(steps, loss[None], TRAINING_LOSS)
    left = log(0.25245 / (0.52 + 1.27 * 0.95**150)) / log(0.95)
    assert smooth.step[0] == 199 + ceil(left)


def test_lag_is_by_seed_and_leaves_out_who_has_none():
    validation, training = (
        found(curve(1400), curve(2000), [0.55] * 31),
        found(curve(1300), curve(2000), curve(500)),
    )
    apart, mean = lag(validation, training)
    assert apart[:2].tolist() == [100, 0] and isnan(apart[2])
    assert (mean.estimate, mean.count) == (50, 2)
    with pytest.raises(SaltusError, match="lag: 3 seeds by validation and 1 by training"):
        lag(validation, found(curve(1400)))


def moments(times, failed=0, budget=5000) -> EurekaMoments:
    """An arm of some e*, each at once, and runs that failed."""
    step = np.array([*times, *[nan] * failed], dtype=np.float64)
    last = np.full(len(step), float(budget))
    return EurekaMoments(step, step, step, step, last, np.zeros(len(step), bool), float(budget))


def test_a_summary_has_the_closed_forms():
    said = eureka_summary(moments([1000, 2000, 3000], failed=1))
    assert str(said.ratio) == str(share_interval(3, 4))
    assert said.successes.estimate == 2000 and said.successes.count == 3
    assert said.censored.estimate == (6000 + 5000) / 4 and said.censored.count == 4
    assert said.median.estimate == 2500  # half have leapt from 2000 to 3000
    assert said.successes.low >= 1000 and said.successes.high <= 3000
    assert said.censored.low <= 2750 <= said.censored.high <= 5000
    assert said.successes.estimate == mean_of_successes(moments([1000, 2000, 3000]).times).estimate


def test_an_arm_without_a_moment_is_known_to_need_longer():
    said = eureka_summary(moments([], failed=8))
    assert said.ratio.estimate == 0 and said.ratio.high > 0.3
    assert isnan(said.successes.estimate) and said.successes.count == 0
    assert said.censored.estimate == 5000 and said.censored.low < 5000  # not sure beyond doubt
    assert said.median.estimate == inf and said.median.low > 0


def test_arms_are_compared_with_the_reference_up_to_the_shorter_budget():
    early, late = moments([100, 200, 300, 400]), moments([4000, 4100, 4200], failed=1)
    longer = moments([6000, 7000, 8000, 9000], budget=10_000)
    made = eureka_comparison({"late": late, "early": early, "longer": longer}, reference="late")
    assert list(made.contrasts) == ["early", "longer"] and made.reference == "late"
    assert made.contrasts["early"].test == log_rank(late.times, early.times)
    assert made.contrasts["early"].test.best == pytest.approx(2 / 70)
    assert made.contrasts["early"].adjusted == pytest.approx(4 / 70)  # Holm, two arms
    assert made.contrasts["early"].later.estimate == 250 - 4150
    cut = moments([], failed=4)
    other = made.contrasts["longer"].test
    assert other.best == log_rank(late.times, cut.times).best
    assert other.statistic == pytest.approx(log_rank(late.times, cut.times).statistic)
    assert eureka_comparison({"late": late}).contrasts == {}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"plateau": 0.5, "solved": 0.5}, "two finite levels that differ"),
        ({"solved": inf}, "two finite levels"),
        ({"confirmations": -1}, "confirmations: -1 is not allowed: 0 or more"),
        ({"margin": -0.1}, "margin: -0.1 is not allowed"),
        ({"smoothing": 1.0}, "smoothing: 1 is not allowed: 0 to below 1"),
    ],
)
def test_a_criterion_says_what_is_wrong(fields, words):
    with pytest.raises(SaltusError, match=words):
        Criterion(**fields)


def test_bad_input_gets_one_line():
    with pytest.raises(SaltusError, match="0 steps and 0 readings"):
        eureka_moments(np.array([], dtype=int), np.zeros((1, 0)))
    with pytest.raises(SaltusError, match="steps that do not rise"):
        eureka_moments(np.array([0, 0]), np.zeros((1, 2)))
    with pytest.raises(SaltusError, match="an arm without runs"):
        eureka_summary(eureka_moments(np.array([0]), np.zeros((0, 1))))
    with pytest.raises(SaltusError, match="no arms"):
        eureka_comparison({})
    with pytest.raises(SaltusError, match="reference: unknown arm 'softmx'; did you mean"):
        eureka_comparison({"softmax": moments([1])}, "softmx")


ANY = st.sampled_from([0.1, 0.5, 0.52, 0.55, 0.59, 0.6, 0.75, 0.9, 0.91, 0.97, nan, inf])
CURVES = st.integers(1, 14).flatmap(
    lambda size: st.lists(st.lists(ANY, min_size=size, max_size=size), min_size=1, max_size=3)
)


def reference(curve, criterion):
    """e*, e_p, 10 %, 90 %: written out as the definitions say them, one reading at a time."""

    def at_least(value, level):
        return np.isfinite(value) and value >= level

    size, theta = len(curve), criterion.threshold
    moment = None
    for place in range(size):
        span = range(place, place + criterion.confirmations + 1)
        if moment is None and all(k < size and at_least(curve[k], theta) for k in span):
            moment = place
    plateau = next((k for k in range(size) if at_least(curve[k], 0.52)), None)
    if moment is None:
        return None, plateau, None, None
    early = next((k for k in range(moment - 1, -1, -1) if not at_least(curve[k], 0.59)), 0)
    late = next((k for k in range(moment, size) if at_least(curve[k], 0.91)), None)
    return moment, plateau, early, late


@given(CURVES, st.integers(0, 3))
def test_any_curves_have_what_the_definitions_say(curves, confirmations):
    criterion = Criterion(confirmations=confirmations)
    got = found(*curves, criterion=criterion)
    for place, own in enumerate(curves):
        said = [got.step, got.plateau, got.early, got.late]
        values = [None if isnan(each[place]) else int(each[place]) // EVERY for each in said]
        # 0.59 and 0.91 are the levels but for rounding: beyond them the criterion decides.
        if not {0.59, 0.91} & set(own):
            assert values == list(reference(own, criterion))
        alone = found(own, criterion=criterion)
        for name in ("step", "plateau", "early", "late", "last", "pending"):
            np.testing.assert_array_equal(getattr(alone, name)[0], getattr(got, name)[place])
        assert not (got.pending[place] and got.happened[place])
    if np.isfinite(got.step).any():
        assert (got.step >= got.plateau)[got.happened].all()
        assert (got.early <= got.step)[got.happened].all()


@settings(max_examples=20)
@given(CURVES)
def test_the_summary_of_any_curves_holds_together(curves):
    got = found(*curves)
    said = eureka_summary(got)
    assert 0 <= said.ratio.low <= said.ratio.estimate <= said.ratio.high <= 1
    assert said.censored.low <= said.censored.estimate <= said.censored.high <= got.budget
    if said.runs == said.successes.count:
        assert said.successes.estimate == pytest.approx(said.censored.estimate)
    elif said.successes.count:
        assert said.successes.estimate <= said.censored.estimate + 1e-9


@given(CURVES, st.integers(0, 3))
def test_a_mirrored_curve_falls_where_the_other_rises(curves, confirmations):
    up = found(*curves, criterion=Criterion(confirmations=confirmations))
    down = eureka_moments(
        EVERY * np.arange(len(curves[0])),
        -np.array(curves),
        Criterion(-0.55, -0.95, confirmations=confirmations),
    )
    for name in ("step", "plateau", "early", "late", "last", "pending"):
        np.testing.assert_array_equal(getattr(up, name), getattr(down, name))


@settings(max_examples=20)
@given(st.lists(st.integers(1, 5000), min_size=0, max_size=6), st.integers(1, 6))
def test_failing_more_often_moves_the_censored_mean_and_not_the_other(times, failed):
    some, more = moments(times, failed), moments(times, failed + 1)
    one, other = eureka_summary(some), eureka_summary(more)
    assert other.censored.estimate >= one.censored.estimate - 1e-9
    assert str(other.successes) == str(one.successes)
    assert other.ratio.estimate <= one.ratio.estimate
    assert one.median.estimate == median_time(some.times).estimate
