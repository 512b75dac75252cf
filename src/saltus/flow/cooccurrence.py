"""The flow of word co-occurrence written out: three systems of ODEs with the same solution.

Section 5 of our spec of 2410.09605. `Full` moves the model's parameters, `Reduced` all neurons as
one, `Closed` inner products between tokens only. Each is a function [row, state] -> [row, state] in
float64, one row per member, each row with a training set of its own.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saltus.flow.cooccurrence_pull import Named, Pull, Rows, System, pick, rowed
from saltus.models import inner_products
from saltus.models.inner_products import KEY, NEURONS, QUERY, READOUT, VALUE
from saltus.models.one_layer_attention import rows as token_rows
from saltus.tasks.base import Batch


class Full(System):
    """W' = a (W_V c)^T, W_V' = omega c^T, W_K' = W_Q Gamma^T, W_Q' = W_K Gamma (section 5.1).

    The state is W_Q, W_K, W_V (token-major) and W; the readout's signs a do not move.
    """

    speed = 1.0  # of W

    def __init__(self, batch: Batch, parameters: Named) -> None:
        names = (QUERY, KEY, VALUE, NEURONS)
        super().__init__(batch, parameters, {n: parameters[n].shape[-2:] for n in names})

    def start(self, parameters: Named) -> Float[Tensor, "row state"]:
        return self.pack(rowed(parameters))

    def parameters(self, states: Float[Tensor, "row state"]) -> dict[str, Tensor]:
        """All parameters of the model, the readout's signs included."""
        return self.unpack(states) | {READOUT: self.signs.unsqueeze(-2)}

    def seen(
        self, values: Named, rows: Rows
    ) -> tuple[Float[Tensor, "row vocabulary"], Float[Tensor, "row sample query key"]]:
        direction = pick(self.signs, rows).unsqueeze(-2) @ values[NEURONS]
        readout = (values[VALUE] @ direction.mT).squeeze(-1)
        tokens = pick(self.inputs, rows)
        return readout, token_rows(values[QUERY], tokens) @ token_rows(values[KEY], tokens).mT

    def rates(self, values: Named, pull: Pull, rows: Rows) -> dict[str, Tensor]:
        tokens, signs = pick(self.inputs, rows), pick(self.signs, rows)
        key, query = token_rows(values[KEY], tokens), token_rows(values[QUERY], tokens)
        pulled = pull.tokens.unsqueeze(-2)
        direction = signs.unsqueeze(-2) @ values[NEURONS]
        return {
            QUERY: _scatter(pull.slopes @ key, tokens, self.vocabulary),
            KEY: _scatter(pull.slopes.mT @ query, tokens, self.vocabulary),
            VALUE: pulled.mT @ direction,
            NEURONS: self.speed * signs.unsqueeze(-1) @ (pulled @ values[VALUE]),
        }

    def inner(self, states: Float[Tensor, "row state"]) -> dict[str, Tensor]:
        return inner_of(self.parameters(states))


class Reduced(Full):
    """Only omega = W^T a is seen of the neurons, and omega' = m1 W_V c (section 5.2).

    So the model is equivalent to one with a single neuron W = omega^T, a = 1, whose W is m1 times
    as fast; for gradient descent as well.
    """

    def __init__(self, batch: Batch, parameters: Named) -> None:
        super().__init__(batch, _one_neuron(parameters))
        self.speed = float(parameters[NEURONS].shape[-2])

    def start(self, parameters: Named) -> Float[Tensor, "row state"]:
        return super().start(_one_neuron(parameters))


class Closed(System):
    """The inner products alone, 1 + d + 4 d^2 numbers (section 5.3, [P App. C]).

    A' = 2 m1 c.G, G' = A c + m1 B c, B' = c G^T + G c^T, M' = N_K Gamma + Gamma N_Q,
    N_K' = Gamma M^T + M Gamma^T, N_Q' = Gamma^T M + M^T Gamma.
    """

    def __init__(self, batch: Batch, parameters: Named) -> None:
        d = parameters[VALUE].shape[-2]
        square = dict.fromkeys(("B", "M", "N_K", "N_Q"), (d, d))
        super().__init__(batch, parameters, {"A": (1,), "G": (d,), **square})

    def start(self, parameters: Named) -> Float[Tensor, "row state"]:
        return self.pack(inner_of(rowed(parameters)))

    def seen(
        self, values: Named, rows: Rows
    ) -> tuple[Float[Tensor, "row vocabulary"], Float[Tensor, "row sample query key"]]:
        tokens = pick(self.inputs, rows)
        pairs = tokens.unsqueeze(-2) * self.vocabulary + tokens.unsqueeze(-1)
        found = values["M"].flatten(1).gather(-1, pairs.flatten(1))
        return values["G"], found.view(pairs.shape)

    def rates(self, values: Named, pull: Pull, rows: Rows) -> dict[str, Tensor]:
        neurons, c, gamma = self.signs.shape[-1], pull.tokens, self.gamma(pull, rows)
        outer = c.unsqueeze(-1) * values["G"].unsqueeze(-2)
        key, query = gamma @ values["M"].mT, gamma.mT @ values["M"]
        turned = (values["B"] @ c.unsqueeze(-1)).squeeze(-1)
        return {
            "A": 2 * neurons * (c * values["G"]).sum(-1, keepdim=True),
            "G": values["A"] * c + neurons * turned,
            "B": outer + outer.mT,
            "M": values["N_K"] @ gamma + gamma @ values["N_Q"],
            "N_K": key + key.mT,
            "N_Q": query + query.mT,
        }

    def inner(self, states: Float[Tensor, "row state"]) -> dict[str, Tensor]:
        return self.unpack(states)


def inner_of(parameters: Named) -> dict[str, Tensor]:
    """A [..., 1], G [..., d] and B, M, N_K, N_Q [..., d, d] of some parameters."""
    return {
        "A": inner_products.readout_norm(parameters).unsqueeze(-1),
        "G": inner_products.token_readout(parameters),
        "B": inner_products.gram(parameters),
        "M": inner_products.scores(parameters),
        "N_K": inner_products.gram(parameters, KEY),
        "N_Q": inner_products.gram(parameters, QUERY),
    }


def _one_neuron(parameters: Named) -> dict[str, Tensor]:
    direction = inner_products.readout_direction(parameters).unsqueeze(-2)
    return {**parameters, NEURONS: direction, READOUT: torch.ones_like(direction[..., :1])}


def _scatter(
    values: Float[Tensor, "row sample position width"],
    tokens: Int[Tensor, "row sample position"],
    vocabulary: int,
) -> Float[Tensor, "row vocabulary width"]:
    """Sums over all occurrences of a token."""
    rows, width = len(values), values.shape[-1]
    shifted = tokens + torch.arange(rows, device=tokens.device)[:, None, None] * vocabulary
    table = values.new_zeros(rows * vocabulary, width)
    return table.index_add(0, shifted.flatten(), values.reshape(-1, width)).unflatten(0, (rows, -1))
