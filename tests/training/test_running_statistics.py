"""Training with statistics of the batch and with branches left out: still each member's own."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.models import Tape, group_of
from saltus.models.vit import VisionTransformer
from saltus.runs import verify
from saltus.training.ensemble import Ensemble
from saltus.training.isolation import is_separable
from saltus.training.launch import create, resume, start
from saltus.training.readings import State, sample_gradients
from tiny_experiments import tiny, trajectory

STEPS = 3
MODELS = {
    "batch norm": {"kind": "small-convnet"},
    "stochastic depth": {
        "kind": "vit",
        "depth": 2,
        "width": 16,
        "heads": 2,
        "patch": 8,
        "stochastic_depth": 0.5,
    },
}
both = pytest.mark.parametrize("name", MODELS)


def experiment(name: str, **changes) -> Experiment:
    kinds = ("evaluation", "norms", "gradient-norms")
    fields = {
        "task": {"kind": "two-step-image"},
        "model": MODELS[name],
        "instruments": [{"kind": kind, "cadence": 1} for kind in kinds],
        "batch": 32,
        "steps": STEPS,
    }
    return tiny(**{**fields, **changes})


@cache
def alone(name: str, seed: int):
    return trajectory(Ensemble(experiment(name, seeds=[seed]).members()), STEPS)


@both
def test_a_member_has_its_own_bits_whoever_is_beside_it(name):
    single = Ensemble(experiment(name, seeds=[0]).members())
    assert is_separable(single)
    seeds = [5, 0, 3]
    flat, losses, readings = trajectory(Ensemble(experiment(name, seeds=seeds).members()), STEPS)
    for row, seed in enumerate(seeds):
        own_flat, own_losses, own_readings = alone(name, seed)
        assert flat[row].equal(own_flat[0])
        assert all(a[row].equal(b[0]) for a, b in zip(losses, own_losses, strict=True))
        for together, own in zip(readings, own_readings, strict=True):
            assert together.keys() == own.keys()
            for metric, value in together.items():
                torch.testing.assert_close(
                    value[row], own[metric][0], rtol=0, atol=0, equal_nan=True
                )


def test_a_member_that_diverges_keeps_finite_statistics_and_changes_nobody():
    healthy, _, _ = trajectory(Ensemble(experiment("batch norm", seeds=2).members()), 4)
    grid = experiment("batch norm", seeds=2, vary={"optimizer.learning_rate": [1e-2, 1e30]})
    ensemble = Ensemble(grid.members())
    flat, _, _ = trajectory(ensemble, 4)
    assert set(ensemble.diverged) == {2, 3}
    assert flat[:2].equal(healthy)
    for name, value in ensemble.parameters.items():
        if group_of(name) == "statistics":
            assert value.isfinite().all(), name
    before = {name: value[2].clone() for name, value in ensemble.parameters.items()}
    ensemble.differentiate(4)
    ensemble.update(4)
    for name, value in before.items():
        torch.testing.assert_close(ensemble.parameters[name][2], value, rtol=0, atol=0)


class Plain(nn.Module):
    """The small convolutional network as one would write it."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [(3, 32, 1), (32, 32, 2), (32, 64, 2), (64, 64, 2)]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, s, 1, bias=False) for a, b, s in sizes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for _, b, _ in sizes)
        self.readout = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = norm(convolution(x)).relu()
        return self.readout(x.flatten(1)).unsqueeze(1)

    def named(self) -> dict[str, Tensor]:
        """Everything by our names."""
        found = {f"readout.{name}": value for name, value in self.readout.named_parameters()}
        for index, convolution in enumerate(self.convolutions):
            layer, norm = f"layers.{index}", self.norms[index]
            found[f"{layer}.convolution.weight"] = convolution.weight
            for ours, theirs in (("mean", "mean"), ("variance", "var")):
                found[f"{layer}.batch_norm.running_{ours}"] = getattr(norm, f"running_{theirs}")
            for name, value in norm.named_parameters():
                found[f"{layer}.batch_norm.{name}"] = value
        return found


def test_it_trains_as_an_ordinary_loop_does():
    changes = {"engine": {"workers": 1, "precision": "float64"}, "instruments": []}
    ensemble = Ensemble(experiment("batch norm", seeds=[1], **changes).members())
    plain = Plain().double()
    with torch.no_grad():
        for name, value in plain.named().items():
            value.copy_(ensemble.parameters[name][0])
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-2, weight_decay=0.01)
    task = ensemble.task
    for step in range(5):
        batch = {name: value[0] for name, value in ensemble.training_batch(step).items()}
        loss = task.loss(plain(batch["inputs"]), batch).mean()
        torch.testing.assert_close(ensemble.differentiate(step)[0], loss.detach())
        ensemble.update(step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name, value in plain.named().items():
        torch.testing.assert_close(
            ensemble.parameters[name][0].detach(), value.detach(), rtol=1e-7, atol=1e-9
        )
    plain.eval()
    batch = {name: value[0] for name, value in ensemble.draw("evaluation", 0, 8).items()}
    own = {name: value[0] for name, value in ensemble.parameters.items()}
    outputs = functional_call(ensemble.module, own, (batch["inputs"], Tape()))
    torch.testing.assert_close(outputs, plain(batch["inputs"]), rtol=1e-6, atol=1e-7)


def test_gradients_of_single_samples_are_of_the_model_as_it_is_evaluated():
    ensemble = Ensemble(experiment("batch norm", seeds=2).members())
    batch = ensemble.draw("evaluation", 0, 6)
    state = State(None, ensemble.parameters, ensemble.gradients)
    single = sample_gradients(ensemble, ensemble.task, batch, 0, 6, state)
    losses = ensemble.losses(ensemble.parameters, batch, Tape())
    whole = torch.autograd.grad(losses.sum(), ensemble.leaves, materialize_grads=True)
    for name, expected in zip(ensemble.names, whole, strict=True):
        torch.testing.assert_close(single[name].mean(1), expected, rtol=1e-3, atol=1e-5)


class Enough(Exception):
    pass


@both
def test_a_run_that_was_stopped_ends_with_the_same_bits(name: str, tmp_path: Path):
    checkpoints = {"every": 4, "rescue": 2}
    small = {"batch": 8, "evaluation_batch": 8}
    changed = experiment(name, steps=6, seeds=2, checkpoints=checkpoints, **small)
    whole = contents(start(changed, tmp_path / "unbroken").path)

    def stop(shard: int, step: int, loss: float, leapt: int) -> None:
        if step == 3:
            raise Enough

    path = create(changed, tmp_path)
    with pytest.raises(Enough):
        resume(path, stop)
    resume(path)
    assert verify(path).ok
    assert contents(path) == whole


def contents(path: Path) -> dict[str, bytes]:
    """Everything of a run that is not wall-clock."""
    wall_clock = {"status.json", "lock", "provenance.json", "manifest.json"}
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name not in wall_clock
    }


def test_frozen_statistics_stay_as_they_are():
    frozen = experiment("batch norm", interventions=[{"kind": "freeze", "groups": ["statistics"]}])
    ensemble = Ensemble(frozen.members())
    trajectory(ensemble, STEPS)
    for name, value in ensemble.parameters.items():
        if group_of(name) == "statistics":
            torch.testing.assert_close(value, ensemble.initial[name], rtol=0, atol=0)


def test_noise_that_no_tape_would_carry_is_refused(monkeypatch):
    monkeypatch.setattr(VisionTransformer, "stackable", False)
    with pytest.raises(SaltusError, match=r"vit: its training pass differs .* stackable models"):
        Ensemble(experiment("stochastic depth").members())
