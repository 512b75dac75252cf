"""How far is SGD or Adam from gradient flow? Any experiment, beside its twin that follows the flow.

The twin starts at the same parameters and follows the exact flow of the loss on a fixed training
set, in float64, to the times at which the optimiser arrives: an update with learning rate r
advances the clock by r (heavy-ball momentum m: by r / (1 - m), its drift once it rolls). For
gradient descent on that same set the distance goes to 0 with the step size; minibatches, momentum
and adaptive steps leave a distance of their own, which is the thing to see. Adam has no clock of
its own: beside the distance at equal time stands the distance to the path, whatever the time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.runs import Run
from saltus.training.ensemble import Ensemble
from saltus.training.optimizers import Descent, Sgd

FEWEST_EXAMPLES = 256  # of the fixed set that stands for the population, where there is none


@dataclass(frozen=True)
class Twins:
    """An experiment and its twin under gradient flow, with the moments at which they are met."""

    discrete: Experiment
    flow: Experiment
    steps: tuple[int, ...]  # of the discrete run, the first of them 0
    times: tuple[float, ...]  # of the flow, the same moments


@dataclass(frozen=True)
class Distances:
    """How far a discrete trajectory is from its twin, member by member and moment by moment.

    `apart` is |theta - flow(t)| over the way that the flow has come, |flow(t) - theta_0|: 1 means
    as far from the flow as the flow is from the start. `from_path` is the same with the nearest
    point of the flow's path (polygon through its moments) in place of flow(t). Both are NaN at
    step 0. Losses are on the twin's training set, in the task's units.
    """

    steps: Int[np.ndarray, " moment"]
    times: Float[np.ndarray, " moment"]
    apart: Float[np.ndarray, "member moment"]
    from_path: Float[np.ndarray, "member moment"]
    loss: Float[np.ndarray, "member moment"]
    loss_of_flow: Float[np.ndarray, "member moment"]


def twins(
    experiment: Experiment, moments: int = 40, examples: int | None = None, rtol: float = 1e-8
) -> Twins:
    """An experiment in float64 and its twin, to be met at about `moments` equally spaced steps.

    `examples` makes both learn from a fixed set of that size; without it the experiment's own set
    is the twin's, and where it draws fresh samples the twin gets a fixed set of at least 256 that
    stands for the population (its sampling error is then part of the distance).
    """
    optimizer = experiment.optimizer
    if not isinstance(optimizer, Descent):
        raise SaltusError(f"optimizer: {optimizer.kind} has no steps; allowed: sgd, adam, adamw")
    if varied := [path for path in experiment.vary if path.startswith("optimizer.")]:
        raise SaltusError(f"vary.{varied[0]}: twins share one clock; allowed: other fields")
    if moments < 1:
        raise SaltusError(f"moments: {moments} is not allowed: 1 or more")
    size = examples or experiment.examples or max(FEWEST_EXAMPLES, experiment.batch)
    steps = np.unique(np.linspace(0, experiment.steps, moments + 1).round().astype(int))
    clock = np.concatenate([[0.0], np.cumsum(pace(experiment))])
    times = tuple(float(time) for time in clock[steps])
    if len(set(times)) < len(times):
        raise SaltusError("optimizer.learning_rate: it is 0 for some time; allowed: above 0")
    discrete = experiment.override(
        {
            "name": f"{experiment.name}-steps",
            "examples": examples or experiment.examples,
            "engine.precision": "float64",
            "checkpoints.at": [int(step) for step in steps],
        }
    )
    flow = experiment.override(
        {
            "name": f"{experiment.name}-flow",
            "examples": size,
            "batch": size,
            "engine.precision": "float64",
            "instruments": [],
            "steps": len(times) - 1,
            "checkpoints.every": 1,
            "optimizer": {
                "kind": "gradient-flow",
                "at": list(times[1:]),
                "weight_decay": optimizer.weight_decay,
                "rtol": rtol,
            },
        }
    )
    return Twins(discrete, flow, tuple(int(step) for step in steps), times)


def pace(experiment: Experiment) -> Float[np.ndarray, " step"]:
    """What each update adds to the clock of the flow."""
    optimizer = experiment.optimizer
    assert isinstance(optimizer, Descent)
    inertia = 1 - optimizer.momentum if isinstance(optimizer, Sgd) else 1.0
    rates = [optimizer.rate(step, experiment.steps) for step in range(experiment.steps)]
    return np.array(rates) / inertia


def distances(pair: Twins, discrete: Run, flow: Run) -> Distances:
    """Compare two finished runs of `twins`."""
    losses = Ensemble(pair.flow.members(), initialise=False)
    tracks: list[list[np.ndarray]] = [[], []]
    values: list[list[np.ndarray]] = [[], []]
    for place, step in enumerate(pair.steps):
        for own, run, at in ((0, discrete, step), (1, flow, place)):
            found = run.checkpoint(at)
            flat = [found[name].reshape(len(found[name]), -1) for name in losses.names]
            tracks[own].append(np.concatenate(flat, axis=1))
            values[own].append(_losses(losses, found))
    ours, theirs = (np.stack(track, axis=1) for track in tracks)  # [member, moment, parameter]
    way = np.linalg.norm(theirs - theirs[:, :1], axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.linalg.norm(ours - theirs, axis=-1) / way
        path = _to_polygon(ours, theirs) / way
    apart[:, 0] = path[:, 0] = np.nan
    return Distances(
        np.array(pair.steps),
        np.array(pair.times),
        apart,
        path,
        np.stack(values[0], axis=1),
        np.stack(values[1], axis=1),
    )


@torch.no_grad()
def _losses(ensemble: Ensemble, parameters: dict[str, np.ndarray]) -> np.ndarray:
    """The loss of every member on the ensemble's training set at some parameters."""
    stacked = {
        name: torch.from_numpy(parameters[name]).to(ensemble.device, ensemble.dtype)
        for name in ensemble.names
    }
    return ensemble.losses(stacked, ensemble.training_batch(0), ensemble.tape(0)).cpu().numpy()


def _to_polygon(
    points: Float[np.ndarray, "member moment parameter"],
    corners: Float[np.ndarray, "member moment parameter"],
) -> Float[np.ndarray, "member moment"]:
    """The distance of every point from the polygon through the corners of its member."""
    nearest = np.full(points.shape[:2], np.inf)
    for begin, end in zip(corners.swapaxes(0, 1)[:-1], corners.swapaxes(0, 1)[1:], strict=True):
        edge = (end - begin)[:, None]
        square = (edge**2).sum(-1)
        along = ((points - begin[:, None]) * edge).sum(-1) / np.where(square > 0, square, 1.0)
        foot = begin[:, None] + np.clip(along, 0.0, 1.0)[..., None] * edge
        nearest = np.minimum(nearest, np.linalg.norm(points - foot, axis=-1))
    return nearest
