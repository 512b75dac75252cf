"""Adafactor and normalised descent, against other people's and their closed forms."""

from __future__ import annotations

from math import sqrt
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.optimization import Adafactor as OfTransformers

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.training.adafactor import Adafactor
from saltus.training.ensemble import Ensemble
from saltus.training.launch import create, resume, start
from saltus.training.norm_sgd import NormSgd
from tiny_experiments import tiny, trajectory

SHAPES = ((5, 3), (3, 5), (1, 4), (4, 1), (7,), (), (2, 3, 4))
SEVERAL = {
    "adafactor": {"kind": "adafactor"},
    "adafactor, absolute": {
        "kind": "adafactor",
        "relative_step": False,
        "scale_parameter": False,
        "weight_decay": 0.1,
        "learning_rate": 1e-3,
    },
    "norm-sgd": {"kind": "norm-sgd", "momentum": 0.9, "weight_decay": 0.1},
}


def drawn(seed: int, scale: float = 1.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]
    return [scale * value for value in draw]


def gap(optimizer: Adafactor, theirs: torch.optim.Optimizer, steps: int = 12) -> float:
    """Largest relative difference after some steps on the same gradients."""
    other = theirs.param_groups[0]["params"]
    mine = [value.detach().clone() for value in other]
    slots = [[torch.zeros_like(value) for value in mine] for _ in range(optimizer.slots)]
    for count in range(1, steps + 1):
        gradients = drawn(count, scale=10.0 ** -(count % 3))
        for value, gradient in zip(other, gradients, strict=True):
            value.grad = gradient.clone()
        theirs.step()
        rate = optimizer.rate(count - 1, steps)
        optimizer.update(mine, gradients, slots, count, rate)
    return max(
        float(((a - b).abs() / b.abs().clamp_min(1e-3)).max())
        for a, b in zip(mine, (value.detach() for value in other), strict=True)
    )


def start_of(seed: int = 99) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(value) for value in drawn(seed, 0.3)]


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("relative", [True, False])
def test_it_is_the_adafactor_of_transformers(relative, scale):
    rate = None if relative else 3e-3
    theirs = OfTransformers(
        start_of(), lr=rate, relative_step=relative, scale_parameter=scale, clip_threshold=0.7
    )
    mine = Adafactor(
        learning_rate=rate or 1e-2, relative_step=relative, scale_parameter=scale, clip_update=0.7
    )
    assert gap(mine, theirs) < 1e-12


@pytest.mark.parametrize("rate", [1e-2, 0.5])
def test_it_is_the_adafactor_of_torch(rate):
    """Which decays by its largest relative step, so decay is compared where that is reached."""
    decay = 0.1 if rate < 0.1 else 0.0
    theirs = torch.optim.Adafactor(start_of(), lr=rate, weight_decay=decay, eps=(1e-15, 1e-3))
    mine = Adafactor(learning_rate=rate, weight_decay=decay, epsilon=1e-30)
    assert gap(mine, theirs) < 1e-9


def test_without_decay_a_step_is_at_most_the_rate_times_the_parameters():
    """Assumption 1 by design: |delta| <= rho |theta|, and equal where the update is clipped."""
    optimizer = Adafactor()
    parameters = drawn(0)
    slots = [[torch.zeros_like(value) for value in parameters] for _ in range(2)]
    for count in range(1, 9):
        before = [value.clone() for value in parameters]
        optimizer.update(parameters, drawn(count), slots, count, 0.01)
        for old, new in zip(before, parameters, strict=True):
            moved, size = float((new - old).norm()), float(old.norm())
            assert moved <= 0.01 * size * (1 + 1e-12)
            if count == 1:  # the squares are those of this gradient, so U has RMS 1 or more
                assert moved == pytest.approx(0.01 * size, rel=0.35)


def test_the_relative_step_is_that_of_t5():
    optimizer, steps = Adafactor(), 1_000_000
    assert {optimizer.rate(t - 1, steps) for t in (1, 100, 10_000)} == {1e-2}
    assert optimizer.rate(40_000 - 1, steps) == pytest.approx(1 / sqrt(40_000), rel=1e-12)
    warm = Adafactor(schedule={"warmup": 10})
    assert warm.rate(4, steps) == pytest.approx(0.5e-2)
    assert Adafactor(relative_step=False, learning_rate=0.3).rate(40_000, steps) == 0.3
    same = Adafactor(
        relative_step=False, learning_rate=1e-2, schedule={"shape": "inverse-sqrt", "stop": 10_000}
    )
    for step in (0, 9_998, 9_999, 10_000, 123_456):
        assert same.rate(step, steps) == pytest.approx(optimizer.rate(step, steps), rel=1e-12)


