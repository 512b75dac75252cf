"""Every optimiser of steps on every model, with what reads its steps."""

from __future__ import annotations

import pytest
import torch

from saltus.models import Model
from saltus.training.ensemble import Ensemble
from saltus.training.optimizers import Optimizer
from saltus.training.readings import measure
from small_parts import kinds

STOPPING = {"shape": "inverse-sqrt", "stop": 1}  # 1, 1 / sqrt 2
READERS = [{"kind": "norm-dynamics", "over": "all", "per": "none"}, {"kind": "norm-policies"}]


def task_of(model: str) -> str:
    return "moving-window-sum" if "tokens" in Model.registry[model].takes else "two-step-image"


@pytest.mark.parametrize("model", kinds(Model))
@pytest.mark.parametrize("kind", [k for k in kinds(Optimizer) if k != "gradient-flow"])
def test_two_steps_move_every_model_and_are_told_before(kind, model, make):
    """What is read of a step, |delta| and the growth of |theta|^2, is what the step then does."""
    optimizer = {"kind": kind, "learning_rate": 0.01, "schedule": STOPPING}
    if kind == "muon" and model in ("resnet", "small-convnet"):
        optimizer["matrices"] = ["readout"]  # it has blocks of kernels, and no matrix in them
    seeds = 1 if model == "resnet" else 2  # of five million numbers each
    more = {"optimizer": optimizer, "instruments": READERS, "seeds": seeds, "steps": 2, "batch": 8}
    ensemble = Ensemble(make(task_of(model), model, **more).members())
    for step in range(2):
        ensemble.retire(ensemble.differentiate(step), step)
        found = measure(ensemble, ensemble.experiment.instruments, step)
        before = learned(ensemble)
        ensemble.update(step)
        after = learned(ensemble)
        assert after.isfinite().all() and not ensemble.diverged
        moved = (after - before).norm(dim=-1)
        assert (moved > 0).all()
        torch.testing.assert_close(
            found["norm-dynamics/update-norm"].double(), moved, rtol=1e-3, atol=1e-6
        )
        torch.testing.assert_close(
            (found["norm-dynamics/growth/squares"] + found["norm-dynamics/growth/cross"]).double(),
            after.square().sum(-1) - before.square().sum(-1),
            rtol=1e-3,
            atol=1e-4,
        )


def learned(ensemble: Ensemble) -> torch.Tensor:
    """[member, number], without running statistics."""
    parts = [
        value.detach().double().flatten(1)
        for name, value in ensemble.parameters.items()
        if "running_" not in name
    ]
    return torch.cat(parts, dim=-1)
