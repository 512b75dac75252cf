"""Matrix completion by the least nuclear norm: the convex baseline, exact or regularised."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saltus.baselines import interior_point
from saltus.baselines.certificate import dual_bound, is_unique
from saltus.errors import SaltusError, unknown

METHODS = ("interior-point", "cvxpy")


class Completion(NamedTuple):
    """Completed matrices (float64), and what proves them."""

    solutions: Float[Tensor, "batch row column"]
    nuclear_norms: Float[Tensor, " batch"]  # sum of singular values
    objectives: Float[Tensor, " batch"]  # the nuclear norm, or the regularised sum
    gaps: Float[Tensor, " batch"]  # objective minus a bound that nothing is below
    residuals: Float[Tensor, " batch"]  # largest |Z - X| of an observed entry
    unique: Bool[Tensor, " batch"]  # whether no other matrix is as good
    iterations: Int[Tensor, " batch"]


def complete(
    matrices: Float[Tensor, "batch row column"],
    observed: Bool[Tensor, "batch row column"],
    regularisation: float | None = None,
    method: str = "interior-point",
    processes: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Completion:
    """Complete each matrix X from its observed entries Omega (2410.22244; section 5 of our spec).

    Without `regularisation`: minimise ||Z||_* subject to Z = X on Omega. With `regularisation` > 0:
    minimise |Z - X|^2_Omega / |Omega| + regularisation ||Z||_*. Missing entries of X are not read,
    and may be NaN. A matrix of which nothing is observed becomes 0.

    `method` is `interior-point`, which solves all matrices at once on their device, or `cvxpy`,
    one problem per matrix with the solver Clarabel, on `processes` (all cores, if there is enough
    to do; scripts that use several must guard their main module).

    `gaps` certifies every objective, whatever solved it. Where a solution is not `unique`, both
    methods give one from the middle of the set of solutions, and entries may differ between them;
    objectives do not. SaltusError says what is wrong with an input.
    """
    _check(matrices, observed, regularisation, method, processes)
    if not len(matrices):
        none = matrices.new_zeros(0, dtype=torch.float64)
        return Completion(matrices.double(), none, none, none, none, none.bool(), none.long())
    known = matrices.double().where(observed, 0)
    # |Omega| = 0 leaves ||Z||_* alone to be minimised.
    seen = observed.sum((1, 2)).clamp(min=1).double()
    slack = (regularisation or 0) * seen / 2
    if method == "cvxpy":
        from saltus.baselines import cvxpy_solver

        solved = cvxpy_solver.solve(known, observed, regularisation, processes, progress)
    else:
        solved = interior_point.solve(known, observed, slack, progress)
    return _judged(solved, known, observed, slack, regularisation)


def _judged(
    solved: interior_point.Solved,
    known: Float[Tensor, "batch row column"],
    observed: Bool[Tensor, "batch row column"],
    slack: Float[Tensor, " batch"],
    regularisation: float | None,
) -> Completion:
    solutions = solved.primal
    if regularisation is None:  # rounding is no reason to change what is given
        solutions = known.where(observed, solutions)
    miss = (solutions - known).where(observed, 0)
    norms = torch.linalg.matrix_norm(solutions, "nuc")
    weight = regularisation or 1.0
    loss = (miss.square().sum((1, 2)) / (2 * slack)).where(slack > 0, 0)
    objectives = weight * (norms + loss)
    return Completion(
        solutions,
        norms,
        objectives,
        objectives - weight * dual_bound(solved.dual, known, slack),
        miss.abs().amax((1, 2)),
        is_unique(solutions, observed),
        solved.iterations,
    )


def _check(
    matrices: Tensor,
    observed: Tensor,
    regularisation: float | None,
    method: str,
    processes: int | None,
) -> None:
    if method not in METHODS:
        raise SaltusError(f"method: {unknown('method', method, METHODS)}")
    if regularisation is not None and not 0 < regularisation < float("inf"):
        raise SaltusError(
            f"regularisation: {regularisation} is not allowed: a finite number above 0, or none"
        )
    if processes is not None and processes < 1:
        raise SaltusError(f"processes: {processes} is not allowed: 1 or more")
    if 0 in matrices.shape[1:]:
        rows, columns = matrices.shape[1:]
        raise SaltusError(f"matrices: {rows} x {columns} is not allowed: 1 x 1 or more")
    wrong = ~matrices.isfinite() & observed
    if wrong.any():
        index, row, column = wrong.nonzero()[0].tolist()
        value = float(matrices[index, row, column])
        raise SaltusError(
            f"matrices: {value} at row {row}, column {column} of matrix {index} is not allowed: "
            "observed entries must be finite"
        )
