"""Tiny models to analyse: a decoder that adds and an encoder that completes matrices."""

from __future__ import annotations

from typing import Any

import torch

from saltus.experiment import Experiment
from saltus.models import initial_parameters
from saltus.random import Draws
from saltus.training.ensemble import Ensemble
from tiny_experiments import tiny

HEADS = 2
SETTINGS: dict[str, dict[str, Any]] = {
    "adding": {
        "model": {"kind": "decoder", "width": 16, "heads": HEADS, "depth": 2},
    },
    "completing": {
        "task": {"kind": "matrix-completion", "rows": 4, "columns": 3, "rank": 1, "decimals": 1},
        "model": {"kind": "encoder", "width": 16, "heads": HEADS, "depth": 2},
    },
}


def analysed(name: str, **changes: Any) -> Experiment:
    """An experiment whose attention is far from uniform from the start on."""
    setting = SETTINGS[name]
    model = {**setting["model"], "initial_deviation": 0.3, **changes.pop("model", {})}
    return tiny(**{**setting, "model": model, "instruments": [], **changes})


class One:
    """One model in float64 with its task and a batch, biases and norms moved off their start."""

    def __init__(self, name: str, batch: int = 6, seed: int = 0, **changes: Any) -> None:
        experiment = analysed(name, **changes)
        self.task, self.encoder = experiment.task, name == "completing"
        self.module = experiment.model.build(self.task.interface).double()
        own = initial_parameters(experiment.model, self.module, seed, dtype=torch.float64)
        generator = torch.Generator().manual_seed(seed)
        for value in own.values():
            value += 0.1 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        self.module.load_state_dict(own)
        self.parameters = own
        self.batch = self.task.sample(Draws(seed, "mine", dtype=torch.float64), batch)


def ensemble_of(name: str, seeds: list[int], **changes: Any) -> Ensemble:
    """Members some steps after their start."""
    made = Ensemble(analysed(name, seeds=seeds, **changes).members())
    for step in range(2):
        made.differentiate(step)
        made.update(step)
    return made
