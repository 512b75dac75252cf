"""How a training set of word co-occurrence pulls at a model: what its three systems share.

Section 5.1 of our spec of 2410.09605. The flow sees the samples through two sums over the training
set, c and Gamma, which depend on the parameters through the token readouts G and the scores M
alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saltus.models.inner_products import READOUT, VALUE
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
        self.signs: Float[Tensor, "row neuron"] = rowed(parameters)[READOUT].squeeze(-2)
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

    def losses(
        self, states: Float[Tensor, "row state"], rows: Rows = None
    ) -> Float[Tensor, "row sample"]:
        """log(1 + exp(-y F)) of every sample."""
        margins = self.pull(states, rows).margins
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
        tokens, targets = pick(self.inputs, rows), pick(self.targets, rows)
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
        tokens = pick(self.inputs, rows)
        pairs = tokens.unsqueeze(-2) * self.vocabulary + tokens.unsqueeze(-1)
        flat = pull.slopes.new_zeros(len(tokens), self.vocabulary**2)
        summed = flat.scatter_add(-1, pairs.flatten(1), pull.slopes.flatten(1))
        return summed.unflatten(1, (self.vocabulary, self.vocabulary))


def rowed(parameters: Named) -> dict[str, Tensor]:
    """Every parameter as [row, ., .] in float64."""
    return {n: value.reshape(-1, *value.shape[-2:]).double() for n, value in parameters.items()}


def pick(values: Tensor, rows: Rows) -> Tensor:
    """The chosen rows of [row, ...]."""
    return values if rows is None else values[list(rows)]
