"""Attention = logits -> normaliser -> weights, written once for every model."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from saltus.models.layers import Linear, linear
from saltus.models.sites import Tape

Normaliser = Literal["softmax", "linear"]


class Attention(nn.Module):
    """Multi-head self-attention with sites for its scores, its pattern and its heads.

    scores = Q K^T / sqrt(head width); `softmax` masks the future with -inf and normalises rows,
    `linear` sets the future to 0 and does not normalise (2506.13688, section 7.1 of our spec).
    Sites: `{name}.scores`, `{name}.pattern` [..., head, query, key] and `{name}.heads`
    [..., head, position, width / heads], the last before the output projection.
    """

    def __init__(
        self, width: int, heads: int, causal: bool, normaliser: Normaliser, bias: bool = True
    ) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.normaliser: Normaliser = normaliser
        self.query = Linear(width, width, bias)
        self.key = Linear(width, width, bias)
        self.value = Linear(width, width, bias)
        self.output = Linear(width, width, bias)

    def forward(self, x: Tensor, tape: Tape, name: str) -> Tensor:
        query, key, value = self.project(x)
        pattern_site = f"{name}.pattern"
        explicit = tape.wants(pattern_site) or tape.wants(f"{name}.scores")
        if self.normaliser == "softmax" and not explicit and x.shape[-2] >= FUSED_FROM:
            heads = fused_softmax_attention(query, key, value, self.causal)
        else:
            scores = (query @ key.transpose(-1, -2)).mul_(query.shape[-1] ** -0.5)
            scores = tape(f"{name}.scores", scores)
            pattern = normalise(scores, self.normaliser, self.causal)
            heads = tape(pattern_site, pattern) @ value
        heads = tape(f"{name}.heads", heads)
        return self.output(heads.transpose(-2, -3).flatten(-2))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Q, K and V, each [..., head, position, head width], from one product."""
        parts = (self.query, self.key, self.value)
        weight = torch.cat([self.query.weight, self.key.weight, self.value.weight], dim=-2)
        biases: list[Tensor] = [part.bias for part in parts if part.bias is not None]
        bias = torch.cat(biases, dim=-1) if biases else None
        fused = linear(x, weight, bias).unflatten(-1, (3, self.heads, -1))
        query, key, value = fused.unbind(-3)
        return query.transpose(-2, -3), key.transpose(-2, -3), value.transpose(-2, -3)


# Below this many positions the written-out form is faster on a CPU (`make bench` shows it).
FUSED_FROM = 16


def normalise(
    scores: Float[Tensor, "*batch head query key"], normaliser: Normaliser, causal: bool
) -> Float[Tensor, "*batch head query key"]:
    """The attention weights of some scores."""
    future = _future(scores.shape[-2], scores.shape[-1], scores.device) if causal else None
    if normaliser == "linear":
        return scores if future is None else scores.masked_fill(future, 0.0)
    if scores.shape[-1] < FUSED_FROM:
        return _SmallSoftmax.apply(scores, future)
    return (scores if future is None else scores.masked_fill(future, float("-inf"))).softmax(-1)


def fused_softmax_attention(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V without writing the pattern out."""
    # Members fold into the batch axis: the fused kernel takes four axes.
    lead = query.shape[:-3]
    query, key, value = (part.reshape(-1, *part.shape[-3:]) for part in (query, key, value))
    heads = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
    return heads.view(*lead, *heads.shape[1:])


class _SmallSoftmax(torch.autograd.Function):
    """Softmax over a short last axis from vectorised element-wise passes.

    The library's kernel pays ~150 ns a row, which dominates for rows of a few numbers.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(scores: Tensor, masked: Tensor | None) -> Tensor:
        weights = scores.clone() if masked is None else scores.masked_fill(masked, float("-inf"))
        weights.sub_(weights.amax(-1, keepdim=True)).exp_()
        return weights.div_(weights.sum(-1, keepdim=True))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weights,) = ctx.saved_tensors
        flow = gradient * weights  # zero where masked
        return flow - weights * flow.sum(-1, keepdim=True), None


def _future(queries: int, keys: int, device: torch.device) -> Tensor:
    """True where a key lies after its query."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).triu(1)
