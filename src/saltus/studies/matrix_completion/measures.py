"""What the claims and figures read from the runs of this study, one number per seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.runs import Run
from saltus.studies.claim import Arms
from saltus.tasks.low_rank import LowRankTask
from saltus.transitions import Times, first_crossing

PerSeed = Float[ndarray, " seed"]
MASKED = "evaluation/loss/masked"


def task_of(run: Run) -> LowRankTask:
    """The matrices that a run was trained on."""
    task = Experiment.of(run.experiment, str(run.path)).task
    assert isinstance(task, LowRankTask)
    return task


def at(run: Run, name: str, step: int | None = None) -> ndarray:
    """A metric at a step, the last if not given: [seed, *shape]."""
    found = run.array(name)
    if step is None:
        return found.values[:, -1]
    where = np.flatnonzero(found.steps == step)
    if not len(where):
        there = ", ".join(map(str, found.steps.tolist()))
        raise SaltusError(f"{run.path}: {name} was not read at step {step}, only at {there}")
    return found.values[:, where[0]]


def layers(run: Run, name: str, step: int | None = None) -> list[ndarray]:
    """`name/blocks.i` of every layer: [seed, head] each."""
    known = [each for each in run.names() if each.startswith(f"{name}/blocks.")]
    return [at(run, each, step) for each in sorted(known, key=_layer)]


def median_over(run: Run, name: str, steps: Sequence[int]) -> PerSeed:
    """The median over some readings, per seed."""
    return np.median([at(run, name, step) for step in steps], axis=0)


def half_plateau(run: Run) -> list[int | None]:
    """The step at which L_mask first lies below half of Var(X); None where it never does."""
    series = run.series(MASKED)
    return first_crossing(series.steps, series.values, task_of(run).variance / 2, above=False)


def halfway(arms: Arms) -> dict[str, Times]:
    """When L_mask reaches half of Var(X), for every arm with such a series; else its last step."""
    found = {}
    for name, run in arms.items():
        if MASKED in run.names():
            steps = numbers(half_plateau(run))
            happened = np.isfinite(steps)
            found[name] = Times(np.where(happened, steps, run.series(MASKED).steps[-1]), happened)
    return found


def leap_width(run: Run, ratio: float) -> PerSeed:
    """Steps from the last L_mask above 0.9 Var(X) to the first below Var(X) / ratio."""
    series, variance = run.series(MASKED), task_of(run).variance
    low = first_crossing(series.steps, series.values, variance / ratio, above=False)
    widths = []
    for values, end in zip(series.values, low, strict=True):
        high = series.steps[(values > 0.9 * variance) & (series.steps < (end or 0))]
        widths.append(np.nan if end is None or not len(high) else end - high[-1])
    return np.array(widths, dtype=float)


def numbers(steps: Sequence[int | None]) -> PerSeed:
    """Steps as numbers, NaN for what never came."""
    return np.array([np.nan if step is None else float(step) for step in steps])


def _layer(name: str) -> int:
    return int(name.rsplit(".", 1)[1])
