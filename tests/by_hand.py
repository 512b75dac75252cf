"""A transformer's forward pass written out by hand, head by head and in float64, to be compared
with: no tape, no batched heads, no stacked members."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Change = Callable[[int, int, Tensor], Tensor]


def same(layer: int, head: int, value: Tensor) -> Tensor:
    return value


def forward(
    parameters: Mapping[str, Tensor],
    tokens: Tensor,
    heads: int,
    encoder: bool = False,
    pattern: Change = same,
    written: Change = same,
) -> Tensor:
    """Outputs [batch, position, out] of a softmax Decoder (pre-norm) or an Encoder (post-norm).

    `pattern` and `written` may replace the weights [batch, query, key] of a head and what it
    writes [batch, position, width / heads].
    """
    own = {name: value.double().clone() for name, value in parameters.items()}
    eps = 1e-12 if encoder else 1e-5

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ own[f"{name}.weight"].T + own.get(f"{name}.bias", 0)

    def norm(name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
        return scaled * own[f"{name}.weight"] + own[f"{name}.bias"]

    length = tokens.shape[-1]
    future = torch.ones(length, length).triu(1).bool() & (not encoder)
    if encoder:
        own["token.weight"][0] = 0  # the mask
    x = own["token.weight"][tokens] + own["position.weight"][:length]
    if encoder:
        x = norm("embedding_norm", x)
    depth = 1 + max(int(name.split(".")[1]) for name in own if name.startswith("blocks."))
    for layer in range(depth):
        block = f"blocks.{layer}"
        seen = x if encoder else norm(f"{block}.attention_norm", x)
        query, key, value = (
            linear(f"{block}.attention.{part}", seen) for part in ("query", "key", "value")
        )
        size = query.shape[-1] // heads
        every = []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            scores = query[..., part] @ key[..., part].mT / size**0.5
            weights = scores.masked_fill(future, -torch.inf).softmax(-1)
            every.append(written(layer, head, pattern(layer, head, weights) @ value[..., part]))
        x = x + linear(f"{block}.attention.output", torch.cat(every, -1))
        if encoder:
            x = norm(f"{block}.attention_norm", x)
        seen = x if encoder else norm(f"{block}.mlp_norm", x)
        hidden = F.gelu(
            linear(f"{block}.mlp.input", seen), approximate="none" if encoder else "tanh"
        )
        x = x + linear(f"{block}.mlp.output", hidden)
        if encoder:
            x = norm(f"{block}.mlp_norm", x)
    return linear("readout", x if encoder else norm("final_norm", x))
