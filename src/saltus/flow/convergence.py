"""Gradient descent tends to gradient flow: the order of its error in the step size, measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.flow.twin import distances, twins
from saltus.runs import Run
from saltus.training.optimizers import Descent


@dataclass(frozen=True)
class Convergence:
    """The error at the end, |theta - flow| / |flow - theta_0|, for every step size.

    `slopes` are those of log error over log step size, by least squares, for each member: 1 for a
    method of first order. `local` are the slopes between neighbouring step sizes.
    """

    rates: Float[np.ndarray, " size"]
    errors: Float[np.ndarray, "member size"]

    @property
    def slopes(self) -> Float[np.ndarray, " member"]:
        x = np.log(self.rates) - np.log(self.rates).mean()
        return np.log(self.errors) @ x / (x @ x)

    @property
    def local(self) -> Float[np.ndarray, "member gap"]:
        return np.diff(np.log(self.errors), axis=1) / np.diff(np.log(self.rates))


def refined(experiment: Experiment, factor: int) -> Experiment:
    """The same training in `factor` times as many steps of 1/`factor` the size.

    Warm-up and decay are functions of the step and stretch with it, so the time at the end agrees
    (to first order in the step size, with a schedule).
    """
    optimizer = experiment.optimizer
    assert isinstance(optimizer, Descent)
    return experiment.override(
        {
            "name": f"{experiment.name}-{factor}",
            "steps": experiment.steps * factor,
            "optimizer.learning_rate": optimizer.learning_rate / factor,
            "optimizer.schedule.warmup": optimizer.schedule.warmup * factor,
        }
    )


def convergence(
    experiment: Experiment,
    train: Callable[[Experiment], Run],
    factors: Sequence[int] = (1, 2, 5, 10, 20, 50, 100),
    examples: int | None = None,
) -> Convergence:
    """Train with step sizes rate / factor to the same time and compare each with the flow.

    `train` runs an experiment to its end, e.g. `lambda e: start(e, "runs")`. The step size must be
    constant but for its schedule; the optimiser is any, but only full-batch SGD tends to the flow.
    """
    if not isinstance(experiment.optimizer, Descent):
        raise SaltusError(f"optimizer: {experiment.optimizer.kind} has no steps; allowed: sgd")
    if len(factors) < 2 or min(factors) < 1 or len(set(factors)) < len(factors):
        raise SaltusError(f"factors: {list(factors)} is not allowed: two or more different ones")
    pair = twins(experiment.override({"instruments": []}), 1, examples)
    flow = train(pair.flow)
    errors = []
    for factor in factors:
        finer = twins(refined(pair.discrete, factor), 1, examples)
        errors.append(distances(finer, train(finer.discrete), flow).apart[:, -1])
    assert isinstance(experiment.optimizer, Descent)
    rates = experiment.optimizer.learning_rate / np.array(factors, dtype=float)
    return Convergence(rates, np.stack(errors, axis=1))
