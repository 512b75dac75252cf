"""Word co-occurrence when only token readouts move: a small ODE, and where its flow ends.

Section 5.4 of our spec of 2410.09605 (derived there): attention uniform for ever, A = |W^T a|^2
constant, m1 B negligible, all readouts 0 at the start, every random token in one sample only. With
the clock tau = A t nothing else is left but the numbers n_1 .. n_4 of samples of the four classes
and their length; for n -> infinity, not even these.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

# Whether samples of I1 .. I4 hold the first target, the second, the common token.
HELD = ((1.0, 1.0, 1.0), (1.0, 0.0, 1.0), (0.0, 1.0, 1.0), (0.0, 0.0, 1.0))
SIGNS = (1.0, -1.0, -1.0, -1.0)


class Limits(NamedTuple):
    """The hard-margin end of the flow on token counts (section 7).

    In the limit every gradient sum falls like 1 / tau, in fixed proportions.
    """

    ratio: float  # rho = S1 / S2
    common: float  # R = (S2 + S3 + S4 - S1) / (S1 - S2), also -G(mu3) / G(mu1)
    neither: float  # S4 / S2
    norm: float  # |beta|^2 of the least readouts with margins >= 1; tau * loss -> |beta|^2


class MeanField:
    """MF(n) for `counts` = (n1, n2, n3, n4) samples of `length` tokens; MF(infinity) for None.

    With G_1, G_2, G_3 the readouts of targets and common token, H_t that of a random token of I_t,
    k = (L - 3, L - 2, L - 2, L - 1) of them per sample, P_t = n_t / n and g(z) = 1 / (1 + e^z):
    F_1 = G_1 + G_2 + G_3 + k_1 H_1, F_2 = G_1 + G_3 + k_2 H_2, F_3 = G_2 + G_3 + k_3 H_3,
    F_4 = G_3 + k_4 H_4; s_t = P_t g(y_t F_t); G_1' = s_1 - s_2, G_2' = s_1 - s_3,
    G_3' = s_1 - s_2 - s_3 - s_4, H_t' = y_t s_t / n_t. A state [row, 7] is G_1 .. G_3, H_1 .. H_4;
    MF(infinity) has no H, [row, 3], and P = (1/2, 1/6, 1/6, 1/6).
    """

    def __init__(self, counts: tuple[int, int, int, int] | None, length: int = 4) -> None:
        self.counts, self.length = counts, length
        self.held = torch.tensor(HELD, dtype=torch.float64)
        self.signs = torch.tensor(SIGNS, dtype=torch.float64)
        if counts is None:
            self.shares = torch.tensor([3.0, 1.0, 1.0, 1.0], dtype=torch.float64) / 6
            self.random = self.per_sample = torch.zeros(4, dtype=torch.float64)
        else:
            number = torch.tensor(counts, dtype=torch.float64)
            self.shares, self.per_sample = number / number.sum(), 1 / number
            self.random = torch.tensor([length - 3, length - 2, length - 2, length - 1]).double()

    def start(self, rows: int = 1) -> Float[Tensor, "row state"]:
        """Readouts 0."""
        return torch.zeros(rows, 3 if self.counts is None else 7, dtype=torch.float64)

    def outputs(self, states: Float[Tensor, "row state"]) -> Float[Tensor, "row 4"]:
        """F of a sample of each class."""
        outputs = states[:, :3] @ self.held.T
        return outputs if self.counts is None else outputs + self.random * states[:, 3:]

    def sums(self, states: Float[Tensor, "row state"]) -> Float[Tensor, "row 4"]:
        """s_t = S_t / n, the gradient sums of the classes."""
        return self.shares * torch.sigmoid(-self.signs * self.outputs(states))

    def velocity(self, states: Float[Tensor, "row state"]) -> Float[Tensor, "row state"]:
        """d/dtau of the readouts."""
        signed = self.signs * self.sums(states)
        tokens = signed @ self.held
        return (
            tokens if self.counts is None else torch.cat([tokens, signed * self.per_sample], dim=1)
        )

    def class_losses(self, states: Float[Tensor, "row state"]) -> Float[Tensor, "row 4"]:
        """log(1 + exp(-y F)) of a sample of each class."""
        margins = self.signs * self.outputs(states)
        return torch.logaddexp(torch.zeros_like(margins), -margins)

    def loss(self, states: Float[Tensor, "row state"]) -> Float[Tensor, " row"]:
        """The mean over the training set."""
        return (self.shares * self.class_losses(states)).sum(-1)

    def limits(self, neither: bool | None = None) -> Limits:
        """Where the flow ends: S_t in the proportions that solve (Gram matrix) S = 1.

        I4 takes part only where the other three leave it a margin below 1. The spec's closed form,
        rho = (7 + k2 / n2) / (5 + k1 / n1) and |beta|^2 = (rho + 2) / ((3 + k1 / n1) rho - 4), is
        `neither=False`. It is right for n -> infinity, but not where k / n is large: counts
        (12, 4, 4, 4) of 4 tokens give I4 the margin 0.955, so that S4 / S2 ends at 0.0215.
        """
        signed = self.signs.unsqueeze(1) * self.held
        gram = signed @ signed.T + torch.diag(self.random * self.per_sample)
        sums = _balanced(gram, 3)
        if neither or (neither is None and gram[3] @ sums < 1):
            sums = _balanced(gram, 4)
        first, second, third, fourth = sums.tolist()
        common = (second + third + fourth - first) / (first - second)
        return Limits(first / second, common, fourth / second, float(sums.sum()))


def _balanced(gram: Float[Tensor, "4 4"], active: int) -> Float[Tensor, "4"]:
    """Multipliers that give the first `active` classes the margin 1, 0 for the others."""
    sums = torch.zeros(4, dtype=torch.float64)
    sums[:active] = torch.linalg.solve(gram[:active, :active], torch.ones_like(sums[:active]))
    return sums
