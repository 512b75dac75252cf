"""How well matrices are completed, on average, and how that varies with a setting of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saltus.baselines.nuclear_norm import complete
from saltus.errors import SaltusError

Matrices = tuple[Tensor, Tensor]  # values, and which of them are observed: [matrix, row, column]


class Mean(NamedTuple):
    """A mean over matrices and its standard error; NaN where there is nothing to average."""

    value: float
    error: float


class Errors(NamedTuple):
    """Mean squared errors of predicted matrices."""

    everything: Mean
    observed: Mean
    missing: Mean


@dataclass(frozen=True)
class Point:
    """The baseline at one setting."""

    setting: object
    matrices: int
    errors: Errors
    norm: Mean  # nuclear, of the solutions
    true_norm: Mean  # nuclear, of the matrices themselves
    several: int  # matrices that have more than one solution
    gap: float  # the largest: no completion's objective is further below the solution's
    residual: float  # the largest deviation from an observed entry


def against_mask_probability(
    probabilities: Iterable[float],
    sample: Callable[[float, int], Matrices],
    matrices: int,
    regularisation: float | None = None,
    method: str = "interior-point",
) -> list[Point]:
    """The baseline at each mask probability p (fig 3 of 2410.22244), on what `sample(p, matrices)`
    gives. The same sampler gives a model the same matrices; `mean_errors` scores what it predicts.

    Nothing in it is about p: it may be any setting that `sample` understands (a rank, a size).
    """
    if matrices < 1:
        raise SaltusError(f"matrices: {matrices} is not allowed: 1 or more")
    return [measure(*sample(p, matrices), regularisation, method, p) for p in probabilities]


def measure(
    matrices: Float[Tensor, "matrix row column"],
    observed: Bool[Tensor, "matrix row column"],
    regularisation: float | None = None,
    method: str = "interior-point",
    setting: object = None,
    progress: Callable[[int], None] | None = None,
) -> Point:
    """The baseline on some matrices."""
    found = complete(matrices, observed, regularisation, method, progress=progress)
    return Point(
        setting,
        len(matrices),
        mean_errors(found.solutions, matrices, observed),
        _mean(found.nuclear_norms),
        _mean(torch.linalg.matrix_norm(matrices.double(), "nuc")),
        int((~found.unique).sum()),
        float(found.gaps.max()),
        float(found.residuals.max()),
    )


def mean_errors(
    predictions: Float[Tensor, "matrix row column"],
    matrices: Float[Tensor, "matrix row column"],
    observed: Bool[Tensor, "matrix row column"],
) -> Errors:
    """Mean squared errors over all, the observed and the missing entries of all matrices.

    Entries are pooled, as the losses of a model are over a batch; standard errors are over
    matrices, for the last two by linearising the ratio of two sums.
    """
    square = (predictions.double() - matrices.double()).square()
    everything = torch.ones_like(observed)
    return Errors(*(_ratio(square, each) for each in (everything, observed, ~observed)))


def _ratio(
    square: Float[Tensor, "matrix row column"], chosen: Bool[Tensor, "matrix row column"]
) -> Mean:
    sums, counts = square.where(chosen, 0).sum((1, 2)), chosen.sum((1, 2)).double()
    if not counts.sum():
        return Mean(float("nan"), float("nan"))
    ratio = sums.sum() / counts.sum()
    return Mean(float(ratio), _error((sums - ratio * counts) / counts.mean()))


def _mean(values: Float[Tensor, " matrix"]) -> Mean:
    return Mean(float(values.mean()), _error(values))


def _error(values: Float[Tensor, " matrix"]) -> float:
    """The standard error of the mean."""
    return float(values.std() / len(values) ** 0.5) if len(values) > 1 else float("nan")
