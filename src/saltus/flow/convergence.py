"""Gradient descent tends to gradient flow: the order of its error in the step size, measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.flow.twin import Twins, distance_over_way, track, twins
from saltus.runs import Run
from saltus.training.ensemble import Ensemble
from saltus.training.gradient_flow import GradientFlow
from saltus.training.optimizers import Descent


@dataclass(frozen=True)
class Convergence:
    """The error at the end, |theta - flow| / |flow - theta_0|, for every step size.

    `slopes` are those of log error over log step size, by least squares, for each member: 1 for a
    method of first order. `local` are the slopes between neighbouring step sizes. An error of NaN,
    of a member that diverged at this step size, is left out.
    """

    rates: Float[np.ndarray, " size"]
    errors: Float[np.ndarray, "member size"]

    @property
    def slopes(self) -> Float[np.ndarray, " member"]:
        return np.array([_slope(self.rates, errors) for errors in self.errors])

    @property
    def local(self) -> Float[np.ndarray, "member gap"]:
        return np.diff(np.log(self.errors), axis=1) / np.diff(np.log(self.rates))


def convergence(
    experiment: Experiment,
    train: Callable[[Experiment], Run],
    factors: Sequence[int] = (1, 2, 5, 10, 20, 50, 100),
    examples: int | None = None,
) -> Convergence:
    """Train with step sizes rate / factor for the same time and compare each end with the flow.

    `train` runs an experiment to its end, e.g. `lambda e: start(e, "runs")`. The optimiser is any,
    but only steps along the gradient of a fixed training set tend to its flow.
    """
    pairs, flow = refinements(experiment, factors, examples)
    names = Ensemble(flow.members()[:1], initialise=False).names
    followed = train(flow)
    theirs = track(names, followed, range(flow.steps + 1))
    assert isinstance(flow.optimizer, GradientFlow)
    ends = np.array(flow.optimizer.times(flow.steps))
    errors = []
    for pair in pairs:
        ours = track(names, train(pair.discrete), pair.steps[-1:])
        moment = int(np.abs(ends - pair.times[-1]).argmin())
        now = theirs[:, moment : moment + 1]
        errors.append(distance_over_way(ours, now, theirs[:, :1])[:, 0])
    assert isinstance(experiment.optimizer, Descent)
    rates = experiment.optimizer.learning_rate / np.array(factors, dtype=float)
    return Convergence(rates, np.stack(errors, axis=1))


def refinements(
    experiment: Experiment, factors: Sequence[int], examples: int | None = None
) -> tuple[list[Twins], Experiment]:
    """Twins for every factor, and one flow with the end of each among its moments.

    The ends are one moment where the step size is constant; schedules are sums over steps, so the
    time at their end depends a little on the factor.
    """
    if len(factors) < 2 or min(factors) < 1 or len(set(factors)) < len(factors):
        raise SaltusError(
            f"factors: {', '.join(map(str, factors))} is not allowed: "
            "two or more different whole numbers from 1"
        )
    plain = experiment.override({"instruments": []})
    pairs = []
    for factor in factors:
        pair = twins(refined(plain, factor), 1, examples, reach=1.0)
        name = {"name": f"{experiment.name}-over-{factor}"}
        pairs.append(replace(pair, discrete=pair.discrete.override(name)))
    ends: list[float] = []
    for end in sorted(pair.times[-1] for pair in pairs):
        if not ends or end > ends[-1] * (1 + 1e-9):  # a sum of many steps has rounding errors
            ends.append(end)
    return pairs, pairs[0].flow.override({"steps": len(ends), "optimizer.at": ends})


def refined(experiment: Experiment, factor: int) -> Experiment:
    """The same training in `factor` times as many steps of 1/`factor` the size.

    Warm-up and decay are functions of the share of training that has passed.
    """
    optimizer = experiment.optimizer
    if not isinstance(optimizer, Descent):
        raise SaltusError(f"optimizer: {optimizer.kind} has no steps; allowed: sgd, adam, adamw")
    schedule = optimizer.schedule
    if schedule.shape == "inverse-sqrt" and not schedule.warmup:
        raise SaltusError(
            "optimizer.schedule: inverse-sqrt without warmup is no function of the share of "
            "training, so its steps cannot be refined; allowed: warmup 1 or more"
        )
    changes = {
        "steps": experiment.steps * factor,
        "optimizer.learning_rate": optimizer.learning_rate / factor,
        "optimizer.schedule.warmup": schedule.warmup * factor,
    }
    if schedule.until is not None:
        changes["optimizer.schedule.until"] = schedule.until * factor
    if schedule.shape == "epoch-cosine":
        changes["optimizer.schedule.epoch"] = schedule.epoch * factor
    return experiment.override(changes)


def _slope(rates: Float[np.ndarray, " size"], errors: Float[np.ndarray, " size"]) -> float:
    fine = errors > 0  # neither NaN nor equal to the flow in every bit
    if fine.sum() < 2:
        return float("nan")
    x, y = np.log(rates[fine]), np.log(errors[fine])
    x = x - x.mean()
    return float(y @ x / (x @ x))
