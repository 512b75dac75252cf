"""Inner products: what the parameters of `OneLayerAttention` mean, token by token.

Sections 1, 5 and 6 of our spec of 2410.09605, on parameters as the model stores them: W_Q, W_K
and W_V token-major [vocabulary, width] (the transposes of the paper's), W [neurons, width] and a
[output, neurons], all with any leading member axes. `*_velocity` are the same quantities' rates of
change under gradient flow, by the product rule: the velocity of a parameter is minus its gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

QUERY = "blocks.0.attention.query.weight"
KEY = "blocks.0.attention.key.weight"
VALUE = "blocks.0.attention.value.weight"
NEURONS = "blocks.0.mlp.weight"
READOUT = "readout.weight"

Named = Mapping[str, Tensor]
Some = Sequence[int] | None  # token ids; None is the whole vocabulary


def readout_direction(parameters: Named, output: int = 0) -> Float[Tensor, "*member width"]:
    """omega = W^T a: all that an output sees of the neurons."""
    signs = parameters[READOUT][..., output : output + 1, :]
    return (signs @ parameters[NEURONS]).squeeze(-2)


def readout_norm(parameters: Named, output: int = 0) -> Float[Tensor, "*member"]:
    """A = |omega|^2, the paper's sum_jk <a_j w_j, a_k w_k>."""
    return readout_direction(parameters, output).square().sum(-1)


def token_readout(
    parameters: Named, tokens: Some = None, output: int = 0
) -> Float[Tensor, "*member token"]:
    """G(mu) = sum_j a_j w_j^T W_V mu = omega . W_V mu."""
    direction = readout_direction(parameters, output)
    return (_rows(parameters, VALUE, tokens) @ direction.unsqueeze(-1)).squeeze(-1)


def scores(parameters: Named, tokens: Some = None) -> Float[Tensor, "*member key query"]:
    """M = W_K^T W_Q: row = key, column = query, not divided by sqrt(width)."""
    return _rows(parameters, KEY, tokens) @ _rows(parameters, QUERY, tokens).mT


def gram(
    parameters: Named, name: str = VALUE, tokens: Some = None
) -> Float[Tensor, "*member token token"]:
    """B = W_V^T W_V; with `name` KEY or QUERY, N_K or N_Q."""
    rows = _rows(parameters, name, tokens)
    return rows @ rows.mT


def readout_norm_velocity(
    parameters: Named, gradients: Named, output: int = 0
) -> Float[Tensor, "*member"]:
    """dA/dt = 2 omega . domega/dt."""
    moving = _direction_velocity(parameters, gradients, output)
    return 2 * (readout_direction(parameters, output) * moving).sum(-1)


def token_readout_velocity(
    parameters: Named, gradients: Named, tokens: Some = None, output: int = 0
) -> Float[Tensor, "*member token"]:
    """dG/dt = omega . dW_V/dt mu + domega/dt . W_V mu."""
    direction = readout_direction(parameters, output).unsqueeze(-1)
    moving = _direction_velocity(parameters, gradients, output).unsqueeze(-1)
    value, velocity = _rows(parameters, VALUE, tokens), -_rows(gradients, VALUE, tokens)
    return (velocity @ direction + value @ moving).squeeze(-1)


def scores_velocity(
    parameters: Named, gradients: Named, tokens: Some = None
) -> Float[Tensor, "*member key query"]:
    """dM/dt = dW_K/dt^T W_Q + W_K^T dW_Q/dt."""
    key, query = _rows(parameters, KEY, tokens), _rows(parameters, QUERY, tokens)
    return -(_rows(gradients, KEY, tokens) @ query.mT + key @ _rows(gradients, QUERY, tokens).mT)


def gram_velocity(
    parameters: Named, gradients: Named, name: str = VALUE, tokens: Some = None
) -> Float[Tensor, "*member token token"]:
    """dB/dt = dW_V/dt^T W_V + its transpose; with `name` KEY or QUERY, of N_K or N_Q."""
    half = -_rows(gradients, name, tokens) @ _rows(parameters, name, tokens).mT
    return half + half.mT


def conserved(parameters: Named) -> dict[str, Tensor]:
    """What gradient flow of any loss leaves alone (section 6 of our spec), by name.

    `I1` [width, width] = W_K W_K^T - W_Q W_Q^T, since scores see only W_K^T W_Q; `I2`
    [width, width] = W^T W - W_V W_V^T, since the readout sees only W W_V; `I3` [neurons, width] =
    W without its part along a (rows of a, where there are several outputs).
    """
    query, key, value = (parameters[name] for name in (QUERY, KEY, VALUE))
    neurons, readout = parameters[NEURONS], parameters[READOUT]
    if readout.shape[-2] == 1:
        along = readout.mT @ (readout @ neurons) / readout.square().sum((-2, -1), keepdim=True)
    else:
        along = torch.linalg.pinv(readout) @ (readout @ neurons)
    return {
        "I1": key.mT @ key - query.mT @ query,
        "I2": neurons.mT @ neurons - value.mT @ value,
        "I3": neurons - along,
    }


def _direction_velocity(
    parameters: Named, gradients: Named, output: int
) -> Float[Tensor, "*member width"]:
    signs = parameters[READOUT][..., output : output + 1, :]
    return -(signs @ gradients[NEURONS]).squeeze(-2)


def _rows(parameters: Named, name: str, tokens: Some) -> Float[Tensor, "*member token width"]:
    table = parameters[name]
    return table if tokens is None else table[..., list(tokens), :]
