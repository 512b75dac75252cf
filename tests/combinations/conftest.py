"""Tiny experiments from the kinds of their parts, and what is left after a step of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from saltus.experiment import Experiment
from saltus.training.ensemble import Ensemble
from small_parts import MODELS, small_task

Make = Callable[..., Experiment]


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A tiny experiment from a task's and a model's kind, with fields of each changed."""
    folder = tmp_path_factory.mktemp("texts")

    def build(task: str, model: str, fields: dict[str, Any] | None = None, **more: Any):
        batch = 6 if task == "word-cooccurrence" else 4  # its exact counts come in sixths
        return Experiment.of(
            {
                "task": small_task(task, folder),
                "model": {"kind": model, **MODELS.get(model, {}), **(fields or {})},
                "steps": 1,
                "batch": batch,
                "evaluation_batch": 6,
                "seeds": 2,
                "engine": {"workers": 1},
                **more,
            }
        )

    return build


@pytest.fixture(scope="session")
def trained(make: Make) -> Callable[..., Ensemble]:
    """Two seeds after a step, with the gradient of the next."""

    @cache
    def train(task: str, model: str, **fields: Any) -> Ensemble:
        ensemble = Ensemble(make(task, model, fields).members())
        ensemble.retire(ensemble.differentiate(0), 0)
        ensemble.update(0)
        ensemble.differentiate(1)
        assert not ensemble.diverged and ensemble.flat.isfinite().all()
        return ensemble

    return train
