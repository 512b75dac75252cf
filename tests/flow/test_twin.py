"""Twins: the same start, one clock, and distances that mean what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.flow.twin import distance_to_polygon, distances, pace, twins
from saltus.training.launch import start

BASE = {
    "name": "words",
    "task": {"kind": "word-cooccurrence", "length": 4, "vocabulary": 20, "tokens": "iid"},
    "model": {
        "kind": "one-layer-attention", "width": 6, "neurons": 4,
        "initialisation": "normal", "sigma0": 0.3, "sigma1": 0.3,
    },
    "optimizer": {"kind": "sgd", "learning_rate": 0.2},
    "instruments": ["gradient-norms"],
    "steps": 12,
    "batch": 6,
    "examples": 6,
    "seeds": [3, 5],
    "engine": {"workers": 1},
}  # fmt: skip
FREEZE = {"kind": "freeze", "groups": ["mlp"]}
ADAM = {"kind": "adam", "learning_rate": 0.01}


def words(**changes) -> Experiment:
    return Experiment.of({**BASE, **changes})


def compared(tmp_path, experiment, **options):
    pair = twins(experiment, **options)
    runs = [start(each, tmp_path) for each in (pair.discrete, pair.flow)]
    return pair, runs, distances(pair, *runs)


# ------------------------------------------------------------------ what twins are


def test_twins_differ_in_what_moves_them_and_in_nothing_that_they_learn():
    original = words(study="word-cooccurrence", arm="U", scale="quick", interventions=[FREEZE])
    pair = twins(original, moments=4)
    assert pair.steps == (0, 3, 6, 9, 12)
    assert pair.times[:5] == pytest.approx([0.0, 0.6, 1.2, 1.8, 2.4])
    assert pair.times[-1] == pytest.approx(1.25 * 2.4)
    for each, name in ((pair.discrete, "words-steps"), (pair.flow, "words-flow")):
        assert (each.name, each.study, each.arm, each.scale) == (name, None, None, None)
        assert each.engine.precision == "float64"
        for field in ("task", "model", "seeds", "interventions", "batch", "examples"):
            assert getattr(each, field) == getattr(original, field)
    assert pair.discrete.optimizer == original.optimizer
    assert pair.discrete.checkpoints.at == pair.steps
    assert pair.flow.optimizer.times(pair.flow.steps) == list(pair.times)


def test_without_a_fixed_set_the_twin_gets_whole_batches_of_one():
    fresh = words(examples=None, batch=60, task={"kind": "word-cooccurrence"})
    pair = twins(fresh)
    assert (pair.discrete.examples, pair.discrete.batch) == (None, 60)
    assert (pair.flow.examples, pair.flow.batch) == (300, 300)
    both = twins(fresh, examples=120)
    assert (both.discrete.examples, both.discrete.batch) == (120, 60)
    assert (both.flow.examples, both.flow.batch) == (120, 120)


def test_adam_and_clipped_steps_have_no_clock_so_their_flow_goes_on():
    clipped = {**BASE["optimizer"], "clip": 0.1}
    for optimizer in (ADAM, clipped):
        pair = twins(words(optimizer=optimizer), moments=10)
        assert pair.times[-1] == pytest.approx(10 * pair.times[len(pair.steps) - 1])
        assert len(pair.times) == len(pair.steps) + 10
    assert len(twins(words(), reach=1.0).times) == 13


@given(
    momentum=st.floats(0, 0.99),
    warmup=st.integers(0, 5),
    shape=st.sampled_from(["constant", "linear", "cosine", "inverse-sqrt"]),
)
def test_the_clock_is_how_far_a_constant_force_moves_the_optimiser(momentum, warmup, shape):
    schedule = {"shape": shape, "warmup": warmup}
    sgd = {"kind": "sgd", "learning_rate": 0.3, "momentum": momentum, "schedule": schedule}
    experiment = words(optimizer=sgd)
    place, velocity, reached = 0.0, 0.0, []
    for step in range(experiment.steps):
        velocity = momentum * velocity + 1.0
        place += experiment.optimizer.rate(step, experiment.steps) * velocity
        reached.append(place)
    assert np.cumsum(pace(experiment)) == pytest.approx(reached, rel=1e-9)


# ------------------------------------------------------------------ distances of runs


def test_small_steps_stay_near_the_flow_and_every_number_is_what_it_says(tmp_path):
    pair, (discrete, flow), found = compared(tmp_path, words(), moments=4)
    assert found.steps.tolist() == [0, 3, 6, 9, 12]
    assert np.isnan(found.apart[:, 0]).all() and np.isnan(found.from_path[:, 0]).all()
    first, last = discrete.checkpoint(0), discrete.checkpoint(12)
    begin, there = flow.checkpoint(0), flow.checkpoint(4)
    names = [name for name in first if not name.startswith("state/")]
    for name in names:
        assert np.array_equal(first[name], begin[name])
    off = sum(((last[n] - there[n]) ** 2).sum((1, 2)) for n in names)
    way = sum(((there[n] - begin[n]) ** 2).sum((1, 2)) for n in names)
    assert found.apart[:, -1] == pytest.approx(np.sqrt(off / way))
    assert 0 < found.apart[:, 1:].max() < 0.1
    # Both ways are about equally long, and the flow at equal time is a point of its path.
    assert (found.from_path[:, 1:] < 1.1 * found.apart[:, 1:]).all()
    assert found.loss == pytest.approx(discrete.series("loss/train").values[:, list(pair.steps)])
    assert (np.diff(found.loss_of_flow) < 0).all()
    # Where the flow is as low, it is as low: its loss there, interpolated, is the optimiser's.
    for member in range(2):
        losses = flow.series("loss/train").values[member]
        again = np.interp(found.as_low_at[member], pair.times, losses)
        assert again[1:] == pytest.approx(found.loss[member, 1:])
    assert found.as_low_at[:, 1:] == pytest.approx(np.tile(found.times[1:], (2, 1)), rel=0.1)


def test_adam_leaves_the_path_and_clipped_steps_only_the_clock(tmp_path):
    *_, adam = compared(tmp_path, words(optimizer=ADAM), moments=6)
    assert adam.apart[:, -1].min() > 1
    assert adam.from_path[:, 1:].min() > 0.3 and adam.from_path[:, 1:].max() <= 1
    slow = {"kind": "sgd", "learning_rate": 0.05, "clip": 0.05}
    *_, clipped = compared(tmp_path, words(optimizer=slow), moments=6, reach=1.0)
    assert clipped.apart[:, -1].min() > 0.5
    assert clipped.from_path[:, -1].max() < 0.1


def test_fresh_samples_are_compared_with_the_flow_on_a_fixed_sample(tmp_path):
    fresh = words(examples=None, optimizer={"kind": "sgd", "learning_rate": 0.05})
    pair, _, found = compared(tmp_path, fresh, moments=2)
    assert pair.flow.examples == 258
    assert np.isfinite(found.apart[:, 1:]).all() and np.isfinite(found.loss).all()


def test_after_a_member_has_diverged_nothing_is_said_of_it(tmp_path):
    wild = words(optimizer={"kind": "sgd", "learning_rate": 1e200}, steps=4)
    pair = twins(wild, moments=4)
    tame = pair.flow.override({"optimizer.at": [0.1, 0.2, 0.3, 0.4, 0.5], "steps": 5})
    found = distances(pair, start(pair.discrete, tmp_path), start(tame, tmp_path))
    assert np.isfinite(found.loss[:, 0]).all()
    for values in (found.apart, found.from_path, found.loss, found.as_low_at):
        assert np.isnan(values[:, 2:]).all()


# ------------------------------------------------------------------ the polygon

PLANE = arrays.arrays(np.float64, (2, 5, 3), elements=st.floats(-10, 10, width=32))


def test_hand_made_points_and_an_angle():
    corners = np.array([[[0.0, 0.0], [2.0, 0.0], [2.0, 0.0], [2.0, 3.0]]])
    points = np.array([[[1.0, 0.0], [1.0, -2.0], [-3.0, 4.0], [1.5, 1.0], [5.0, 7.0], [2.0, 3.0]]])
    assert distance_to_polygon(points, corners)[0] == pytest.approx([0, 2, 5, 0.5, 5, 0])
    assert distance_to_polygon(points, corners[:, :1])[0, 2:4] == pytest.approx([5, 3.25**0.5])


@given(corners=PLANE, share=st.floats(0, 1), edge=st.integers(0, 3))
def test_points_of_the_polygon_are_at_distance_0(corners, share, edge):
    points = (1 - share) * corners[:, edge : edge + 1] + share * corners[:, edge + 1 : edge + 2]
    assert distance_to_polygon(points, corners) == pytest.approx(0, abs=1e-9)


@given(points=PLANE, corners=PLANE)
def test_the_distance_is_the_smallest_to_all_points_of_the_polygon(points, corners):
    shares = np.linspace(0, 1, 201)[:, None]
    edges = zip(corners.swapaxes(0, 1)[:-1], corners.swapaxes(0, 1)[1:], strict=True)
    dense = np.concatenate([a[:, None] * (1 - shares) + b[:, None] * shares for a, b in edges], 1)
    nearest = np.linalg.norm(points[:, :, None] - dense[:, None], axis=-1).min(-1)
    found = distance_to_polygon(points, corners)
    longest = np.linalg.norm(np.diff(corners, axis=1), axis=-1).max()
    assert (found <= nearest + 1e-9).all()
    assert (nearest <= found + longest / 400 + 1e-9).all()


@given(points=PLANE, corners=PLANE)
def test_members_do_not_see_one_another_and_lost_corners_are_no_part_of_it(points, corners):
    both = distance_to_polygon(points, corners)
    assert np.array_equal(distance_to_polygon(points[:1], corners[:1]), both[:1])
    lost = corners.copy()
    lost[1, 3:] = np.nan
    lost_points = points.copy()
    lost_points[0, 2] = np.nan
    found = distance_to_polygon(lost_points, lost)
    assert found[1] == pytest.approx(distance_to_polygon(points[1:], corners[1:, :3])[0])
    assert np.isnan(found[0]).tolist() == [False, False, True, False, False]


# ------------------------------------------------------------------ messages


@pytest.mark.parametrize(
    ("changes", "options", "line"),
    [
        (
            {"optimizer": {"kind": "gradient-flow", "duration": 1.0}},
            {},
            "optimizer: gradient-flow has no steps; allowed: sgd, adam, adamw",
        ),
        (
            {"optimizer": {"kind": "muon", "learning_rate": 0.02, "matrices": ["*"]}},
            {},
            "optimizer: muon does not go down the gradient at one rate; allowed: sgd, adam, adamw",
        ),
        (
            {"optimizer": {**ADAM, "groups": {"mlp": {"learning_rate": 0.1}}}},
            {},
            "optimizer.groups: mlp: the flow has one clock for all parameters; allowed: none",
        ),
        (
            {"vary": {"optimizer.learning_rate": [0.1, 0.2]}},
            {},
            "vary.optimizer.learning_rate: the members of twins share one clock; "
            "allowed: fields outside the optimizer",
        ),
        (
            {"optimizer": {"kind": "sgd", "learning_rate": 0}},
            {},
            "optimizer.learning_rate: it is 0 for some time; allowed: above 0",
        ),
        ({}, {"moments": 0}, "moments: 0 is not allowed: 1 or more"),
        ({}, {"reach": 0.5}, "reach: 0.5 is not allowed: a number from 1"),
        ({}, {"reach": float("nan")}, "reach: nan is not allowed: a number from 1"),
        ({}, {"examples": 4}, "experiment: batch 6 is larger than examples 4"),
        (
            {},
            {"examples": 32},
            "experiment: examples: 32 samples in exact counts: allowed: multiples of 6",
        ),
        (
            {"interventions": [{**FREEZE, "start": 3}]},
            {},
            "experiment: optimizer (gradient-flow): interventions.0 (freeze) starts at step 3; "
            "the flow has one velocity: allowed: 0",
        ),
    ],
)
def test_what_has_no_twin_is_refused_in_one_line(changes, options, line):
    with pytest.raises(SaltusError) as refused:
        twins(words(**changes), **options)
    assert str(refused.value) == line
