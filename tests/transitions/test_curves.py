"""Labelled curves: the labels against the formulas, and each curve a function of its name alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.transitions.dropbench.curves import KINDS, LENGTHS, SPACINGS, curve, curves
from saltus.transitions.dropbench.kinds import LEAPING, NULL
from saltus.transitions.dropbench.noise import LAWS, noise
from saltus.transitions.dropbench.shapes import SHAPES, Draw, Fall

ONE_CLEAN_LEAP = ("sigmoid", "accelerating", "relaxing", "exponential", "slow", "heavy-tailed")


def draw(seed=0):
    return Draw(np.random.Generator(np.random.Philox(key=seed)))


@given(
    shape=st.sampled_from(sorted(SHAPES)),
    onset=st.floats(10, 500),
    width=st.floats(2, 200),
    share=st.floats(0.01, 0.99),
)
def test_a_shape_and_its_inverse_agree(shape, onset, width, share):
    """`way` at the (whole) steps around `when(share)` brackets the share; 10 and 90 % are exact."""
    fall = Fall(shape, onset, width)
    assert fall.when(0.1) == pytest.approx(onset) and fall.when(0.9) == pytest.approx(fall.late)
    at = fall.when(share)
    before, after = fall.way(np.array([int(np.floor(at)), int(np.floor(at)) + 1]))
    assert before - 1e-9 <= share <= after + 1e-9


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_a_shape_rises_from_nothing_to_all(shape):
    way = Fall(shape, 1000.0, 100.0).way(np.arange(4000))
    assert (np.diff(way) >= 0).all()
    assert way[0] == pytest.approx(0, abs=1e-8) and way[-1] == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("law", LAWS)
def test_noise_has_the_deviation_that_it_is_given(law):
    found = np.concatenate([noise(draw(seed), law, 0.3, np.ones(3000)) for seed in range(40)])
    assert found.mean() == pytest.approx(0, abs=0.02)
    assert found.std() == pytest.approx(0.3, rel=0.1)  # Student's tails converge slowly


@pytest.mark.parametrize("index", [0, 1, 2, 3, 5, 15])
def test_labels_are_where_the_clean_curve_has_gone_that_far(index):
    """Independent of the shapes' inverses: interpolate the clean curve."""
    for turn in range(6):
        found = curve("test", index + turn * len(KINDS))
        assert found.kind in ONE_CLEAN_LEAP and found.leaps is not None
        (leap,) = found.leaps
        end = leap.plateau - leap.height
        assert found.clean[0] == pytest.approx(leap.plateau, rel=1e-2)
        assert found.clean[-1] == pytest.approx(end, abs=0.05 * leap.height)
        done = (leap.plateau - found.clean) / leap.height
        for share, step in ((0.1, leap.onset), (0.5, leap.step), (0.9, leap.late)):
            place = step / found.spacing
            below, above = done[int(place)], done[int(place) + 1]
            assert below - 1e-9 <= share <= above + 1e-9


def test_the_part_of_an_incomplete_leap_that_is_seen_is_the_leap():
    found = [each for each in curves("test", 400) if each.kind == "incomplete"]
    assert len(found) > 10
    for each in found:
        (leap,) = each.leaps
        assert leap.late < each.budget
        assert leap.plateau - leap.height == pytest.approx(each.clean[-1], rel=1e-6)


def test_a_curve_does_not_depend_on_the_others():
    several = list(curves("test", 40, seed=3))
    for index in (0, 7, 39):
        alone = curve("test", index, seed=3)
        assert alone.name == several[index].name == f"test/3/{index}"
        np.testing.assert_array_equal(alone.values, several[index].values)
        assert alone.leaps == several[index].leaps and alone.changes == several[index].changes


def test_splits_and_seeds_give_other_curves():
    made = [curve(*which) for which in (("test", 0, 0), ("development", 0, 0), ("test", 0, 1))]
    assert len({each.values[0] for each in made}) == 3


def test_the_published_curves_stay_what_they_are():
    """Numbers of three curves: a change of any formula changes published tables."""
    known = {
        0: ("sigmoid", 170, 169, 68.82538609562371, 7.137294622708483),
        11: ("improving-after", 372, 371, 5.8703077841982285, 1.86985623455469),
        30: ("rate-steps", 2311, 46200, 0.015809769648768193, 0.011613193022224725),
    }
    for index, (kind, *expected) in known.items():
        found = curve("test", index)
        summary = [len(found.steps), found.budget, found.values[0], found.values[-1]]
        assert found.kind == kind and summary == pytest.approx(expected, rel=1e-9)


def test_what_holds_for_every_curve():
    made = list(curves("development", 10 * len(KINDS)))
    for each in made:
        assert len(each.steps) in LENGTHS and each.spacing in SPACINGS
        assert np.isfinite(each.values).all() and len(each.values) == len(each.steps)
        assert bool(each.leaps) == (each.kind in LEAPING)
        assert bool(each.changes) == (each.kind in ("rate-steps", "leap-and-rate-step"))
        assert set(each.changes) <= set(each.steps.tolist())
        ends = 0.0
        for leap in each.leaps:
            assert ends <= leap.onset < leap.step < leap.late <= each.budget
            assert leap.height > 0 and leap.ratio > 0
            ends = leap.late
    assert {each.kind for each in made} == {*LEAPING, *NULL}
    levels = [abs(each.values[0]) for each in made]
    assert min(levels) < 1e-2 and max(levels) > 1e2


@pytest.mark.parametrize("kind", sorted({"two-leaps", "three-leaps", "small-after-large"}))
def test_stairs_have_a_plateau_before_every_leap(kind):
    for each in curves("test", 300):
        if each.kind == kind:
            ends = 0.0
            for leap in each.leaps:
                assert leap.onset - ends >= 0.9 * leap.width
                ends = leap.late


def test_null_curves_of_spikes_come_back():
    for each in curves("test", 600):
        if each.kind in ("short-spikes", "long-spikes", "recovering-spikes"):
            assert np.ptp(each.clean) == 0  # without spikes and noise: a level
            deviation = np.median(np.abs(each.values - np.median(each.values)))
            late = each.values[-max(len(each.steps) // 20, 3) :]
            assert abs(np.median(late) - each.clean[-1]) <= 6 * deviation + 0.02 * each.clean[-1]


@pytest.mark.parametrize(
    ("split", "count", "message"),
    [
        ("tset", 3, "split: unknown split 'tset'; did you mean 'test'? Allowed: development, test"),
        ("test", 0, "count: 0 is not allowed: a number of curves, 1 or more"),
    ],
    ids=["split", "count"],
)
def test_what_there_is_not_is_refused_in_one_line(split, count, message):
    with pytest.raises(SaltusError) as caught:
        curves(split, count)
    assert str(caught.value) == message
