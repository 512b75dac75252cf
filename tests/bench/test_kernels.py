"""The kernels' bench compares what it says, and switching them off is for its time only."""

from __future__ import annotations

import pytest
import torch

from saltus import kernels
from saltus.bench.engine import Regime
from saltus.bench.kernels import forward_and_backward, layers, measure

TINY = Regime("tiny", 8, 1, 4, 8, 2, 1.0)


@pytest.mark.parametrize("name", ["LayerNorm", "attention", "MLP", "readout"])
def test_both_sides_compute_the_same(name: str) -> None:
    module, more = layers(TINY.width)[name]
    job = forward_and_backward(module, more, 2, TINY)
    ours = job()
    with kernels.switched_off():
        theirs = job()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_switched_off_ends() -> None:
    x, weight = torch.ones(1, 2, 3), torch.ones(1, 4, 3)
    before = kernels.serve_product(x, weight)
    with pytest.raises(KeyError), kernels.switched_off():
        assert not kernels.serve_product(x, weight)
        raise KeyError
    assert kernels.serve_product(x, weight) == before


def test_a_measurement_has_both_sides_of_every_layer() -> None:
    found = measure(TINY, rounds=1, seconds=0.01)
    assert list(found["layers"]) == ["LayerNorm", "attention", "MLP", "readout", "whole step"]
    assert all(set(sides) == {"PyTorch", "C"} for sides in found["layers"].values())
