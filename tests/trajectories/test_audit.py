"""What the audit finds in walks with one fault, and that it finds nothing in walks without."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saltus.trajectories import KINDS, analyse, audit, find_series
from saltus.trajectories.faults import FAULTS, File
from saltus.trajectories.geometry import detours, swaps

# What cannot be told on a walk at random: steps of equal length on average say little of a gap.
BENEATH = {"flipped bit", "missing, renumbered"}


def files(states):
    return tuple(
        File(f"step-{100 * i:05d}.safetensors", safetensors.torch.save(state))
        for i, state in enumerate(states)
    )


def findings(folder, listed, in_given_order=False):
    paths = [folder / file.name for file in listed]
    for path, file in zip(paths, listed, strict=True):
        path.write_bytes(file.content)
    return audit(analyse(find_series(paths, in_given_order=in_given_order)))


@pytest.mark.parametrize("drift", [0.0, 0.05, 0.3])
def test_nothing_is_wrong_with_a_walk(tmp_path, walk, drift):
    """At random, mixed, and nearly straight."""
    assert findings(tmp_path, files(walk(16, drift=drift))) == ()


def test_nothing_is_wrong_at_rest(tmp_path, walk):
    """A model that only trembles about one place: all distances are equal."""
    centre, *rest = walk(17)
    random = torch.Generator().manual_seed(5)
    trembling = [
        {n: v + 0.05 * torch.randn(v.shape, generator=random) for n, v in centre.items()}
        for _ in rest
    ]
    assert findings(tmp_path, files(trembling)) == ()


def test_nothing_is_wrong_where_the_rate_went_to_zero(tmp_path, walk):
    """Steps shrink, and the last states are equal, as under a schedule that ends early."""
    first, *_ = walk(1)
    random = torch.Generator().manual_seed(5)
    states = [first]
    for i in range(15):
        rate = 0.05 * max(0.0, 1 - i / 10) ** 2
        last = states[-1]
        states.append(
            {n: v + rate * torch.randn(v.shape, generator=random) for n, v in last.items()}
        )
    assert findings(tmp_path, files(states)) == ()
    copied = files(states)
    copied = (*copied[:4], File(copied[4].name, copied[-1].content), *copied[5:])
    assert [each.kind for each in findings(tmp_path, copied)] == ["duplicated"]


@pytest.mark.parametrize("kind", sorted(set(FAULTS) - BENEATH))
def test_every_kind_of_fault_is_found_where_it_is(tmp_path, walk, kind):
    sound = files(walk(12, drift=0.02))
    others = files(walk(12, seed=9, drift=0.02))
    for number in range(4):
        faulty = FAULTS[kind](sound, others, np.random.default_rng([number, 1]))
        found = findings(tmp_path, faulty.files, faulty.in_given_order)
        assert any(
            each.kind in faulty.expected and set(each.checkpoints) & set(faulty.names)
            for each in found
        ), (faulty.names, [each.line for each in found])
        assert all("\n" not in each.line and each.kind in KINDS for each in found)


def test_the_path_of_a_smooth_training_jumps_where_one_is_missing(tmp_path, walk):
    """Steps that are equal in all tensors: without one, the next is sqrt(2) to 2 times as long."""
    states = [s for i, s in enumerate(walk(14, drift=0.2)) if i != 6]
    (found,) = findings(tmp_path, files(states))
    assert found.kind == "missing" and found.steps == (500, 600)
    assert 1.3 < found.evidence["factor"] < 2.3


def test_a_gap_in_regular_steps_is_named(tmp_path, walk):
    kept = [file for i, file in enumerate(files(walk(12))) if i not in (4, 5)]
    (found,) = findings(tmp_path, kept)
    assert found.line == (
        "missing: step-00300.safetensors, step-00600.safetensors: 300 steps between them, "
        "100 around them: step 400, 500 is not there"
    )


@pytest.mark.parametrize(
    "steps",
    [
        [
            0,
            1,
            2,
            4,
            8,
            16,
            32,
            64,
            128,
            256,
            512,
            1000,
            2000,
            3000,
            4000,
        ],  # first dense, then even
        [0, 10, 20, 30, 40, 100, 200, 300, 400, 500],
        [0, 5100, 10200, 15300, 20400, 24488],  # the last one wherever training ended
    ],
)
def test_steps_that_were_meant_are_no_gap(tmp_path, walk, steps):
    listed = [
        File(f"step-{step}.safetensors", file.content)
        for step, file in zip(steps, files(walk(len(steps))), strict=True)
    ]
    assert findings(tmp_path, listed) == ()


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**31), straight=st.floats(0, 3), pair=st.integers(1, 8))
def test_swaps_of_neighbours_are_undone_on_any_walk(seed, straight, pair):
    """In 200 dimensions, from random to straight: the pair is found, and without it nothing is."""
    random = np.random.default_rng(seed)
    direction = random.standard_normal(200)
    path = np.cumsum(random.standard_normal((11, 200)) + straight * direction, axis=0)

    def distances(points):
        return np.linalg.norm(points[:, None] - points[None], axis=-1)

    assert swaps(distances(path)) == []
    assert (detours(distances(path)) < 3).all()
    order = np.arange(11)
    order[[pair, pair + 1]] = order[[pair + 1, pair]]
    assert [(i, j) for i, j, _ in swaps(distances(path[order]))] == [(pair, pair + 1)]
