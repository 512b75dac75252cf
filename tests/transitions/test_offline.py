"""The detector on series whose answer is known: closed forms, invariances, and what is no leap."""

import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.transitions.offline import checked, find
from saltus.transitions.transition import largest

AT = np.arange(1000.0)


def sigmoid(at, centre, width):
    """From 1 to 0; `width` is from 10 % to 90 %: 2 ln 9 of the logistic's own unit."""
    return 1 / (1 + np.exp(np.clip((at - centre) * 2 * np.log(9) / width, -60, 60)))


def noise(seed, points=1000):
    return np.random.default_rng(seed).normal(size=points)


def slow(seed, memory=0.9):
    """AR(1) noise of unit variance."""
    white, found = noise(seed), np.zeros(1000)
    for place in range(1, 1000):
        found[place] = memory * found[place - 1] + white[place] * np.sqrt(1 - memory**2)
    return found


def leaps(values, at=AT, **settings):
    return [each for each in find(at, values, **settings) if not each.censored]


@given(
    centre=st.floats(250, 800),
    width=st.floats(2, 100),
    level=st.sampled_from([2.0, 1e-3, 1e4]),
    seed=st.integers(0, 20),
)
@settings(deadline=None, max_examples=12)
def test_a_logistic_leap_is_found_where_it_is(centre, width, level, seed):
    (found,) = leaps(level * (1 + sigmoid(AT, centre, width) + 0.02 * noise(seed)))
    near = 2 + 0.15 * width
    assert found.step == pytest.approx(centre, abs=near)
    assert found.onset == pytest.approx(centre - width / 2, abs=near)
    assert found.late == pytest.approx(centre + width / 2, abs=near)
    assert found.plateau.level == pytest.approx(2 * level, rel=0.02)
    assert found.after == pytest.approx(level, rel=0.03)
    assert found.height == pytest.approx(level, rel=0.05)
    assert found.onset <= found.step <= found.late <= found.end <= found.budget == 999
    assert found.sharpness == pytest.approx(found.plateau.length / found.width)
    assert found.plateau.end == found.onset


def test_without_noise_the_crossings_are_exact():
    """Between two points a straight line; the logistic's own curvature there is below 1e-3."""
    (found,) = leaps(3 + 2 * sigmoid(AT, 500.3, 60))
    assert found.step == pytest.approx(500.3, abs=0.01)
    assert found.onset == pytest.approx(470.3, abs=0.1) and found.width == pytest.approx(
        60, abs=0.2
    )
    assert found.plateau.level == pytest.approx(5, abs=0.01)
    assert found.after == pytest.approx(3, abs=0.05)


@given(
    scale=st.floats(1e-6, 1e6),
    shift=st.floats(-1e3, 1e3),
    stretch=st.floats(1e-3, 1e3),
    seed=st.integers(0, 9),
)
@settings(deadline=None, max_examples=8)
def test_units_of_the_series_and_of_time_do_not_matter(scale, shift, stretch, seed):
    values = sigmoid(AT, 300, 20) + 0.6 * sigmoid(AT, 700, 30) + 0.03 * noise(seed)
    plain = find(AT, values)
    other = find(AT * stretch, scale * (values + shift))
    assert len(plain) == len(other) == 2
    for one, two in zip(plain, other, strict=True):
        assert two.step == pytest.approx(stretch * one.step, rel=1e-6)
        assert two.width == pytest.approx(stretch * one.width, rel=1e-4)
        assert two.height == pytest.approx(scale * one.height, rel=1e-4)


def test_a_rise_is_a_fall_upside_down():
    values = sigmoid(AT, 400, 30) + 0.03 * noise(0)
    (down,), (up,) = leaps(values), leaps(-values, direction="up")
    assert (up.step, up.onset, up.late, up.height) == (
        down.step,
        down.onset,
        down.late,
        down.height,
    )
    assert up.plateau.level == -down.plateau.level and up.after == -down.after
    assert not leaps(values, direction="up") and not leaps(-values)


def test_the_steps_of_a_staircase_are_leaps_of_their_own():
    centres = (200, 450, 750)
    values = sum(sigmoid(AT, centre, 25) for centre in centres) + 0.03 * noise(1)
    found = leaps(values)
    assert [each.step for each in found] == pytest.approx(centres, abs=6)
    assert [each.plateau.level for each in found] == pytest.approx([3, 2, 1], abs=0.05)
    assert all(one.end <= two.onset for one, two in pairwise(found))


def test_the_fall_at_the_start_is_no_leap_but_the_one_after_the_plateau_is():
    values = 5 * np.exp(-AT / 20) + sigmoid(AT, 600, 40) + 0.02 * noise(2)
    (found,) = leaps(values)
    assert found.step == pytest.approx(600, abs=5) and found.plateau.start > 30


