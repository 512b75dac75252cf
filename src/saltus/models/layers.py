"""Layers that work for one model and for a stack of models alike.

A parameter with one leading axis more than usual holds K members; the activations then carry the
same leading axis, and each member is multiplied by its own weights in one batched product. So a
plain `nn.Module` built of these layers is an ensemble as soon as its parameters are stacked
(`torch.func.functional_call`), with no vmap and none of vmap's overhead, and member k's numbers
do not depend on K.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saltus import kernels
from saltus.errors import SaltusError


class Linear(nn.Module):
    """x W^T + b over the last axis; `weight` is [out, in] or [members, out, in]."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


# Numbers of a member from which calls of its own are faster than passes over the whole stack.
APART = 1 << 15


class LayerNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last axis.

    A stack of members has a kernel of ours where it can be had. The library's knows one weight: a
    stack of large members calls it for each, since it gives the gradients of weight and bias in the
    pass that gives x's; a stack of small ones is normalised at once, and scaled after. Which it is
    depends on a member's own size alone.

    With eps 0 it divides by the deviation itself, which theory likes, and a constant vector has no
    norm: NaN.
    """

    def __init__(self, width: int, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.empty(width)) if bias else None
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.ndim == 1:
            return self.kernel(x, self.weight, self.bias)
        members = len(self.weight)
        if kernels.serve_norm(x):
            rows = x.reshape(members, -1, x.shape[-1])
            return kernels.norm(rows, self.weight, self.bias, self.eps).view(x.shape)
        if x.numel() < APART * members or torch.compiler.is_compiling():
            normal = F.layer_norm(x, x.shape[-1:], eps=self.eps)
            if self.bias is None:
                return normal * spread(self.weight, x)
            return torch.addcmul(spread(self.bias, x), normal, spread(self.weight, x))
        if members == 1:  # without the copies of a stack
            bias = None if self.bias is None else self.bias.squeeze(0)
            return self.kernel(x.squeeze(0), self.weight.squeeze(0), bias).unsqueeze(0)
        biases = [None] * members if self.bias is None else self.bias.unbind()
        each = zip(x.unbind(), self.weight.unbind(), biases, strict=True)
        return torch.stack([self.kernel(*own) for own in each])

    def kernel(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The norm of one model."""
        return F.layer_norm(x, x.shape[-1:], weight, bias, self.eps)


class Embedding(nn.Module):
    """Rows of a table, `weight` [entries, width] or [members, entries, width].

    The entry `silent`, if there is one, is the zero vector and never learns.
    """

    def __init__(self, entries: int, width: int, silent: int | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(entries, width))
        self.silent = silent

    def forward(self, index: Tensor) -> Tensor:
        found = self.rows(index)
        if self.silent is None:
            return found
        # A product: filling by a mask of another shape is several times slower.
        return found * (index != self.silent).unsqueeze(-1).to(found.dtype)

    def rows(self, index: Tensor) -> Tensor:
        if self.weight.ndim == 2:
            return F.embedding(index, self.weight)
        # One table of all members: member k's rows start at k * entries.
        members, entries, width = self.weight.shape
        start = torch.arange(members, device=index.device) * entries
        shifted = index + start.view(-1, *[1] * (index.ndim - 1))
        return F.embedding(shifted, self.weight.reshape(members * entries, width))


class Positions(nn.Module):
    """Adds learned position rows to [..., position, width]."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(length, width))

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2] > self.weight.shape[-2]:
            raise SaltusError(
                f"an input of {x.shape[-2]} positions is longer than the model's table of "
                f"{self.weight.shape[-2]}; allowed: model.positions of at least that many"
            )
        rows = self.weight[..., : x.shape[-2], :]
        return x + (rows if rows.ndim == 2 else spread(rows, x))


def side_by_side(x: Tensor, layers: Sequence[Linear]) -> Tensor:
    """What several layers make of the same x, one behind the other in the last axis."""
    weights: list[Tensor] = [layer.weight for layer in layers]
    biases: list[Tensor] = [layer.bias for layer in layers if layer.bias is not None]
    if all(kernels.serve_product(x, weight) for weight in weights):
        return _product(x, weights, biases or [None] * len(weights))
    return linear(x, torch.cat(weights, dim=-2), torch.cat(biases, dim=-1) if biases else None)


def _product(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> Tensor:
    flat = x.reshape(len(x), -1, x.shape[-1])
    return kernels.linear(flat, weights, biases).view(*x.shape[:-1], -1)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., in] times weight [out, in]^T, or x [members, ..., in] times [members, out, in]^T.

    One output is a sum: the library's product of one column is slower, and takes another path for
    one member than for several, with other last bits.
    """
    if weight.shape[-2] == 1:
        found = (x * (weight if weight.ndim == 2 else spread(weight, x))).sum(-1, keepdim=True)
        return found if bias is None else found + (bias if bias.ndim == 1 else spread(bias, found))
    if weight.ndim == 2:
        return F.linear(x, weight, bias)
    if kernels.serve_product(x, weight):
        return _product(x, [weight], [bias])
    if x.device.type in ("cpu", "cuda") and torch.is_autocast_enabled(x.device.type):
        # Here and not in the node, whose backward pass runs where nothing is cast any more.
        lower = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(lower), weight.to(lower)
        bias = None if bias is None else bias.to(lower)
    members, outputs, inputs = weight.shape
    flat = _StackedLinear.apply(x.reshape(members, -1, inputs), weight, bias)
    return flat.view(*x.shape[:-1], outputs)


class _StackedLinear(torch.autograd.Function):
    """x [members, rows, in], weight [members, out, in], bias [members, out] or None.

    Written out because autograd's own rule gives the weight's gradient transposed, to be copied
    once more, and keeps five nodes where one will do.
    """

    # `setup_context` would let functorch transform this, at 100 us a call; a stack needs no vmap.
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        y = torch.bmm(x, weight.transpose(1, 2))
        # bmm then add: baddbmm is slower on the CPU.
        return y if bias is None else y.add_(bias.unsqueeze(1))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        to_x = torch.bmm(gradient, weight)
        to_weight = torch.bmm(gradient.transpose(1, 2), x)
        return to_x, to_weight, gradient.sum(1) if ctx.biased else None


def spread(stacked: Tensor, like: Tensor) -> Tensor:
    """[members, *tail] -> [members, 1, ..., 1, *tail] with as many axes as `like`."""
    members, *tail = stacked.shape
    return stacked.view(members, *[1] * (like.ndim - 1 - len(tail)), *tail)
