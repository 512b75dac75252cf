"""Trainings that are over in a second and in which every member leaps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
from torch import Tensor

from saltus.experiment import Experiment
from saltus.tasks.base import Batch
from tiny_experiments import tiny
from training.bowls import Bowl, PointModel

STEPS = 160


class Well(Bowl):
    """The loss is the mean over coordinates of (u^2 - 1)^2: level near u = 0, from where it falls.

    A point that starts at distance d from 0 leaves it like d exp(8 rate * step).
    """

    kind: Literal["well"] = "well"  # type: ignore[assignment]

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        away = outputs * outputs - 1.0
        return (away * away).mean((-2, -1))


KINDS = (Well, PointModel)
for part in KINDS:  # as in bowls.py: known where they are asked for
    part.registry.pop(part.model_fields["kind"].default, None)


def register() -> None:
    """Make the kinds known for good, in a process of one's own."""
    for part in KINDS:
        part.registry[part.model_fields["kind"].default] = part


@pytest.fixture
def well(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Experiment]:
    """`falling`, its parts known by their kinds."""
    for part in KINDS:
        monkeypatch.setitem(part.registry, part.model_fields["kind"].default, part)
    return falling


def falling(**changes: Any) -> Experiment:
    """Three points in a well; 120 steps, and the leaps take place at about 50 of them."""
    fields: dict[str, Any] = {
        "task": "well",
        "model": {"kind": "point", "initial_scale": 1e-4},
        "optimizer": {"kind": "sgd", "learning_rate": 0.3},
        "instruments": [],
        "batch": 8,
        "examples": 8,
        "steps": 120,
        "seeds": 3,
        "checkpoints": {"microscope": {}},
    }
    return tiny(**{**fields, **changes})


def leaping(**changes: Any) -> Experiment:
    """A decoder learns 32 examples by heart, in full batches; seed 0 leaps at 121, seed 1 at 90."""
    fields: dict[str, Any] = {
        "task": {"kind": "moving-window-sum", "length": 4, "alphabet": 4, "modulus": 4},
        "model": {
            "kind": "decoder",
            "width": 16,
            "heads": 1,
            "depth": 1,
            "initial_deviation": 0.02,
        },
        "optimizer": {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9},
        "instruments": [],
        "batch": 32,
        "examples": 32,
        "steps": STEPS,
        "seeds": 2,
        "checkpoints": {"microscope": {}},
    }
    return tiny(**{**fields, **changes})
