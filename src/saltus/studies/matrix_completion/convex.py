"""Nuclear-norm minimisation on the paper's matrices: claims 8 and 10, and figure 3."""

from __future__ import annotations

from functools import cache

import numpy as np

from saltus.baselines import Point, measure
from saltus.random import Draws
from saltus.studies.claim import Arms, Quantity, Range, amount, exact
from saltus.tasks.matrix_completion import MatrixCompletion

PROBABILITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
SEEDS = 8  # sets of matrices, each its own
MATRICES, AT_THE_MODELS = 128, 384  # of a set; more where a model is compared


@cache
def points(probability: float) -> list[Point]:
    """The exact program on `SEEDS` sets of matrices of the paper's law."""
    task = MatrixCompletion(mask_probability=probability)
    grid = (task.rows, task.columns)
    count = AT_THE_MODELS if probability == MatrixCompletion().mask_probability else MATRICES
    found = []
    for seed in range(SEEDS):
        values, observed = task.matrices(Draws(seed, "baseline"), count)
        matrices, shown = values.unflatten(-1, grid), observed.unflatten(-1, grid)
        found.append(measure(matrices, shown, setting=probability))
    return found


def errors(probability: float, part: str = "everything") -> np.ndarray:
    """The mean squared error of each set: of `everything`, `observed` or `missing`."""
    return np.array([getattr(point.errors, part).value for point in points(probability)])


def norms(probability: float, of: str = "norm") -> np.ndarray:
    """The mean nuclear norm of each set: of the solutions, or the matrices' own (`true_norm`)."""
    return np.array([getattr(point, of).value for point in points(probability)])


def reference(arms: Arms) -> list[Quantity]:
    """Claim 8: the level that a model is compared with."""
    below = norms(0.3, "true_norm") - norms(0.3)
    residual = max(point.residual for point in points(0.3))
    return [
        amount("MSE, all entries", errors(0.3), Range(0.0113 * 0.85, 0.0113 * 1.15)),
        amount("MSE, missing", errors(0.3, "missing"), Range(0.0377 * 0.85, 0.0377 * 1.15)),
        amount("nuclear norm of the solution", norms(0.3), Range(4.08, 4.28)),
        amount("norm of X minus that", below, Range(low=0.0, open=True)),
        exact("largest residual at an observed entry", residual, Range(high=1e-6)),
    ]


def growth(arms: Arms) -> list[Quantity]:
    """Claim 10, the half that needs no model: errors grow with p, the norm falls from 0.3 on."""
    rises = np.diff([errors(p) for p in PROBABILITIES], axis=0)
    falls = -np.diff([norms(p) for p in PROBABILITIES if p >= 0.3], axis=0)
    return [
        amount("smallest rise of the MSE from one p to the next",
               rises[int(rises.mean(1).argmin())], Range(low=0.0, open=True)),
        amount("smallest fall of the nuclear norm from one p to the next, p ≥ 0.3",
               falls[int(falls.mean(1).argmin())], Range(low=0.0, open=True)),
        amount("nuclear norm at p = 0.3", norms(0.3), Range(4.05, 4.35)),
        amount("nuclear norm at p = 0.6", norms(0.6), Range(3.31, 3.61)),
    ]  # fmt: skip
