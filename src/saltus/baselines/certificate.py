"""What proves a completion: a bound from below, and whether there is another as good."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

ZERO = 1e-6  # singular values of a solution below this share of the largest count as 0
# And those of the map from K. Of 6,144 solutions (7 x 7, rank 2, p from 0.3 to 0.6), none had its
# smallest between 1e-5, where rounding ends, and 1e-3; other solvers leave up to 1e-4 for 0.
FLAT = 3e-4


def dual_bound(
    duals: Float[Tensor, "batch row column"],
    matrices: Float[Tensor, "batch row column"],
    slack: Float[Tensor, " batch"],
) -> Float[Tensor, " batch"]:
    """No completion has a smaller ||Z||_* + |Z - X|^2 / (2 slack) than this (slack 0: no smaller
    ||Z||_* with Z = X on the observed entries).

    Any W that is 0 on missing entries and has no singular value above 1 gives the bound
    <W, X> - slack |W|^2 / 2, since <W, Z> <= ||Z||_*. A W that is slightly too large is scaled
    down, which costs a little of the bound and none of its truth; `matrices` are 0 where missing.
    """
    spectral = torch.linalg.matrix_norm(duals, 2)
    inner = (duals * matrices).sum((1, 2))
    square = slack * duals.square().sum((1, 2))
    largest = torch.where(spectral > 1, 1 / spectral, 1)
    best = (inner / square).where(square > 0, torch.inf).clamp(min=0)
    scale = torch.minimum(best, largest)
    return (scale * inner - scale.square() * square / 2).clamp(min=0)


def is_unique(
    solutions: Float[Tensor, "batch row column"], observed: Bool[Tensor, "batch row column"]
) -> Bool[Tensor, " batch"]:
    """Whether no other matrix is as good, judged at a solution in the middle of all of them.

    Let Z = U H V^T with H positive definite, U and V the singular vectors of the values that are
    not 0. A solution in the relative interior of all solutions, where interior-point methods end,
    spans their face of the semidefinite cone: every other one is U (H + K) V^T with K symmetric
    and U K V^T = 0 on the observed entries. So it is the only one if no such K but 0 exists.
    Solutions are expected to the accuracy of a gap of 1e-9.
    """
    U, values, Vh = torch.linalg.svd(solutions, full_matrices=False)
    ranks = (values > ZERO * values[:, :1]).sum(1)
    unique = torch.ones(len(solutions), dtype=torch.bool, device=solutions.device)
    for rank in ranks.unique().tolist():
        if rank == 0:
            continue  # Z = 0 has no other beside it
        chosen = ranks == rank
        first, second = torch.triu_indices(rank, rank, device=solutions.device)
        left, right = U[chosen], Vh[chosen].mT
        one = left[:, :, None, first] * right[:, None, :, second]
        other = left[:, :, None, second] * right[:, None, :, first]
        seen = ((one + other) * observed[chosen].unsqueeze(-1)).flatten(1, 2)
        if seen.shape[1] < seen.shape[2]:  # fewer entries than unknowns
            unique[chosen] = False
        else:
            spread = torch.linalg.svdvals(seen)
            unique[chosen] = spread[:, -1] > FLAT * spread[:, 0]
    return unique
