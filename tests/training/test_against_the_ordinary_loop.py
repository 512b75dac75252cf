"""The engine computes what an ordinary training loop computes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from computing import computing, with_either
from saltus.models.base import initial_parameters
from saltus.random import Draws
from saltus.training.ensemble import Ensemble
from tiny_experiments import tiny

OPTIMIZERS = {
    "adam": (
        {"kind": "adam", "learning_rate": 1e-2},
        lambda p: torch.optim.Adam(p, lr=1e-2),
    ),
    "adamw": (
        {"kind": "adamw", "learning_rate": 1e-2, "weight_decay": 0.1, "betas": [0.8, 0.95]},
        lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1, betas=(0.8, 0.95)),
    ),
    "adam with decay": (
        {"kind": "adam", "learning_rate": 1e-2, "weight_decay": 0.1},
        lambda p: torch.optim.Adam(p, lr=1e-2, weight_decay=0.1),
    ),
    "sgd": (
        {"kind": "sgd", "learning_rate": 0.3, "weight_decay": 0.01},
        lambda p: torch.optim.SGD(p, lr=0.3, weight_decay=0.01),
    ),
    "sgd with momentum": (
        {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9},
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    ),
}


def ordinary_loop(experiment, make_optimizer, steps, clip=None):
    """What anyone would write: one nn.Module, autograd, torch.optim."""
    seed, dtype = experiment.seeds[0], experiment.engine.dtype
    module = experiment.model.build(experiment.task.interface).to(dtype)
    start = initial_parameters(experiment.model, module, seed, dtype=dtype)
    module.load_state_dict(start)
    optimizer = make_optimizer(module.parameters())
    losses = []
    for step in range(steps):
        batch = experiment.task.sample(Draws(seed, "data", step, dtype=dtype), experiment.batch)
        logits = module(batch["inputs"])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch["targets"].flatten())
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(module.parameters(), clip)
        optimizer.step()
        losses.append(loss.item())
    return {name: value.detach() for name, value in module.named_parameters()}, losses


def relative_difference(mine, theirs) -> float:
    """Over all parameters together, so that a parameter near zero cannot hide or exaggerate.

    Softmax does not see a key's bias: its gradient is rounding noise, which Adam scales up to
    whole steps. So it is left out; nothing else depends on it.
    """
    theirs = {name: value for name, value in theirs.items() if not name.endswith("key.bias")}
    gap = sum(float((mine[name][0].detach() - theirs[name]).square().sum()) for name in theirs)
    size = sum(float(value.square().sum()) for value in theirs.values())
    return (gap / size) ** 0.5


@with_either
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("precision,tolerance", [("float32", 1e-5), ("float64", 1e-12)])
def test_fifty_steps_agree_with_an_ordinary_loop(name, precision, tolerance, products):
    with computing(products):
        fifty_steps(name, precision, tolerance)


def fifty_steps(name, precision, tolerance):
    settings, make = OPTIMIZERS[name]
    engine = {"workers": 1, "precision": precision}
    experiment = tiny(optimizer=settings, instruments=[], seeds=1, steps=50, engine=engine)
    ensemble = Ensemble(experiment.members())
    mine = []
    for step in range(50):
        mine.append(float(ensemble.differentiate(step)))
        ensemble.update(step)
    theirs, losses = ordinary_loop(experiment, make, 50)
    assert relative_difference(ensemble.parameters, theirs) < tolerance
    assert mine == pytest.approx(losses, rel=max(tolerance, 1e-6))


def test_clipping_is_the_clipping_of_torch():
    settings = {"kind": "sgd", "learning_rate": 0.5, "clip": 0.1}
    engine = {"workers": 1, "precision": "float64"}
    experiment = tiny(optimizer=settings, instruments=[], seeds=1, engine=engine)
    ensemble = Ensemble(experiment.members())
    for step in range(20):
        ensemble.differentiate(step)
        ensemble.update(step)
    theirs, _ = ordinary_loop(experiment, lambda p: torch.optim.SGD(p, lr=0.5), 20, clip=0.1)
    assert relative_difference(ensemble.parameters, theirs) < 1e-12


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_the_formula_used_off_the_cpu_is_the_fused_kernel(kind):
    optimizer = tiny(optimizer={"kind": kind, "learning_rate": 1e-2, "weight_decay": 0.1}).optimizer
    generator = torch.Generator().manual_seed(0)

    def vector():
        return torch.randn(40, generator=generator, dtype=torch.float64)

    fused, plain = (start := vector()).clone(), start.clone()
    states = [[[torch.zeros(40, dtype=torch.float64)] for _ in range(2)] for _ in range(2)]
    for count in range(1, 6):
        gradient = vector()
        optimizer.update([fused], [gradient.clone()], states[0], count, 1e-2)
        first, second = states[1]
        optimizer._plain(plain, gradient.clone(), first[0], second[0], count, 1e-2)
    assert torch.allclose(fused, plain, rtol=1e-12, atol=0)
