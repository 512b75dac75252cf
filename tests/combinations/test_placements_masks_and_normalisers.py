"""Every model with every place of LayerNorm, mask and normaliser, and with dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest
import torch

from saltus.experiment import Experiment
from saltus.models import Model
from saltus.models.attention import Mask
from saltus.models.normalisers import Normaliser
from saltus.models.transformer import Blocks, Norm
from saltus.training.ensemble import Ensemble
from saltus.training.isolation import is_separable
from saltus.training.plan import single
from small_parts import kinds

Make = Callable[..., Experiment]
BLOCKS = [kind for kind in kinds(Model) if issubclass(Model.registry[kind], Blocks)]
NORMS, MASKS = get_args(Norm), get_args(Mask)


def task_of(model: str) -> str:
    return "two-step-image" if model == "vit" else "moving-window-sum"


@pytest.mark.parametrize("attention", kinds(Normaliser))
@pytest.mark.parametrize("model", BLOCKS)
def test_outputs_and_gradients_are_finite(model, attention, make):
    """Also where a logit is huge, and at the first query, which sees one key and no spread."""
    for norm in NORMS:
        for mask in MASKS if model != "vit" else ("negative-infinity",):  # images have no order
            fields = {"norm": norm, "mask": mask, "causal": model != "vit", "attention": attention}
            ensemble = Ensemble(make(task_of(model), model, fields).members())
            for scale in (1.0, 30.0):
                with torch.no_grad():
                    ensemble.flat.mul_(scale)
                assert ensemble.differentiate(0).isfinite().all(), (norm, mask, scale)
                for name, gradient in ensemble.gradients.items():
                    assert gradient.isfinite().all(), (norm, mask, scale, name)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("model", BLOCKS)
def test_a_member_with_dropout_keeps_its_bits_in_any_company(model, norm, make):
    task = task_of(model)
    more = {"dropout": 0.3, "norm": norm, "width": 32, "hidden": 32}
    experiment = make(task, model, more, batch=16, seeds=[3, 0, 7], steps=2)
    assert experiment.model.differs_in_training
    assert is_separable(single(experiment))
    together = after_two_steps(experiment)
    for row, seed in enumerate(experiment.seeds):
        alone = after_two_steps(make(task, model, more, batch=16, seeds=[seed], steps=2))
        assert together[row].equal(alone[0]), seed


def after_two_steps(experiment: Experiment) -> torch.Tensor:
    ensemble = Ensemble(experiment.members())
    for step in range(2):
        ensemble.differentiate(step)
        ensemble.update(step)
    return ensemble.flat.detach()
