"""The MLP of a block: W_2 activation(W_1 x), a cache's worth of hidden numbers at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from saltus import kernels
from saltus.models.layers import Linear

Activation = Literal["gelu", "gelu-tanh", "relu"]
APPROXIMATE = {"gelu": "none", "gelu-tanh": "tanh"}
# Hidden numbers of a tile, in bytes: what stays in a core's second cache between two products.
# Whole members share a tile; a member that alone is larger is cut into rows.
TOGETHER, ALONE = 1 << 20, 1 << 19


class Mlp(nn.Module):
    """W_2 activation(W_1 x + b_1) + b_2 over the last axis; no b without `bias`."""

    def __init__(self, width: int, hidden: int, activation: Activation, bias: bool = True) -> None:
        super().__init__()
        self.input = Linear(width, hidden, bias)
        self.output = Linear(hidden, width, bias)
        self.activation: Activation = activation

    def forward(self, x: Tensor) -> Tensor:
        entering, leaving = self.input, self.output
        weights = (entering.weight, entering.bias, leaving.weight, leaving.bias)
        rows = x.reshape(len(entering.weight), -1, x.shape[-1]) if entering.weight.ndim == 3 else x
        if kernels.serve_product(x, entering.weight):
            return kernels.mlp(rows, *weights, self.activation).view(x.shape)
        tiled = x.device.type == "cpu" and not torch.compiler.is_compiling()
        if entering.weight.ndim == 2 or not tiled or torch.is_autocast_enabled("cpu"):
            return leaving(activate(entering(x), self.activation))
        return _StackedMlp.apply(rows, *weights, self.activation).view(x.shape)


def activate(hidden: Tensor, activation: Activation) -> Tensor:
    """GELU, its tanh approximation, or ReLU."""
    if activation == "relu":
        return F.relu(hidden)
    return F.gelu(hidden, approximate=APPROXIMATE[activation])


def tiles(members: int, rows: int, hidden_bytes: int) -> Iterator[tuple[slice, slice]]:
    """Cuts [members, rows] into blocks whose hidden numbers, `hidden_bytes` a row, stay in cache.

    Where a member is cut depends on the member alone, so its bits do not depend on the others.
    """
    own = rows * hidden_bytes
    if own > TOGETHER:
        step = max(1, ALONE // hidden_bytes // 32) * 32
        for member in range(members):
            for start in range(0, rows, step):
                yield slice(member, member + 1), slice(start, min(start + step, rows))
    else:
        step = max(1, TOGETHER // max(1, own))
        for member in range(0, members, step):
            yield slice(member, min(member + step, members)), slice(0, rows)


class _StackedMlp(torch.autograd.Function):
    """The whole MLP as one node: x [member, row, width], weights with a leading member axis.

    The same products and activations as layer by layer, in an order in which each finds its
    operand where the last one left it: in cache.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "member row width"],
        entering: Float[Tensor, "member hidden width"],
        first: Float[Tensor, "member hidden"] | None,
        leaving: Float[Tensor, "member width hidden"],
        second: Float[Tensor, "member width"] | None,
        activation: Activation,
    ) -> Float[Tensor, "member row width"]:
        members, rows, _ = x.shape
        before = x.new_empty(members, rows, entering.shape[1])
        after, y = torch.empty_like(before), torch.empty_like(x)
        to_hidden, to_width = entering.transpose(1, 2), leaving.transpose(1, 2)
        for m, r in tiles(members, rows, entering.shape[1] * x.element_size()):
            hidden = torch.bmm(x[m, r], to_hidden[m], out=before[m, r])
            if first is not None:
                hidden.add_(first[m].unsqueeze(1))
            if activation == "relu":
                torch.clamp_min(hidden, 0, out=after[m, r])
            else:
                how = APPROXIMATE[activation]
                torch.ops.aten.gelu.out(hidden, approximate=how, out=after[m, r])
            torch.bmm(after[m, r], to_width[m], out=y[m, r])
            if second is not None:
                y[m, r].add_(second[m].unsqueeze(1))
        ctx.save_for_backward(x, entering, leaving, before, after)
        ctx.activation, ctx.biased = activation, first is not None
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, entering, leaving, before, after = ctx.saved_tensors
        members, rows, _ = x.shape
        to_x = torch.empty_like(x)
        sums = [torch.zeros_like(entering), torch.zeros_like(leaving)]
        biases = [x.new_zeros(members, entering.shape[1]), torch.zeros_like(x[:, 0])]
        for m, r in tiles(members, rows, entering.shape[1] * x.element_size()):
            above = gradient[m, r]
            to_after = torch.bmm(above, leaving[m])
            if ctx.activation == "relu":
                to_before = torch.ops.aten.threshold_backward(to_after, after[m, r], 0)
            else:
                how = APPROXIMATE[ctx.activation]
                to_before = torch.ops.aten.gelu_backward(to_after, before[m, r], approximate=how)
            sums[1][m].baddbmm_(above.transpose(1, 2), after[m, r])
            sums[0][m].baddbmm_(to_before.transpose(1, 2), x[m, r])
            torch.bmm(to_before, entering[m], out=to_x[m, r])
            if ctx.biased:
                biases[1][m] += above.sum(1)
                biases[0][m] += to_before.sum(1)
        if not ctx.biased:
            return to_x, sums[0], None, sums[1], None, None
        return to_x, sums[0], biases[0], sums[1], biases[1], None
