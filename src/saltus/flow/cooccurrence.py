"""The flow of word co-occurrence written out: three systems of ODEs with the same solution.

Section 5 of our spec of 2410.09605. All three see the samples through two sums over the training
set, c and Gamma, which depend on the parameters through the token readouts G and the scores M
alone. `Full` moves the model's parameters, `Reduced` all neurons as one, `Closed` inner products
between tokens only. Each is a function [row, state] -> [row, state] in float64, one row per member,
each row with a training set of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saltus.models import inner_products
from saltus.models.inner_products import KEY, NEURONS, QUERY, READOUT, VALUE
from saltus.models.one_layer_attention import rows as token_rows
from saltus.tasks.base import Batch

Named = Mapping[str, Tensor]
Rows = Sequence[int] | None  # which rows of the system some states belong to; None is all


@dataclass(frozen=True)
class Pull:
    """How the training set pulls at a state; n samples of L tokens, d in the vocabulary.

    `margins` = y F; `weights` = g(y F) = 1 / (1 + exp(y F)), minus the derivative of the loss;
    `tokens` = c(mu) = (1/n) sum_i g_i y_i sum_l sum_{h: x_h = mu} p_lh; `slopes` are the summands
    of Gamma, (1 / (n sqrt(m))) g_i y_i p_lh (G(x_h) - sum_h' p_lh' G(x_h')), which `gamma` sums.
    """

    margins: Float[Tensor, "row sample"]
    weights: Float[Tensor, "row sample"]
    tokens: Float[Tensor, "row vocabulary"]
    slopes: Float[Tensor, "row sample query key"]


class System:
    """An ODE whose state holds named tensors, `shapes`, one after the other.

    `batch` and `parameters` (those of `OneLayerAttention` with one output) carry a leading row
    axis, or none, which makes one row. `parameters` give the sizes and the readout's signs.
    """

    def __init__(self, batch: Batch, parameters: Named, shapes: Mapping[str, tuple[int, ...]]):
        tokens, targets = batch["inputs"], batch["targets"].double()
        self.inputs: Int[Tensor, "row sample position"] = tokens.reshape(-1, *tokens.shape[-2:])
        self.targets: Float[Tensor, "row sample"] = targets.reshape(-1, targets.shape[-1])
        self.signs: Float[Tensor, "row neuron"] = _rowed(parameters)[READOUT].squeeze(-2)
        self.vocabulary, self.width = parameters[VALUE].shape[-2:]
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}

    def start(self, parameters: Named) -> Float[Tensor, "row state"]:
        """The state at some parameters of the model."""
        raise NotImplementedError(type(self).__name__)

    def seen(
        self, values: Named, rows: Rows
    ) -> tuple[Float[Tensor, "row vocabulary"], Float[Tensor, "row sample query key"]]:
        """What the samples see of a state: G, and M at the tokens of every sample."""
        raise NotImplementedError(type(self).__name__)

    def rates(self, values: Named, pull: Pull, rows: Rows) -> dict[str, Tensor]:
        """The velocity of every named part."""
        raise NotImplementedError(type(self).__name__)

    def inner(self, states: Float[Tensor, "row state"]) -> dict[str, Tensor]:
        """A, G, B, M, N_K, N_Q, whatever the state holds."""
        raise NotImplementedError(type(self).__name__)

    def velocity(
        self, states: Float[Tensor, "row state"], rows: Rows = None
    ) -> Float[Tensor, "row state"]:
        """theta' = -grad L."""
        values = self.unpack(states)
        return self.pack(self.rates(values, self._pull(values, rows), rows))

    def pull(self, states: Float[Tensor, "row state"], rows: Rows = None) -> Pull:
        """How the training set pulls at these states."""
        return self._pull(self.unpack(states), rows)

    def losses(self, states: Float[Tensor, "row state"]) -> Float[Tensor, "row sample"]:
        """log(1 + exp(-y F)) of every sample."""
        margins = self.pull(states).margins
        return torch.logaddexp(torch.zeros_like(margins), -margins)

    def pack(self, values: Named) -> Float[Tensor, "row state"]:
        """Named tensors [row, ...] as flat states."""
        return torch.cat([values[name].flatten(1) for name in self.shapes], dim=1)

    def unpack(self, states: Float[Tensor, "row state"]) -> dict[str, Tensor]:
        """The named tensors of some states, as views."""
        parts = states.split([prod(shape) for shape in self.shapes.values()], dim=1)
        named = zip(self.shapes.items(), parts, strict=True)
        return {name: part.unflatten(1, shape) for (name, shape), part in named}

    def _pull(self, values: Named, rows: Rows) -> Pull:
        tokens, targets = _pick(self.inputs, rows), _pick(self.targets, rows)
        readout, scores = self.seen(values, rows)
        pattern = (scores / self.width**0.5).softmax(-1)
        per_key = readout.gather(-1, tokens.flatten(1)).view(tokens.shape).unsqueeze(-2)
        mean = (pattern * per_key).sum(-1, keepdim=True)
        margins = targets * mean.sum((-2, -1))
        weights = torch.sigmoid(-margins)
        pulls = (weights * targets / targets.shape[-1])[..., None, None]
        received = (pulls * pattern).sum(-2)
        slopes = pulls * pattern * (per_key - mean) / self.width**0.5
        sums = torch.zeros_like(readout).scatter_add(-1, tokens.flatten(1), received.flatten(1))
        return Pull(margins, weights, sums, slopes)

    def gamma(self, pull: Pull, rows: Rows = None) -> Float[Tensor, "row key query"]:
        """Gamma, summed over all occurrences of a pair of tokens."""
        tokens = _pick(self.inputs, rows)
        pairs = tokens.unsqueeze(-2) * self.vocabulary + tokens.unsqueeze(-1)
        flat = pull.slopes.new_zeros(len(tokens), self.vocabulary**2)
        summed = flat.scatter_add(-1, pairs.flatten(1), pull.slopes.flatten(1))
        return summed.unflatten(1, (self.vocabulary, self.vocabulary))


class Full(System):
    """W' = a (W_V c)^T, W_V' = omega c^T, W_K' = W_Q Gamma^T, W_Q' = W_K Gamma (section 5.1).

    The state is W_Q, W_K, W_V (token-major) and W; the readout's signs a do not move.
    """

    speed = 1.0  # of W

    def __init__(self, batch: Batch, parameters: Named) -> None:
        names = (QUERY, KEY, VALUE, NEURONS)
        super().__init__(batch, parameters, {n: parameters[n].shape[-2:] for n in names})

    def start(self, parameters: Named) -> Float[Tensor, "row state"]:
        return self.pack(_rowed(parameters))

    def parameters(self, states: Float[Tensor, "row state"]) -> dict[str, Tensor]:
        """All parameters of the model, the readout's signs included."""
        return self.unpack(states) | {READOUT: self.signs.unsqueeze(-2)}

    def seen(
        self, values: Named, rows: Rows
    ) -> tuple[Float[Tensor, "row vocabulary"], Float[Tensor, "row sample query key"]]:
        direction = _pick(self.signs, rows).unsqueeze(-2) @ values[NEURONS]
        readout = (values[VALUE] @ direction.mT).squeeze(-1)
        tokens = _pick(self.inputs, rows)
        return readout, token_rows(values[QUERY], tokens) @ token_rows(values[KEY], tokens).mT

    def rates(self, values: Named, pull: Pull, rows: Rows) -> dict[str, Tensor]:
        tokens, signs = _pick(self.inputs, rows), _pick(self.signs, rows)
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
        return self.pack(inner_of(_rowed(parameters)))

    def seen(
        self, values: Named, rows: Rows
    ) -> tuple[Float[Tensor, "row vocabulary"], Float[Tensor, "row sample query key"]]:
        tokens = _pick(self.inputs, rows)
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


def _rowed(parameters: Named) -> dict[str, Tensor]:
    """Every parameter as [row, ., .] in float64."""
    return {n: value.reshape(-1, *value.shape[-2:]).double() for n, value in parameters.items()}


def _pick(values: Tensor, rows: Rows) -> Tensor:
    return values if rows is None else values[list(rows)]


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
