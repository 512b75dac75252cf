"""Tiny experiments shared by the engine's tests. Their shapes may be stacked bit for bit."""

from __future__ import annotations

import threading
from typing import Any

import torch

from saltus.experiment import Experiment
from saltus.training.ensemble import Ensemble
from saltus.training.launch import train_in_worker
from saltus.training.readings import measure
from saltus.training.workers import Progress

BASE: dict[str, Any] = {
    "task": {"kind": "moving-window-sum", "length": 5, "alphabet": 4, "modulus": 5},
    "model": {"kind": "decoder", "width": 16, "heads": 2, "depth": 2, "initial_deviation": 0.2},
    "optimizer": {"kind": "adamw", "learning_rate": 1e-2},
    "instruments": [
        {"kind": "evaluation", "cadence": 2},
        {"kind": "norms", "cadence": 2},
        {"kind": "gradient-norms", "cadence": 2},
        {"kind": "attention-entropy", "cadence": 2},
        {"kind": "hidden-cosine", "cadence": 2},
        {"kind": "gradient-balance", "cadence": 2, "samples": 16},
    ],
    "steps": 4,
    "batch": 16,
    "evaluation_batch": 32,
    "seeds": 3,
    "engine": {"workers": 1},
}


def tiny(**changes: Any) -> Experiment:
    """The base experiment with top-level fields replaced."""
    return Experiment.of({**BASE, **changes})


def trajectory(
    ensemble: Ensemble, steps: int
) -> tuple[torch.Tensor, list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    """Final flat parameters, losses per step, and readings per step."""
    losses, readings = [], []
    for step in range(steps):
        losses.append(ensemble.differentiate(step))
        ensemble.retire(losses[-1], step)
        readings.append(measure(ensemble, ensemble.experiment.instruments, step))
        ensemble.update(step)
    return ensemble.flat.detach().clone(), losses, readings


HELD = 3  # the step at which `held_shard` stays


def held_shard(path: str, index: int, progress: Progress) -> None:
    """`train_in_worker`, but a run called `...held` comes to step HELD and stays there."""

    def report(shard: int, step: int, loss: float, leapt: int) -> None:
        progress(shard, step, loss, leapt)
        if path.endswith("held") and step == HELD:
            threading.Event().wait()

    train_in_worker(path, index, report)
