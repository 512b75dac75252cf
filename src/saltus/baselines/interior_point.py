"""Nuclear-norm completion of many small matrices at once, by a primal-dual interior-point method.

With a slack d >= 0 per matrix, and Omega the observed entries, it solves the pair

    primal  minimise  ||Z||_* + |Z - X|^2_Omega / (2 d)      (d = 0: subject to Z = X on Omega)
    dual    maximise  <W, X> - d |W|^2 / 2    over W that is 0 off Omega, ||W||_2 <= 1

as the semidefinite programs that they are: the primal variable is P = [[A, Z], [Z^T, B]], positive
semidefinite, whose (tr A + tr B) / 2 bounds ||Z||_* from above; the dual slack is
S = [[I, -W], [-W^T, I]]. Each step is Mehrotra's predictor and corrector in the direction of
Helmberg, Rendl, Vanderbei and Wolkowicz (1996), Kojima, Shindoh and Hara (1997) and Monteiro
(1997). Z = X on Omega, A = B = 2 I and W = 0 are strictly feasible on both sides, so the gap can be
closed always, and the iterates tend to the middle of the set of solutions where there are many.
A step costs about (rows x columns)^3 operations; a dozen steps are enough.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Of the duality gap, relative to the primal objective; far beyond it, rounding spoils the steps.
TOLERANCE = 1e-9
MOST_STEPS = 60
MOST_CENTRING = 12  # steps towards the middle afterwards
# The largest change of an entry, in units of the matrix, that ends them: the next is its square.
CENTRED = 1e-5
CLOSENESS = 0.98  # the share of the way to the cone's boundary that a step goes
CHUNK = 2**19  # entries of the Schur complements worked on at a time: they stay near the processor


class Solved(NamedTuple):
    """Both sides of the pair, and the steps that each matrix took."""

    primal: Float[Tensor, "batch row column"]
    dual: Float[Tensor, "batch row column"]
    iterations: Int[Tensor, " batch"]


class State(NamedTuple):
    """What is still being solved; every field leads with the matrices that are left."""

    place: Int[Tensor, " left"]  # in the batch
    target: Float[Tensor, "left row column"]
    observed: Bool[Tensor, "left row column"]
    slack: Float[Tensor, "left 1 1"]
    primal: Float[Tensor, "left both both"]  # P
    dual: Float[Tensor, "left row column"]  # W

    @property
    def cross(self) -> Float[Tensor, "left row column"]:
        """Z."""
        rows = self.target.shape[1]
        return self.primal[:, :rows, rows:]


def solve(
    matrices: Float[Tensor, "batch row column"],
    observed: Bool[Tensor, "batch row column"],
    slack: Float[Tensor, " batch"],
    progress: Callable[[int], None] | None = None,
) -> Solved:
    """Solve the pair for every matrix, in float64. Entries that are not observed are not read.

    Each matrix is left when its own gap is below 1e-9 of the objective and its iterate is in the
    middle, so its result does not depend on the others but for rounding. `progress` hears how many
    more matrices are done.
    """
    cells = matrices[0].numel() if len(matrices) else 1
    size = max(1, CHUNK // cells**2)
    parts = zip(matrices.split(size), observed.split(size), slack.split(size), strict=True)
    solved = []
    for part in parts:
        solved.append(_solve(*part))
        if progress is not None:
            progress(len(part[0]))
    return Solved(*(torch.cat(each) for each in zip(*solved, strict=True)))


def _solve(
    matrices: Float[Tensor, "batch row column"],
    observed: Bool[Tensor, "batch row column"],
    slack: Float[Tensor, " batch"],
) -> Solved:
    known = matrices.double().where(observed, 0)
    # In units of its largest singular value each matrix is as large as the starting point.
    unit = torch.linalg.matrix_norm(known, 2)
    unit = unit.where(unit > 0, 1)[:, None, None]
    target = known / unit
    everything = state = State(
        torch.arange(len(matrices), device=matrices.device),
        target,
        observed,
        slack.double()[:, None, None] / unit,
        _blocks(2 * _eye(target, -2), target, 2 * _eye(target, -1)),
        torch.zeros_like(target),
    )
    everything.primal[~known.any(2).any(1)] = 0  # which is the solution where all is 0
    iterations = torch.zeros_like(state.place)
    _descend(everything, state, iterations)
    _centre(everything, _only(everything, known.any(2).any(1)), iterations)
    return Solved(everything.cross * unit, everything.dual.where(observed, 0), iterations)


def _descend(everything: State, state: State, iterations: Int[Tensor, " batch"]) -> None:
    """Close the gaps of some matrices."""
    for _ in range(MOST_STEPS):
        state = _only(state, _gap(state) > TOLERANCE)
        if not len(state.place):
            return
        iterations[state.place] += 1
        state = _keep(everything, _step(state))


def _centre(everything: State, state: State, iterations: Int[Tensor, " batch"]) -> None:
    """Take some matrices to the central path, which ends in the middle of their solutions. Where
    there is but one, that brings its entries closer by far than the small gap alone."""
    for _ in range(MOST_CENTRING):
        if not len(state.place):
            return
        iterations[state.place] += 1
        before = everything.cross.clone()
        state = _keep(everything, _step(state, centring=True))
        moved = (state.cross - before[state.place]).abs().amax((1, 2))
        state = _only(state, moved > CENTRED)


def _keep(everything: State, state: State) -> State:
    """Write what a step reached; where rounding spoilt it, a matrix stays as it was and is left."""
    sound = state.primal.isfinite().all(2).all(1) & state.dual.isfinite().all(2).all(1)
    state = _only(state, sound)
    everything.primal[state.place] = state.primal
    everything.dual[state.place] = state.dual
    return state


def _only(state: State, chosen: Bool[Tensor, " left"]) -> State:
    return State(*(each[chosen] for each in state))


def _gap(state: State) -> Float[Tensor, " left"]:
    """The duality gap, <P, S> / 2, relative to the primal objective."""
    trace = state.primal.diagonal(dim1=1, dim2=2).sum(-1) / 2
    gap = trace - (state.cross * state.dual).sum((1, 2))
    miss = (state.cross - state.target).square().where(state.observed, 0)
    loss = (miss / (2 * state.slack)).where(state.slack > 0, 0).sum((1, 2))
    return (gap / (trace + loss)).where(gap > 0, 0)


def _step(state: State, centring: bool = False) -> State:
    """One predictor and corrector: towards gap 0, then as far towards the middle as that showed
    to be needed. `centring` is a step towards the middle alone, which leaves the gap as it is."""
    P, W, slack, observed = state.primal, state.dual, state.slack, state.observed
    rows = W.shape[1]
    S = _blocks(_eye(W, -2), -W, _eye(W, -1))
    of_P, of_S = _root_of_inverse(P), _root_of_inverse(S)
    T = of_S.mT @ of_S
    gap = (P * S).sum((1, 2))
    factor = _schur_factor(P, T, slack, observed)
    known = state.target - slack * W  # Z on Omega, but for rounding

    def direction(middle: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """The steps of P and S that the linearised P S = middle S gives; `second` is what the
        linearisation leaves out."""
        right = known - (middle + second)[:, :rows, rows:]
        flat = right.where(observed, 0).flatten(1).unsqueeze(-1)
        half = torch.linalg.solve_triangular(factor, flat, upper=False)
        w = torch.linalg.solve_triangular(factor.mT, half, upper=True)
        dS = -_lifted(w.reshape(W.shape))
        return middle - P - _symmetric(P @ dS @ T) + second, dS

    def lengths(dP: Tensor, dS: Tensor) -> tuple[Tensor, Tensor]:
        """How far both may go, 1 at most. A slack ties them together, so both go as far."""
        long, wide = _longest(of_P, dP), _longest(of_S, dS)
        both = torch.minimum(long, wide)
        tied = slack[:, 0, 0] > 0
        return both.where(tied, long)[:, None, None], both.where(tied, wide)[:, None, None]

    if centring:
        share, second = torch.ones_like(gap), torch.zeros_like(P)
    else:
        dP, dS = direction(torch.zeros_like(P), torch.zeros_like(P))
        along, across = lengths(dP, dS)
        reached = ((P + along * dP) * (S + across * dS)).sum((1, 2))
        share, second = (reached / gap).clamp(0, 1) ** 3, -_symmetric(dP @ dS @ T)
    dP, dS = direction((share * gap / P.shape[-1])[:, None, None] * T, second)
    along, across = lengths(dP / CLOSENESS, dS / CLOSENESS)
    return state._replace(primal=P + along * dP, dual=W - across * dS[:, :rows, rows:])


def _schur_factor(
    P: Float[Tensor, "left both both"],
    T: Float[Tensor, "left both both"],
    slack: Float[Tensor, "left 1 1"],
    observed: Bool[Tensor, "left row column"],
) -> Float[Tensor, "left cell cell"]:
    """The Cholesky factor of what takes a step w of W to (A w T22 + T11 w B + Z w^T T12 +
    T12 w^T Z) / 2 + slack w on Omega; the identity elsewhere. T is the inverse of S."""
    left, rows, columns = observed.shape
    A, Z, B = P[:, :rows, :rows], P[:, :rows, rows:], P[:, rows:, rows:]
    T11, T12, T22 = T[:, :rows, :rows], T[:, :rows, rows:], T[:, rows:, rows:]
    # Entry (i, j; k, l): what w_kl adds to the result at (i, j).
    made = A[:, :, None, :, None] * T22[:, None, :, None, :]
    made.addcmul_(T11[:, :, None, :, None], B[:, None, :, None, :])
    made.addcmul_(Z[:, :, None, None, :], T12.mT[:, None, :, :, None])
    made.addcmul_(T12[:, :, None, None, :], Z.mT[:, None, :, :, None])
    made = made.reshape(left, rows * columns, rows * columns).mul_(0.5)
    known = observed.flatten(1).to(made.dtype)
    made.mul_(known.unsqueeze(1)).mul_(known.unsqueeze(2))
    diagonal = made.diagonal(dim1=1, dim2=2)
    diagonal.add_(slack[:, :, 0] * known + (1 - known))
    return _cholesky(made)


def _longest(
    root: Float[Tensor, "left both both"], step: Float[Tensor, "left both both"]
) -> Float[Tensor, " left"]:
    """The largest a <= 1 for which M + a step is still positive semidefinite, given a root of the
    inverse of M."""
    seen = root @ step @ root.mT
    sound = seen.diagonal(dim1=1, dim2=2).sum(1).isfinite()  # NaN is everywhere or nowhere
    lowest = torch.linalg.eigvalsh(_symmetric(seen.where(sound[:, None, None], 0)))[:, 0]
    return (-1 / lowest.clamp(max=-1)).where(sound, torch.nan)


def _root_of_inverse(square: Float[Tensor, "left both both"]) -> Float[Tensor, "left both both"]:
    """R with R^T R = M^-1: the inverse of the Cholesky factor."""
    one = torch.eye(square.shape[-1], dtype=square.dtype, device=square.device)
    return torch.linalg.solve_triangular(_cholesky(square), one, upper=False)


def _cholesky(square: Float[Tensor, "left side side"]) -> Float[Tensor, "left side side"]:
    """The lower factors; NaN where a matrix is not positive definite, by rounding."""
    factor, wrong = torch.linalg.cholesky_ex(square)
    return factor.masked_fill((wrong > 0)[:, None, None], torch.nan)


def _blocks(A: Tensor, Z: Tensor, B: Tensor) -> Float[Tensor, "left both both"]:
    """[[A, Z], [Z^T, B]]."""
    return torch.cat([torch.cat([A, Z], -1), torch.cat([Z.mT, B], -1)], -2)


def _lifted(w: Float[Tensor, "left row column"]) -> Float[Tensor, "left both both"]:
    """[[0, w], [w^T, 0]]."""
    return _blocks(0 * _eye(w, -2), w, 0 * _eye(w, -1))


def _eye(like: Float[Tensor, "left row column"], axis: int) -> Float[Tensor, "left side side"]:
    one = torch.eye(like.shape[axis], dtype=like.dtype, device=like.device)
    return one.expand(len(like), -1, -1)


def _symmetric(square: Float[Tensor, "left both both"]) -> Float[Tensor, "left both both"]:
    return (square + square.mT) / 2
