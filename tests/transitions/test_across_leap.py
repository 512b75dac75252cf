"""Series across the leap: ramps and steps whose answers are known in closed form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.transitions.statistics.across_leap import half_way, on_leap_clock, speed_up
from saltus.transitions.transition import Plateau, Transition

STEPS = np.arange(0, 1001, 10)


def leap(step: float, width: float = 40.0) -> Transition:
    return Transition(
        Plateau(1.0, 0.0, step - width),
        1000.0,
        onset=step - width / 2,
        step=step,
        late=step + width / 2,
        end=step + width,
        after=0.0,
    )


NEVER = Transition(Plateau(1.0, 0.0, 1000.0), 1000.0)


def test_seeds_that_leap_at_different_steps_lie_over_each_other():
    leaps = [leap(200.0), leap(400.0), NEVER]
    values = np.stack([STEPS / 200, STEPS / 400, STEPS / 1.0])
    found = on_leap_clock(STEPS, values, leaps, np.array([0.0, 0.5, 1.0, 2.0]))
    assert np.allclose(found[:2], [[0.0, 0.5, 1.0, 2.0]] * 2)
    assert np.isnan(found[2]).all()


def test_nothing_is_made_up_beyond_the_last_reading():
    found = on_leap_clock(STEPS, STEPS[None] * 1.0, [leap(800.0)], np.array([1.0, 1.25, 1.3]))
    assert found[0, :2].tolist() == [800.0, 1000.0]
    assert np.isnan(found[0, 2])


@given(st.floats(0.5, 20.0), st.integers(100, 800))
def test_a_ramp_that_steepens_at_the_leap(times: float, at: int):
    moment = leap(at, 100.0)
    assert moment.onset is not None
    values = np.interp(
        STEPS,
        [0, moment.onset, 1000],
        [0, moment.onset, moment.onset + times * (1000 - moment.onset)],
    )
    fine = np.arange(0, 1001)
    exact = np.interp(
        fine,
        [0, moment.onset, 1000],
        [0, moment.onset, moment.onset + times * (1000 - moment.onset)],
    )
    assert speed_up(fine, exact[None], [moment])[0] == pytest.approx(times, rel=0.05)
    assert speed_up(STEPS, values[None], [NEVER]).tolist() == pytest.approx([np.nan], nan_ok=True)


def test_a_series_that_stands_still_before_has_no_speed_up():
    values = np.where(STEPS > 390, 1.0, 0.0)
    assert np.isnan(speed_up(STEPS, values[None], [leap(400.0)])[0])


@given(st.floats(0.05, 0.95), st.floats(100.0, 900.0))
def test_half_way_of_a_jump(place: float, at: float):
    when = place * 1000
    values = np.clip((np.arange(0, 1001) - when) / 2 + 0.5, 0, 1)
    found = half_way(np.arange(0, 1001), values[None], [leap(at)])
    assert found[0] == pytest.approx(when / at, abs=1.0 / at)


def test_half_way_works_downwards_and_not_on_what_stays():
    down = 1 - STEPS / 1000
    found = half_way(STEPS, np.stack([down, np.ones_like(down), down]), [leap(500.0)] * 2 + [NEVER])
    assert found[0] == pytest.approx(1.0)
    assert np.isnan(found[1:]).all()
