"""A run that was begun without kernels in C goes on without them, and is read without them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from saltus import kernels
from saltus.training.launch import create, resume, start
from saltus.training.revisit import revisit
from tiny_experiments import tiny

pytestmark = pytest.mark.skipif(not kernels.are_there(), reason="no C compiler here")
STEPS = 12


@pytest.fixture
def experiment():
    return tiny(
        steps=STEPS,
        seeds=2,
        instruments=[{"kind": "norms", "cadence": 4}, {"kind": "evaluation", "cadence": 4}],
        checkpoints={"every": STEPS},
        engine={"workers": 1},
    )


def weights(run) -> np.ndarray:
    found = run.checkpoint(STEPS)
    return np.concatenate([found[name].reshape(2, -1) for name in sorted(found)], axis=1)


def test_it_is_resumed_to_the_same_bits(experiment, tmp_path: Path) -> None:
    with kernels.switched_off():
        unbroken = start(experiment, tmp_path / "unbroken")
        begun = create(experiment, tmp_path / "begun")
    assert unbroken.provenance["kernels"] == "PyTorch"
    run = resume(begun)
    assert np.array_equal(weights(run), weights(unbroken))
    with_kernels = start(experiment, tmp_path / "kernels")
    assert with_kernels.provenance["kernels"].startswith("C, vectors of ")
    assert not np.array_equal(weights(with_kernels), weights(unbroken))
    np.testing.assert_allclose(weights(with_kernels), weights(unbroken), rtol=0.1, atol=0.05)


def test_it_is_read_to_the_same_bits(experiment, tmp_path: Path) -> None:
    for run in (start(experiment, tmp_path / "kernels"), without(experiment, tmp_path)):
        found = revisit(run, experiment.instruments, step=STEPS)
        for name, value in found.items():
            series = run.series(name)
            assert np.array_equal(value, series.values[:, list(series.steps).index(STEPS)])


def without(experiment, tmp_path: Path):
    with kernels.switched_off():
        return start(experiment, tmp_path / "without")
