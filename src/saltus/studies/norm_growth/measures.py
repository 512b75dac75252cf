"""What claims and figures read of a run: norms, saturation, heads, and checkpoints two by two."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
from jaxtyping import Bool, Float

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.runs import Run
from saltus.studies.norm_growth.recipe import SPACING
from saltus.tasks.base import Task
from saltus.trajectories import analyse, find_series
from saltus.transitions.statistics.growth import BLOCKS, Choice, choose

NORM = "norm-policies/encoder"  # M1, the paper's
COLUMNS = "norm-policies/mean-column"  # M3, the repository's
SATURATION = "saturation/final"  # M14
ATTENDED = "head-types/attended"  # M15
FEW = 8  # readings of a norm: with fewer no law can be told from another
PerSeed = Float[np.ndarray, " seed"]


@dataclass(frozen=True)
class Spaced:
    """Pairs of checkpoints 25 steps apart, [seed, pair], by the step of the second one.

    Of the encoder, as everywhere in the paper: embeddings would swamp the rest.
    """

    steps: Float[np.ndarray, " pair"]
    direction: Float[np.ndarray, "seed pair"]  # M7
    alignment: Float[np.ndarray, "seed pair"]  # M8


def task_of(run: Run) -> Task:
    """What a run was trained on."""
    return Experiment.of(run.experiment, str(run.path)).task


def rate_of(run: Run) -> float:
    """The learning rate that its schedule multiplies."""
    return float(run.experiment["optimizer"]["learning_rate"])


def first(run: Run, name: str) -> PerSeed:
    """A series' first reading."""
    return run.series(name).values[:, 0].astype(np.float64)


def last(run: Run, name: str) -> PerSeed:
    """A series' last reading."""
    return run.series(name).values[:, -1].astype(np.float64)


def norms(run: Run) -> tuple[Float[np.ndarray, " step"], Float[np.ndarray, "member step"]]:
    """M1 by step."""
    series = run.series(NORM)
    return series.steps.astype(np.float64), series.values.astype(np.float64)


def whole(values: Float[np.ndarray, "member reading"]) -> Bool[np.ndarray, " member"]:
    """Which members were not lost: all of their readings are finite."""
    return np.asarray(np.isfinite(values).all(axis=1))


def choice(run: Run) -> Choice | None:
    """Which law predicts the norm best, over the seeds that have all of it.

    None where there are none, or hardly any readings.
    """
    steps, values = norms(run)
    steps, values = steps[1:], values[whole(values), 1:]
    if not len(values) or len(steps) < FEW:
        return None
    return choose(steps, values, blocks=min(BLOCKS, len(steps) // 2))


def loss(run: Run) -> PerSeed:
    """The last validation loss, as trained on, in nats."""
    return last(run, "evaluation/loss")


def level(run: Run, name: str) -> float:
    """A closed form of the task's validation loss."""
    return task_of(run).levels()[name]


def attended(run: Run, mode: str = "") -> tuple[Float[np.ndarray, "seed every_head"], int]:
    """Mean positions that each saturated head attends to at the end, and how many there are."""
    name = ATTENDED.replace("/", f"/{mode}/") if mode else ATTENDED
    values = run.array(name).values[:, -1].astype(np.float64)
    return values.reshape(len(values), -1), task_of(run).interface.positions


def spaced(run: Run) -> Spaced:
    """Directions and alignments between checkpoints that are 25 steps apart."""
    courses, steps = [], np.array([])
    for member in range(len(run.members)):
        found = analyse(find_series([run.path], member=member))
        steps, courses = found.steps, [*courses, found.encoder]
    near = np.flatnonzero(np.diff(steps) == SPACING)
    if not len(near):
        raise SaltusError(f"{run.path}: no two checkpoints are {SPACING} steps apart")
    return Spaced(
        steps[near + 1].astype(np.float64),
        np.array([each.direction[near] for each in courses]),
        np.array([each.alignment[near] for each in courses]),
    )


Cells = dict[tuple[float, float], PerSeed]


def cells(run: Run) -> Cells:
    """ln of the norm at the end over its start, by learning rate and weight decay."""
    change = np.log(last(run, NORM) / first(run, NORM))
    found: dict[tuple[float, float], list[float]] = {}
    for member, value in zip(run.members, change, strict=True):
        rate, decay = (
            float(member["overrides"][f"optimizer.{name}"])
            for name in ("learning_rate", "weight_decay")
        )
        found.setdefault((rate, decay), []).append(float(value))
    return {cell: np.array(values) for cell, values in found.items()}


def default_of(change: Cells) -> tuple[float, float]:
    """The cell of PyTorch's (1e-3, 1e-2), or the nearest to it where the grid passes it by."""

    def away(cell: tuple[float, float]) -> float:
        return abs(log(cell[0] / 1e-3)) + abs(log(cell[1] / 1e-2))

    return min(change, key=away)
