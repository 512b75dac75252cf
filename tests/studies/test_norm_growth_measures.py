"""What the study of norm growth reads of a run, against numpy on runs that are written by hand."""

import numpy as np
import pytest

from saltus.errors import SaltusError
from saltus.instruments.norm_policies import encoder_names
from saltus.runs import RunWriter, create_run, open_run
from saltus.studies.norm_growth.measures import (
    attended,
    cells,
    choice,
    default_of,
    first,
    last,
    level,
    norms,
    rate_of,
    spaced,
    whole,
)
from saltus.studies.norm_growth.recipe import pairs
from studies.test_norm_growth_claims import HEADS, NORM, MadeRun, lost, recipes

SHAPES = {
    "token.weight": (40, 8), "position.weight": (9, 8), "blocks.0.attention.query.weight": (8, 8),
    "blocks.0.mlp.hidden.weight": (8, 8), "blocks.0.mlp_norm.weight": (8,),
    "readout.weight": (40, 8),
}  # fmt: skip
ENCODER = [name for name in SHAPES if name.startswith("blocks.")]
STEPS = (0, 25, 100, 125, 150, 225, 250)
MEMBERS = 3
SHARDS = [[0, 2], [1]]  # not in order


def walk(name, seed):
    """[checkpoint, member, ...] of a random walk; embeddings are large and hardly move."""
    random = np.random.Generator(np.random.Philox(key=[seed, len(name)]))
    shape, small = (MEMBERS, *SHAPES[name]), name in ENCODER
    start = random.standard_normal(shape) * (1.0 if small else 30.0)
    steps = random.standard_normal((len(STEPS) - 1, *shape)) * 0.3
    states = np.concatenate([start[None], start + steps.cumsum(axis=0)])
    return states.astype(np.float32)


@pytest.fixture(scope="module")
def states():
    return {name: walk(name, seed) for seed, name in enumerate(SHAPES)}


def written(root, states, steps=STEPS):
    """A run with these checkpoints, and one between them that is kept to resume from only."""
    text = recipes("quick")["adamw"].to_yaml()
    members = [{"seed": seed} for seed in range(MEMBERS)]
    path = create_run(root, "adamw", text, members, SHARDS)
    with RunWriter(path) as writer:
        for index, own in enumerate(SHARDS):
            with writer.shard(index) as shard:
                shard.resume()
                for place, step in enumerate(steps):
                    shard.record(step, {"loss/train": np.ones(len(own))})
                    tensors = {name: each[place, own] for name, each in states.items()}
                    shard.checkpoint(step, tensors | {"state/count": np.array(step)}, keep=True)
                    if step == 125:
                        shard.record(130, {"loss/train": np.ones(len(own))})
                        shard.checkpoint(130, tensors, keep=False)
                shard.status(state="done", step=steps[-1])
    return open_run(path)


def flat(states, member):
    """[checkpoint, n] of the encoder of one member, in float64."""
    return np.concatenate(
        [states[name][:, member].reshape(len(STEPS), -1) for name in ENCODER], axis=1
    ).astype(np.float64)


def test_the_made_encoder_is_the_encoder(states):
    import torch

    learned = {name: torch.from_numpy(each[0, 0]) for name, each in states.items()}
    assert encoder_names(learned) == ENCODER


def test_spaced_is_directions_and_alignments_of_the_encoder_25_steps_apart(states, tmp_path):
    found = spaced(written(tmp_path, states))
    first_of = [k for k in range(len(STEPS) - 1) if STEPS[k + 1] - STEPS[k] == 25]
    assert found.steps.tolist() == [25, 125, 150, 250]
    assert found.direction.shape == found.alignment.shape == (MEMBERS, 4)
    for member in range(MEMBERS):
        theta = flat(states, member)
        for place, k in enumerate(first_of):
            a, b = theta[k], theta[k + 1]
            length = np.linalg.norm
            direction = a @ b / length(a) / length(b)
            alignment = (a @ b - a @ a) / length(b - a) / length(a)  # M8
            assert found.direction[member, place] == pytest.approx(direction, rel=1e-9)
            assert found.alignment[member, place] == pytest.approx(alignment, rel=1e-7)