NOTHING = {
    "constant": np.ones(1000),
    "ramp": 1 - AT / 1000,
    "logarithmic ramp": -np.log1p(AT),
    "exponential": np.exp(-AT / 100),
    "power law": (1 + AT / 10) ** -0.5,
    "cosine": 0.5 + 0.5 * np.cos(np.pi * AT / 1000),
    "square root": -np.sqrt(AT),
    "spike": np.where((AT > 500) & (AT < 503), 3.0, 1.0),
    "fall that recovers": np.where((AT > 500) & (AT < 540), 0.0, 1.0),
    "rise that recovers": np.where((AT > 500) & (AT < 540), 2.0, 1.0),
    "oscillation": np.sin(AT / 30),
}


@pytest.mark.parametrize("scatter", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("kind", NOTHING)
def test_what_is_no_leap(kind, scatter):
    for seed in range(2 if scatter else 1):
        span = float(np.ptp(NOTHING[kind])) or 1.0
        found = find(AT, NOTHING[kind] + scatter * span * noise(seed))
        assert [each.censored for each in found] == [True], (kind, seed)


@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_never_leaps(seed):
    heavy = np.random.default_rng(seed).standard_t(2.5, 1000)
    growing = noise(seed) * np.linspace(0.1, 3, 1000)
    for values in (noise(seed), heavy, slow(seed), slow(seed, 0.97), growing):
        assert not leaps(values)


def test_a_censored_series_says_how_long_it_has_kept_its_level():
    values = np.exp(-AT / 30) + 0.01 * noise(3)
    (found,) = find(AT, values)
    assert found.censored and found.step is None and found.height == 0 and found.width is None
    assert found.budget == 999 and found.plateau.end == 999
    assert 50 < found.plateau.start < 200 and found.plateau.level == pytest.approx(0, abs=0.01)
    (ramp,) = find(AT, 1 - AT / 1000)
    assert ramp.plateau is None and ramp.sharpness is None


def test_what_falls_when_the_learning_rate_is_cut_is_no_leap():
    values = 2 - np.where(AT > 400, 1 - np.exp(-(AT - 400) / 15), 0) + 0.02 * noise(4)
    later = values + np.where(AT > 700, -0.5, 0.0)
    assert len(leaps(values)) == 1 and not leaps(values, changes=[401])
    (found,) = leaps(later, changes=[401])
    assert found.step == pytest.approx(700, abs=2)


def test_a_fall_in_the_last_points_may_still_recover():
    assert not leaps(np.where(AT > 975, 0.0, 1.0) + 0.01 * noise(5))
    (found,) = leaps(np.where(AT > 900, 0.0, 1.0) + 0.01 * noise(5))
    assert found.step == pytest.approx(900.5, abs=1)


def test_a_leap_under_way_at_the_end_has_no_end():
    values = sigmoid(AT, 940, 140) + 0.005 * noise(6)
    (found,) = leaps(values)
    assert found.end is None and found.budget == 999
    assert found.step == pytest.approx(940, abs=25)


def test_points_that_are_not_finite_are_left_out():
    values = sigmoid(AT, 500, 30) + 0.02 * noise(7)
    holed = values.copy()
    holed[::7] = np.nan
    holed[501] = np.inf
    (found,) = leaps(holed)
    assert found.step == pytest.approx(leaps(values)[0].step, abs=3)
    for empty in (np.full(1000, np.nan), np.full(1000, -np.inf)):
        (nothing,) = find(AT, empty)
        assert nothing.censored and nothing.plateau is None and nothing.budget == 0


@pytest.mark.parametrize("points", range(15))
def test_series_of_a_few_points(points):
    at = np.arange(float(points))
    for values in (np.ones(points), at, -at, np.where(at < points / 2, 1.0, 0.0)):
        assert len(find(at, values)) == 1
    assert largest(find(at, np.ones(points))).censored


@given(
    values=st.lists(st.floats(width=32), max_size=60),
    direction=st.sampled_from(["down", "up"]),
)
@settings(deadline=None, max_examples=60)
def test_any_series_has_an_answer(values, direction):
    found = find(np.arange(float(len(values))), np.array(values, dtype=float), direction)
    assert found and all(each.height >= 0 for each in found)
    assert len(found) == 1 or not any(each.censored for each in found)
    for each in found:
        if not each.censored:
            assert each.plateau.start <= each.onset <= each.step <= each.late


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.arange(3.0), np.ones(4)), "transitions: 3 steps do not fit 4 values"),
        ((np.array([0.0, 2.0, 1.0]), np.ones(3)), "steps: they must be finite and rise"),
        ((np.array([0.0, 1.0, np.nan]), np.ones(3)), "steps: they must be finite and rise"),
        ((np.arange(3.0), np.ones(3), "left"), "direction: 'left' is not allowed: down or up"),
    ],
    ids=["lengths", "order", "not-finite", "direction"],
)
def test_what_does_not_fit_gets_one_line(arguments, message):
    with pytest.raises(SaltusError) as caught:
        checked(*(*arguments, "down")[:3])
    assert str(caught.value) == message


def test_without_scipy_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    with pytest.raises(SaltusError, match=r"^finding leaps needs `pip install saltus\[studies\]`$"):
        find(AT, noise(0))
