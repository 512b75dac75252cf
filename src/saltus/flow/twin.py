"""How far is SGD or Adam from gradient flow? Any experiment, beside its twin that follows the flow.

The twin starts at the same parameters and follows the exact flow of the loss on a fixed training
set, in float64, to the times at which the optimiser arrives (`pace`). For gradient descent on that
same set the distance goes to 0 with the step size; minibatches and adaptive steps leave a distance
of their own, which is the thing to see. Adam and clipped steps have no clock: beside the distance
at equal time stands the distance from the path, whatever the time, and their twin goes on longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log10

import numpy as np
import torch
from jaxtyping import Float, Int

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.runs import Run
from saltus.training.ensemble import Ensemble
from saltus.training.optimizers import Adam, Descent, Sgd

FEWEST_EXAMPLES = 256  # of the fixed set that stands for the population, where there is none
REACH, REACH_WITHOUT_CLOCK = 1.25, 10.0  # how long the flow goes on, if not told


@dataclass(frozen=True)
class Twins:
    """An experiment and its twin under gradient flow, with the moments at which they are met."""

    discrete: Experiment
    flow: Experiment
    steps: tuple[int, ...]  # of the discrete run, the first of them 0
    times: tuple[float, ...]  # of the flow: as many as `steps`, the same moments, then later ones


@dataclass(frozen=True)
class Distances:
    """How far a discrete trajectory is from its twin, member by member and moment by moment.

    `apart` is |theta - flow(t)| over the way that the flow has come, |flow(t) - theta_0|: 1 means
    as far from the flow as the flow is from the start. `from_path` is the distance to the nearest
    point of the flow's path (the polygon through its moments) over the way that the optimiser has
    come, |theta - theta_0|: from 0, on the path, to 1, no nearer to it than the start is.
    Losses are on the twin's training set, in the task's units; `as_low_at` is the time at which
    the flow's loss is as low. NaN: no way at all (step 0), a diverged member, or, for `as_low_at`,
    a time after the flow's last.
    """

    steps: Int[np.ndarray, " moment"]
    times: Float[np.ndarray, " moment"]
    apart: Float[np.ndarray, "member moment"]
    from_path: Float[np.ndarray, "member moment"]
    loss: Float[np.ndarray, "member moment"]
    loss_of_flow: Float[np.ndarray, "member moment"]
    as_low_at: Float[np.ndarray, "member moment"]


def twins(
    experiment: Experiment,
    moments: int = 40,
    examples: int | None = None,
    reach: float | None = None,
    rtol: float = 1e-8,
) -> Twins:
    """An experiment in float64 and its twin, to be met at about `moments` equally spaced steps.

    `examples` makes both learn from a fixed set of that size; without it the experiment's own set
    is the twin's, and where it draws fresh samples the twin gets a fixed set of whole batches, at
    least 256 samples, that stands for the population (its sampling error is then part of the
    distance). The flow goes on to `reach` times the time of the last step: 1.25 if not given, 10
    for optimisers without a clock.
    """
    optimizer = _steps_of(experiment)
    if varied := [path for path in experiment.vary if path.startswith("optimizer.")]:
        raise SaltusError(
            f"vary.{varied[0]}: the members of twins share one clock; "
            "allowed: fields outside the optimizer"
        )
    if moments < 1:
        raise SaltusError(f"moments: {moments} is not allowed: 1 or more")
    if reach is None:
        has_clock = isinstance(optimizer, Sgd) and optimizer.clip is None
        reach = REACH if has_clock else REACH_WITHOUT_CLOCK
    if not 1.0 <= reach < float("inf"):
        raise SaltusError(f"reach: {reach:g} is not allowed: a number from 1")
    steps = np.unique(np.linspace(0, experiment.steps, moments + 1).round().astype(int))
    met = np.concatenate([[0.0], np.cumsum(pace(experiment))])[steps]
    if (np.diff(met) <= 0).any():
        raise SaltusError("optimizer.learning_rate: it is 0 for some time; allowed: above 0")
    later = np.geomspace(met[-1], reach * met[-1], ceil(moments * log10(reach)) + 1)[1:]
    times = (*met.tolist(), *later.tolist())
    # What is trained here is no arm of a study: it has another precision and other checkpoints.
    common = {"study": None, "arm": None, "scale": None, "engine.precision": "float64"}
    discrete = experiment.override(
        {
            **common,
            "name": f"{experiment.name}-steps",
            "examples": examples or experiment.examples,
            "checkpoints": {"at": steps.tolist()},
        }
    )
    size = discrete.examples or discrete.batch * ceil(FEWEST_EXAMPLES / discrete.batch)
    flow = experiment.override(
        {
            **common,
            "name": f"{experiment.name}-flow",
            "examples": size,
            "batch": size,
            "instruments": [],
            "steps": len(times) - 1,
            "checkpoints": {"every": 1},
            "optimizer": {
                "kind": "gradient-flow",
                "at": list(times[1:]),
                "weight_decay": optimizer.weight_decay,
                "rtol": rtol,
            },
        }
    )
    return Twins(discrete, flow, tuple(steps.tolist()), times)


def pace(experiment: Experiment) -> Float[np.ndarray, " step"]:
    """What each update adds to the clock of the flow: how far it moves under a constant force.

    An update with learning rate r adds r. Heavy balls with momentum m start at rest: update number
    s (from 0) adds r (1 - m^(s+1)) / (1 - m). Adam's rate counts as time for want of a better one.
    """
    optimizer = _steps_of(experiment)
    steps = np.arange(experiment.steps)
    rates = np.array([optimizer.rate(int(step), experiment.steps) for step in steps])
    inertia = optimizer.momentum if isinstance(optimizer, Sgd) else 0.0
    return rates * (1 - inertia ** (steps + 1)) / (1 - inertia)


def distances(pair: Twins, discrete: Run, flow: Run) -> Distances:
    """Compare two finished runs of `twins`."""
    ensemble = Ensemble(pair.flow.members(), initialise=False)
    ours = track(ensemble.names, discrete, pair.steps)
    theirs = track(ensemble.names, flow, range(len(pair.times)))
    met = theirs[:, : len(pair.steps)]
    apart = distance_over_way(ours, met, theirs[:, :1])
    way = np.linalg.norm(ours - ours[:, :1], axis=-1)
    from_path = distance_to_polygon(ours, theirs) / np.where(way > 0, way, np.nan)
    times, low = np.array(pair.times), known(flow, range(len(pair.times)))
    loss = np.stack([_losses(ensemble, discrete, step) for step in pair.steps], axis=1)
    loss[np.isnan(known(discrete, pair.steps))] = np.nan
    loss_of_flow = flow.series("loss/train").values + low
    return Distances(
        np.array(pair.steps),
        times[: len(pair.steps)],
        apart,
        from_path,
        loss,
        loss_of_flow[:, : len(pair.steps)],
        np.stack([_as_low_at(*rows, times) for rows in zip(loss, loss_of_flow, strict=True)]),
    )


def track(
    names: Sequence[str], run: Run, steps: Sequence[int]
) -> Float[np.ndarray, "member moment parameter"]:
    """The parameters of every member at some kept steps; NaN once it has diverged."""
    found = []
    for step in steps:
        kept = run.checkpoint(step)
        found.append(np.concatenate([kept[name].reshape(len(kept[name]), -1) for name in names], 1))
    return np.stack(found, axis=1) + known(run, steps)[..., None]


def known(run: Run, steps: Sequence[int]) -> Float[np.ndarray, "member moment"]:
    """0 where a member is what it was trained to be, NaN where it had diverged and stood still.

    A member that follows a flow is right at the step from which it came no further.
    """
    right = run.experiment["optimizer"]["kind"] == "gradient-flow"
    found = np.zeros((len(run.members), len(steps)))
    for member, since in run.status["diverged"].items():
        found[member] = [np.nan if step >= since + right else 0.0 for step in steps]
    return found


def distance_over_way(
    ours: Float[np.ndarray, "member moment parameter"],
    theirs: Float[np.ndarray, "member moment parameter"],
    start: Float[np.ndarray, "member 1 parameter"],
) -> Float[np.ndarray, "member moment"]:
    """|ours - theirs| / |theirs - start|; NaN where they have not left the start."""
    way = np.linalg.norm(theirs - start, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(way > 0, np.linalg.norm(ours - theirs, axis=-1) / way, np.nan)


def distance_to_polygon(
    points: Float[np.ndarray, "member moment parameter"],
    corners: Float[np.ndarray, "member corner parameter"],
) -> Float[np.ndarray, "member moment"]:
    """The distance of every point from the polygon through the corners of its member.

    Corners that are NaN are no part of it.
    """
    nearest = np.linalg.norm(points - corners[:, :1], axis=-1)
    for place in range(corners.shape[1] - 1):
        begin, end = corners[:, place : place + 1], corners[:, place + 1 : place + 2]
        edge = end - begin
        square = (edge**2).sum(-1)
        along = ((points - begin) * edge).sum(-1) / np.where(square > 0, square, 1.0)
        foot = begin + np.clip(along, 0.0, 1.0)[..., None] * edge
        nearest = np.fmin(nearest, np.linalg.norm(points - foot, axis=-1))
    return np.where(np.isnan(points).any(-1), np.nan, nearest)


def _steps_of(experiment: Experiment) -> Descent:
    optimizer = experiment.optimizer
    if not isinstance(optimizer, Descent):
        raise SaltusError(f"optimizer: {optimizer.kind} has no steps; allowed: sgd, adam, adamw")
    if not isinstance(optimizer, Sgd | Adam):
        raise SaltusError(
            f"optimizer: {optimizer.kind} does not go down the gradient at one rate; "
            "allowed: sgd, adam, adamw"
        )
    if optimizer.groups:
        raise SaltusError(
            f"optimizer.groups: {', '.join(optimizer.groups)}: the flow has one clock for all "
            "parameters; allowed: none"
        )
    return optimizer


@torch.no_grad()
def _losses(ensemble: Ensemble, run: Run, step: int) -> Float[np.ndarray, " member"]:
    """The loss of every member on the ensemble's training set at a kept step of a run."""
    kept = run.checkpoint(step)
    stacked = {
        name: torch.from_numpy(kept[name]).to(ensemble.device, ensemble.dtype)
        for name in ensemble.names
    }
    return ensemble.losses(stacked, ensemble.training_batch(0), ensemble.tape(0)).cpu().numpy()


def _as_low_at(
    loss: Float[np.ndarray, " moment"],
    loss_of_flow: Float[np.ndarray, " time"],
    times: Float[np.ndarray, " time"],
) -> Float[np.ndarray, " moment"]:
    """When the flow first has each loss, interpolated between its moments; NaN: later than all."""
    height = -np.fmin.accumulate(loss_of_flow)
    return np.where(np.isnan(loss), np.nan, np.interp(-loss, height, times, right=np.nan))