def test_a_gradient_of_zeros_moves_nothing():
    for optimizer in (Adafactor(), NormSgd()):
        parameters = [torch.ones(3, 2), torch.ones(4)]
        before = [value.clone() for value in parameters]
        slots = [[torch.zeros_like(value) for value in parameters] for _ in range(2)]
        nothing = [torch.zeros_like(value) for value in parameters]
        optimizer.update(parameters, nothing, slots[: optimizer.slots], 1, 0.1)
        assert all(a.equal(b) for a, b in zip(before, parameters, strict=True))


@given(st.integers(0, 1000), st.floats(1e-12, 1e12))
def test_normalised_descent_moves_every_tensor_by_the_rate_whatever_the_loss_is_times(seed, scale):
    found = []
    for factor in (1.0, scale):
        parameters = drawn(seed + 1)
        before = [value.clone() for value in parameters]
        slots = [[torch.zeros_like(value) for value in parameters]]
        NormSgd().update(parameters, drawn(seed, factor), slots, 1, 0.1)
        for old, new in zip(before, parameters, strict=True):
            assert float((new - old).norm()) == pytest.approx(0.1, rel=1e-9)
        found.append(parameters)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_normalised_descent_with_decay_and_momentum_is_sgd_on_the_normalised_gradient():
    theirs = start_of()
    mine = [value.detach().clone() for value in theirs]
    slots = [[torch.zeros_like(value) for value in mine]]
    optimizer = torch.optim.SGD(theirs, lr=0.1, momentum=0.9, weight_decay=0.2)
    for count in range(1, 6):
        for value, gradient in zip(theirs, drawn(count), strict=True):
            value.grad = gradient / gradient.norm()
        optimizer.step()
        own = NormSgd(momentum=0.9, weight_decay=0.2)
        own.update(mine, drawn(count), slots, count, own.rate(0, 1))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other.detach(), rtol=1e-12, atol=1e-14)


def test_a_gradient_that_is_normalised_is_not_clipped():
    with pytest.raises(SaltusError) as caught:
        tiny(optimizer={"kind": "norm-sgd", "clip": 1.0})
    assert str(caught.value) == (
        "experiment: optimizer: clip 1 has no effect: every gradient is normalised"
    )


@pytest.mark.parametrize("settings", SEVERAL.values(), ids=list(SEVERAL))
def test_a_run_that_was_stopped_ends_with_the_same_bits(settings, tmp_path: Path):
    changed = tiny(optimizer=settings, instruments=[], steps=6, seeds=2, checkpoints={"rescue": 2})
    whole = start(changed, tmp_path / "unbroken").checkpoint()

    class Enough(Exception):
        pass

    def stop(shard: int, step: int, loss: float, leapt: int) -> None:
        if step == 3:
            raise Enough

    path = create(changed, tmp_path)
    with pytest.raises(Enough):
        resume(path, stop)
    again = resume(path).checkpoint()
    assert all((again[name] == value).all() for name, value in whole.items())


@pytest.mark.parametrize("kind", ["sgd", "adamw", "adafactor", "norm-sgd"])
def test_the_grid_of_rate_and_decay_is_one_ensemble(kind):
    """Figure 6 of 2010.09697: every cell is the experiment of its own settings, to the bit."""
    rates, decays = [1e-1, 1e-3], [1e-1, 1e-2, 0.0]
    vary = {"optimizer.learning_rate": rates, "optimizer.weight_decay": decays}
    base = {"optimizer": {"kind": kind, "learning_rate": 1e-2}, "instruments": ["norms"]}
    members = tiny(**base, vary=vary, seeds=2).members()
    assert len(members) == 12
    together, _, _ = trajectory(Ensemble(members), 3)
    for row in (0, 5, 11):
        member = members[row]
        settings = {"kind": kind}
        settings |= {key.rpartition(".")[2]: value for key, value in member.overrides.items()}
        own = tiny(optimizer=settings, instruments=["norms"], seeds=[member.seed])
        assert Experiment.of(own.data()) == own
        alone, _, _ = trajectory(Ensemble(own.members()), 3)
        assert together[row].equal(alone[0]), member.overrides
    assert len({tuple(row.tolist()) for row in together}) == 12


@pytest.mark.parametrize("settings", SEVERAL.values(), ids=list(SEVERAL))
def test_they_learn(settings):
    ensemble = Ensemble(tiny(optimizer=settings, instruments=[], batch=64, seeds=1).members())
    losses = []
    for step in range(40):
        losses.append(float(ensemble.differentiate(step % 4)))
        ensemble.update(step)
    assert losses[-1] < losses[0] - 0.01