def test_embeddings_have_no_part_in_it(states, tmp_path):
    """With them the direction would hardly turn at all."""
    other = states | {name: 10 * each for name, each in states.items() if name not in ENCODER}
    one, two = (spaced(written(tmp_path / str(k), own)) for k, own in enumerate((states, other)))
    np.testing.assert_array_equal(one.direction, two.direction)
    np.testing.assert_array_equal(one.alignment, two.alignment)
    assert one.direction.max() < 0.99


def test_checkpoints_that_are_further_apart_are_named(states, tmp_path):
    run = written(tmp_path, states, (0, 50, 100, 200))
    with pytest.raises(SaltusError, match="no two checkpoints are 25 steps apart"):
        spaced(run)


def test_every_pair_of_an_arm_is_found(states, tmp_path):
    steps = pairs(250)
    assert len(steps) <= len(STEPS)
    found = spaced(written(tmp_path, states, steps))
    assert found.steps[0] == 25 and found.steps[-1] == 250


def test_first_last_and_norms_are_the_series():
    run = MadeRun(recipes("quick")["adamw"])
    series = run.array(NORM)
    np.testing.assert_array_equal(first(run, NORM), series.values[:, 0])
    np.testing.assert_array_equal(last(run, NORM), series.values[:, -1])
    steps, values = norms(run)
    assert steps.dtype == values.dtype == np.float64
    np.testing.assert_array_equal(steps, series.steps)
    assert rate_of(run) == 1e-3


def test_levels_are_those_of_the_loss_that_was_trained_on():
    one, other = (MadeRun(recipes("quick")[name]) for name in ("post-fast", "post-fast-authors"))
    for run, arm in ((one, "post-fast"), (other, "post-fast-authors")):
        assert level(run, "constant") == recipes("quick")[arm].task.levels()["constant"]
    assert level(one, "constant") != level(other, "constant")


def test_heads_are_those_of_the_end_with_as_many_positions_as_keys():
    arm = recipes("quick")["fast-authors"]
    run = MadeRun(arm)
    heads, positions = attended(run)
    assert positions == arm.task.length - 1
    assert heads.shape == (4, arm.model.depth * arm.model.heads)
    np.testing.assert_array_equal(heads.reshape(4, arm.model.depth, -1),
                                  run.array(HEADS).values[:, -1])  # fmt: skip
    run.set("head-types/zeta/attended", lambda values: values + 1)
    np.testing.assert_allclose(attended(run, "zeta")[0], heads + 1)


def test_lost_members_are_not_whole():
    values = np.ones((3, 4))
    values[0, 2], values[2, 3] = np.nan, np.inf
    assert whole(values).tolist() == [False, True, False]


def test_the_law_is_chosen_over_the_seeds_that_are_left():
    run = MadeRun(recipes("quick")["adamw"])
    found = choice(lost(run))
    assert found is not None and found.law == "linear"
    assert {each.count for each in found.margins.values()} == {3}
    for member in range(4):
        lost(run, member)
    assert choice(run) is None


@pytest.mark.parametrize(("readings", "there"), [(8, False), (9, True), (13, True), (41, True)])
def test_a_law_is_chosen_from_eight_readings_after_the_start_on(readings, there):
    run = MadeRun(recipes("quick")["adamw"])
    series = run.array(NORM)
    run.readings[NORM] = type(series)(NORM, series.steps[:readings], series.values[:, :readings])
    assert (choice(run) is not None) == there


def test_cells_hold_their_seeds_in_order():
    run = MadeRun(recipes("quick")["grid"])
    found = cells(run)
    assert len(found) == 25 and all(each.shape == (2,) for each in found.values())
    values = run.array(NORM).values
    for place, member in enumerate(run.members):
        own = member["overrides"]
        cell = own["optimizer.learning_rate"], own["optimizer.weight_decay"]
        expected = np.log(values[place, -1] / values[place, 0])
        assert found[cell][member["seed"]] == pytest.approx(expected)
    assert default_of(found) == (1e-3, 1e-2)


def test_the_default_is_the_nearest_cell_in_ratios():
    grid = {(rate, decay): np.zeros(2) for rate in (2e-3, 4e-4) for decay in (0.05, 0.003)}
    assert default_of(grid) == (2e-3, 0.003)  # 2 for 2.5, and 3.3 for 5
