"""How long a step is: the same rules as scipy's DOP853 and RK45, one row at a time.

Rules and constants are those of Hairer, Nørsett, Wanner (Solving Ordinary Differential Equations
I, II.4) as `scipy.integrate` applies them, so that counts of evaluations can be compared one to
one. Everything about a row's time is Python floats: no other row can touch them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from saltus.flow.dense import Step, combine
from saltus.flow.tableaus import Tableau

SAFETY, SMALLEST_FACTOR, LARGEST_FACTOR = 0.9, 0.2, 10.0


FAILURES = (
    "",
    "its velocity is not finite at time {time!r}",
    "its velocity stopped being finite after time {time!r}, however small the step",
    "its step fell below the spacing of numbers at time {time!r} (a pole, or v jumps)",
    "it came only to time {time!r} of {end!r} in {attempts} attempted steps",
)
AT_START, NOT_FINITE, UNDERFLOW, TOO_MANY = 1, 2, 3, 4


@dataclass
class Pace:
    """Where one row is in time, how it got there, and how far it will try to go next."""

    end: float
    before: float = 0.0  # the start of the step that ended at `time`
    time: float = 0.0
    size: float = 0.0  # of the next attempt
    evaluations: int = 0
    dense: int = 0
    accepted: int = 0
    rejected: int = 0
    again: int = 0  # the last attempt was rejected: 1, or 2 when it was not finite
    failed: int = 0  # which of FAILURES

    def target(self, largest: int) -> float | None:
        """The time at which the next attempt ends; None, and a failure, when there is none."""
        smallest = 10.0 * math.ulp(self.time)
        if self.again and self.size < smallest:
            self.fail(NOT_FINITE if self.again == 2 else UNDERFLOW)
        elif self.accepted + self.rejected >= largest:
            self.fail(TOO_MANY)
        else:
            return min(self.time + max(self.size, smallest), self.end)
        return None

    def fail(self, failure: int) -> None:
        """Stop here, for good."""
        self.failed, self.before = failure, self.time

    def judge(self, target: float, error: float, tableau: Tableau) -> None:
        """Take the step to `target` if its error is below 1, and say what to try next."""
        size, factor = target - self.time, SMALLEST_FACTOR
        if error == 0.0:
            factor = LARGEST_FACTOR
        elif math.isfinite(error):
            wanted = SAFETY * error ** (-1.0 / (tableau.error_order + 1))
            factor = min(max(wanted, SMALLEST_FACTOR), LARGEST_FACTOR)
        if error < 1.0:
            # A step just after a rejection does not grow.
            self.size = size * (min(1.0, factor) if self.again else factor)
            self.before, self.time, self.again = self.time, target, 0
            self.accepted += 1
        else:
            self.size, self.again = size * factor, 1 if math.isfinite(error) else 2
            self.rejected += 1

    def reason(self) -> str:
        """Why the row failed, in one line; empty if it did not."""
        attempts = self.accepted + self.rejected
        return FAILURES[self.failed].format(time=self.time, end=self.end, attempts=attempts)


def first_trial(
    y: Float[Tensor, "row state"],
    v: Float[Tensor, "row state"],
    ends: Sequence[float],
    rtol: float,
    atol: float,
) -> list[float]:
    """A small Euler step per row, after which the velocity tells how fast it changes."""
    scale = y.abs() * rtol + atol
    sizes = []
    for state, speed, end in zip(_rms(y / scale), _rms(v / scale), ends, strict=True):
        size = 1e-6 if state < 1e-5 or speed < 1e-5 else 0.01 * state / speed
        sizes.append(min(size if 0.0 < size < math.inf else 1e-6, end))
    return sizes


def first_size(
    tableau: Tableau,
    y: Float[Tensor, "row state"],
    v: Float[Tensor, "row state"],
    moved: Float[Tensor, "row state"],
    trials: Sequence[float],
    ends: Sequence[float],
    rtol: float,
    atol: float,
) -> list[float]:
    """The first step size per row, from the velocity `moved` after the step of `first_trial`."""
    scale = y.abs() * rtol + atol
    sizes = []
    changes = _rms((moved - v) / scale)
    for speed, change, trial, end in zip(_rms(v / scale), changes, trials, ends, strict=True):
        curvature = change / trial
        if not math.isfinite(curvature):
            size = trial  # a step that small is known to leave the good region already
        elif speed <= 1e-15 and curvature <= 1e-15:
            size = max(1e-6, trial * 1e-3)
        else:
            size = (0.01 / max(speed, curvature)) ** (1.0 / (tableau.error_order + 1))
        sizes.append(min(100.0 * trial, size, end))
    return sizes


def error_norms(step: Step, rtol: float, atol: float) -> list[float]:
    """The error of each row's step relative to what is allowed: below 1 is good; NaN is possible.

    With e_i = Σ_j errors[i][j] k_j / (atol + rtol max(|y|, |y_new|)) and mean squares over the
    state: h √⟨e_0²⟩ for one estimate, h ⟨e_0²⟩ / √(⟨e_0²⟩ + 0.01 ⟨e_1²⟩) for two (Hairer, II.10).
    """
    scale = torch.maximum(step.old.abs(), step.new.abs()) * rtol + atol
    parts = [_mean_squares(combine(step.stages, row) / scale) for row in step.tableau.errors]
    finite = step.stages[step.tableau.last].isfinite().all(dim=1).tolist()
    norms = []
    for row, size in enumerate(step.sizes):
        fine, total = parts[0][row], parts[0][row]
        if len(parts) > 1:
            total = fine + 0.01 * parts[1][row]
        norm = 0.0 if total == 0.0 else size * fine / math.sqrt(total)
        norms.append(norm if finite[row] else math.nan)
    return norms


def _rms(values: Float[Tensor, "row state"]) -> list[float]:
    return [math.sqrt(value) for value in _mean_squares(values)]


def _mean_squares(values: Float[Tensor, "row state"]) -> list[float]:
    """Row by row: a sum over a whole matrix may be split differently for each number of rows."""
    sums = [row.sum() for row in (values * values).unbind()]
    return [total / values.shape[1] for total in torch.stack(sums).tolist()]
