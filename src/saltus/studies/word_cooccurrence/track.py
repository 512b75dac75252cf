"""The series of a run on its own clock, and what claims ask of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.runs import Run
from saltus.tasks.word_cooccurrence import CLASSES, WordCooccurrence
from saltus.training.gradient_flow import GradientFlow
from saltus.training.optimizers import Descent

Values = Float[np.ndarray, "seed moment"]
Moments = float | Sequence[float] | np.ndarray  # one for all seeds, or each seed's own


class Track:
    """One arm: every series as [seed, moment] over the run's clock (tau, or t for the paper's)."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @cached_property
    def experiment(self) -> Experiment:
        """What was trained."""
        return Experiment.from_yaml(self.run.experiment_yaml)

    @property
    def seeds(self) -> int:
        return len(self.run.seeds)

    def clock(self, name: str = "loss/train") -> Float[np.ndarray, " moment"]:
        """The moments at which a series was read."""
        optimizer, steps = self.experiment.optimizer, self.run.series(name).steps
        if isinstance(optimizer, GradientFlow):
            return np.array(optimizer.times(self.experiment.steps))[steps]
        assert isinstance(optimizer, Descent)
        return optimizer.learning_rate * steps.astype(float)

    def __getitem__(self, name: str) -> Values:
        return self.run.series(name).values

    def at(self, name: str, clock: Moments) -> np.ndarray:
        """[seed]: a series at one moment, or at each seed's own; linear in log clock between.

        NaN where a seed has no such moment, or it lies outside what was read.
        """
        return at(self.clock(name), self[name], clock)

    def since_start(self, name: str) -> Values:
        """The change of a series since its first moment."""
        return self[name] - self[name][:, :1]

    def event(self, name: str) -> Float[np.ndarray, " seed"]:
        """When an event happened to each seed, on the run's clock; NaN where it never did."""
        if f"time/{name}" in self.run.names():
            return self[f"time/{name}"][:, -1]
        return crossings(self.clock(f"signal/{name}"), self[f"signal/{name}"])

    def phase_2(self, name: str = "class-loss/all") -> Bool[np.ndarray, "seed moment"]:
        """True from each seed's T1 on."""
        with np.errstate(invalid="ignore"):
            return self.clock(name)[None, :] >= self.event("T1")[:, None]

    @property
    def counts(self) -> tuple[tuple[int, int, int, int], int]:
        """Samples of the four classes and tokens per sample, as `flow.mean_field` takes them."""
        task, examples = self.experiment.task, self.experiment.examples
        if not isinstance(task, WordCooccurrence) or examples is None:
            raise SaltusError(f"{self.run.path}: not a run of word co-occurrence")
        sixth = examples // 6
        return (3 * sixth, sixth, sixth, sixth), task.length

    def forces(self) -> tuple[Values, Values, Values, Values]:
        """S1 .. S4."""
        s1, s2, s3, s4 = (self[f"force/{name}"] for name in CLASSES)
        return s1, s2, s3, s4

    def ratio(self) -> Values:
        """R = (S2 + S3 + S4 - S1) / (S1 - S2), which is -dG(mu_3) / dG(mu_1) in the limit."""
        s1, s2, s3, s4 = self.forces()
        with np.errstate(divide="ignore", invalid="ignore"):
            return (s2 + s3 + s4 - s1) / (s1 - s2)


def at(
    clock: Float[np.ndarray, " moment"],
    values: Values,
    moments: Moments,
) -> Float[np.ndarray, " seed"]:
    """Each row at its moment, linear in log clock; NaN outside, and before the first moment > 0."""
    wanted = np.broadcast_to(np.asarray(moments, dtype=float), (len(values),))
    late = clock > 0
    x = np.log(clock[late])
    found = []
    for row, moment in zip(values[:, late], wanted, strict=True):
        inside = np.isfinite(moment) and clock[late][0] <= moment <= clock[late][-1]
        found.append(np.interp(np.log(moment), x, row) if inside else np.nan)
    return np.array(found)


def crossings(clock: Float[np.ndarray, " moment"], signals: Values) -> Float[np.ndarray, " seed"]:
    """Where each signal first passes from negative to >= 0, linear between readings; else NaN."""
    found = []
    for row in signals:
        above = np.flatnonzero(row >= 0)
        if not len(above):
            found.append(np.nan)
        elif above[0] == 0:
            found.append(clock[0])
        else:
            i = above[0]
            part = row[i - 1] / (row[i - 1] - row[i])
            found.append(clock[i - 1] + part * (clock[i] - clock[i - 1]))
    return np.array(found)


def fraction(flags: np.ndarray, where: np.ndarray) -> Float[np.ndarray, " seed"]:
    """The fraction of each seed's chosen moments at which a flag holds; NaN without moments."""
    chosen = where.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.where(chosen > 0, (flags & where).sum(axis=1) / np.maximum(chosen, 1), np.nan)


def lowest(values: Values, where: np.ndarray) -> Float[np.ndarray, " seed"]:
    """Each seed's least value at the chosen moments; NaN without moments, or where one is NaN."""
    return _extreme(values, where, np.min)


def highest(values: Values, where: np.ndarray) -> Float[np.ndarray, " seed"]:
    """Each seed's greatest value at the chosen moments, likewise."""
    return _extreme(values, where, np.max)


def _extreme(values: Values, where: np.ndarray, choose: Callable) -> np.ndarray:
    where = np.broadcast_to(where, values.shape)
    rows = [row[some] for row, some in zip(values, where, strict=True)]
    return np.array([choose(row) if len(row) else np.nan for row in rows])
