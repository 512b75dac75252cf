"""Rates that are constant up to an update and then decay (2010.09697, section 4 of our spec)."""

from __future__ import annotations

from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.training.schedules import Schedule
from tiny_experiments import tiny


def rates(schedule: Schedule, steps: int) -> list[float]:
    """The multipliers of updates 1 to `steps`."""
    return [schedule.at(update - 1, steps) for update in range(1, steps + 1)]


@given(st.integers(1, 50), st.integers(1, 120))
def test_the_root_and_the_line_are_the_papers(stop, steps):
    root = Schedule(shape="inverse-sqrt", stop=stop)
    line = Schedule(shape="linear", stop=stop, final=0.1)
    for i, (one, other) in enumerate(zip(rates(root, steps), rates(line, steps), strict=True), 1):
        if i < stop:
            assert one == other == 1.0
        else:
            assert one == pytest.approx(sqrt(stop / i), rel=1e-12)
            expected = 1 - 0.9 * (i - stop) / (steps - stop) if steps > stop else 1.0
            assert other == pytest.approx(expected, rel=1e-12)
    if steps > stop:
        assert rates(line, steps)[-1] == pytest.approx(0.1, rel=1e-12)


@given(
    st.sampled_from(["linear", "cosine", "inverse-sqrt"]),
    st.integers(0, 30),
    st.integers(1, 60),
    st.integers(1, 100),
    st.floats(0, 1),
)
def test_it_rises_stays_and_falls(shape, warmup, stop, steps, final):
    stop = max(stop, warmup)
    values = rates(Schedule(shape=shape, warmup=warmup, stop=stop, final=final), steps)
    assert values[:warmup] == [(i + 1) / warmup for i in range(min(warmup, steps))]
    assert set(values[warmup:stop]) <= {1.0}
    assert values[stop:] == sorted(values[stop:], reverse=True)
    assert all(0 <= value <= 1 for value in values)


def test_it_may_end_before_the_run_and_then_stays():
    schedule = Schedule(shape="linear", stop=10, until=20, final=0.5)
    assert rates(schedule, 40)[19:] == [0.5] * 21
    assert rates(schedule, 40)[14] == pytest.approx(0.75)


def test_after_a_warm_up_of_the_same_length_it_is_the_plain_one():
    plain = Schedule(shape="inverse-sqrt", warmup=100)
    stopped = Schedule(shape="inverse-sqrt", warmup=100, stop=100)
    assert rates(plain, 300) == rates(stopped, 300)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"stop": 5}, "stop goes with linear, cosine or inverse-sqrt; constant has no decay that"),
        ({"stop": 5, "shape": "epoch-cosine"}, "epoch-cosine has no decay"),
        ({"stop": 5, "shape": "linear", "warmup": 6}, "stop 5 must not lie before warmup 6"),
        ({"stop": 5, "shape": "cosine", "until": 5}, "until 5 must lie after stop 5"),
    ],
)
def test_a_stop_that_cannot_be_is_refused(given, message):
    with pytest.raises(SaltusError, match=message) as caught:
        tiny(optimizer={"kind": "sgd", "learning_rate": 0.1, "schedule": given})
    assert str(caught.value).startswith("experiment: optimizer.schedule: ")
