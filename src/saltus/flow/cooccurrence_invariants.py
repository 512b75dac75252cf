"""What the flow of word co-occurrence conserves, and identities that every state satisfies.

Section 6 of our spec of 2410.09605. I1, I2 and I3 hold for any loss: they are
`saltus.models.inner_products.conserved`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saltus.flow.cooccurrence_pull import System
from saltus.models.inner_products import KEY, QUERY, VALUE

Named = Mapping[str, Tensor]


def absent_rows(
    parameters: Named, inputs: Int[Tensor, "*row sample position"]
) -> dict[str, Float[Tensor, "*row vocabulary width"]]:
    """I4: the rows of W_Q, W_K, W_V that belong to tokens no sample holds; 0 for the others."""
    table = parameters[VALUE]
    flat = inputs.flatten(-2)
    absent = torch.ones_like(table[..., 0]).scatter(-1, flat, torch.zeros_like(flat).to(table))
    return {name: parameters[name] * absent.unsqueeze(-1) for name in (QUERY, KEY, VALUE)}


def scalars(inner: Named, neurons: int) -> Float[Tensor, "row 4"]:
    """I5 from A, G, B, M, N_K, N_Q: tr N_K - tr N_Q; A / m1 - tr B; tr N_K^2 - 2 |M|^2 + tr N_Q^2;
    A^2 / m1^2 - 2 |G|^2 / m1 + tr B^2. The last two are |I1|^2 and |I2|^2 seen through a."""
    a, key, query = inner["A"].squeeze(-1) / neurons, inner["N_K"], inner["N_Q"]
    return torch.stack(
        [
            _trace(key) - _trace(query),
            a - _trace(inner["B"]),
            _square(key) - 2 * _square(inner["M"]) + _square(query),
            a**2 - 2 * inner["G"].square().sum(-1) / neurons + _square(inner["B"]),
        ],
        dim=-1,
    )


def energies(
    system: System, states: Float[Tensor, "row state"], neurons: int
) -> Float[Tensor, "row 4"]:
    """The shares of W, W_V, W_K, W_Q in -dL/dt: m1 |W_V c|^2, A |c|^2, |W_Q Gamma^T|^2 and
    |W_K Gamma|^2, from inner products."""
    inner, pull = system.inner(states), system.pull(states)
    c, gamma = pull.tokens.unsqueeze(-1), system.gamma(pull)
    return torch.stack(
        [
            neurons * (c.mT @ inner["B"] @ c).flatten(),
            inner["A"].squeeze(-1) * c.square().sum((-2, -1)),
            _trace(gamma @ inner["N_Q"] @ gamma.mT),
            _trace(gamma.mT @ inner["N_K"] @ gamma),
        ],
        dim=-1,
    )


def dissipation(
    system: System, states: Float[Tensor, "row state"], neurons: int
) -> tuple[Float[Tensor, " row"], Float[Tensor, " row"]]:
    """E1, both sides: dL/dt along the velocity, and minus the sum of the energies."""
    leaf = states.detach().requires_grad_()
    (slope,) = torch.autograd.grad(system.losses(leaf).mean(-1).sum(), leaf)
    left = (slope * system.velocity(states)).sum(-1)
    return left, -energies(system, states, neurons).sum(-1)


def growth(
    system: System, states: Float[Tensor, "row state"], neurons: int
) -> tuple[Float[Tensor, " row"], Float[Tensor, " row"]]:
    """E2, both sides: dA/dt along the velocity, and (2 m1 / n) sum_i g_i y_i F_i [P eq. (5)]."""
    leaf = states.detach().requires_grad_()
    (slope,) = torch.autograd.grad(system.inner(leaf)["A"].sum(), leaf)
    pull = system.pull(states)
    right = 2 * neurons * (pull.weights * pull.margins).mean(-1)
    return (slope * system.velocity(states)).sum(-1), right


def _trace(matrix: Float[Tensor, "row token other"]) -> Float[Tensor, " row"]:
    return matrix.diagonal(dim1=-2, dim2=-1).sum(-1)


def _square(matrix: Float[Tensor, "row token other"]) -> Float[Tensor, " row"]:
    return matrix.square().sum((-2, -1))
