"""The kernels as nodes of autograd's graph, differentiable once.

`setup_context` would let functorch transform them, at 100 us a call; a stack needs no vmap.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from saltus.errors import SaltusError
from saltus.kernels import calls


class LinearNode(Function):
    """x [members, rows, in] times the `count` weights that follow, side by side, plus biases:
    (x, count, *weights, *biases), each bias None or none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, count: int, *parts: Tensor | None) -> Tensor:
        x, weights, biases = x.contiguous(), parts[:count], parts[count:]
        ctx.save_for_backward(x, *weights)
        ctx.biased = biases[0] is not None
        return calls.linear(x, weights, biases)  # pyright: ignore[reportArgumentType]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        forbid_second_derivatives()
        x, *weights = ctx.saved_tensors
        found = calls.linear_backward(x, weights, ctx.biased, gradient.contiguous())
        to_x, to_weights, to_biases = found
        return to_x, None, *to_weights, *to_biases


class MlpNode(Function):
    """(x, W_1, b_1, W_2, b_2, activation) to W_2 activation(W_1 x + b_1) + b_2."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parts: Any) -> Tensor:
        *weights, activation = parts
        x = x.contiguous()
        y, after, slope = calls.mlp(x, tuple(weights), activation)
        ctx.save_for_backward(x, weights[0], weights[2], after, slope)
        ctx.biased = weights[1] is not None
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        forbid_second_derivatives()
        x, w1, w2, after, slope = ctx.saved_tensors
        gradient = gradient.contiguous()
        return *calls.mlp_backward(x, w1, w2, ctx.biased, after, slope, gradient), None


class NormNode(Function):
    """(x, weight, bias, epsilon) to LayerNorm over the last axis of [members, rows, width]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, epsilon: float) -> Tensor:
        x = x.contiguous()
        y, mean, scale = calls.norm(x, weight, bias, epsilon)
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.biased = bias is not None
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        forbid_second_derivatives()
        x, weight, mean, scale = ctx.saved_tensors
        gradient = gradient.contiguous()
        return *calls.norm_backward(x, weight, ctx.biased, mean, scale, gradient), None


class AttentionNode(Function):
    """(fused, scale, causal): `fused` [samples, positions, 3, heads, own] to softmax attention's
    heads [samples, positions, heads, own]."""

    @staticmethod
    def forward(ctx: Any, fused: Tensor, scale: float, causal: bool) -> Tensor:
        fused = fused.contiguous()
        heads, pattern = calls.attend(fused, scale, causal)
        ctx.save_for_backward(fused, pattern)
        ctx.scale, ctx.causal = scale, causal
        return heads

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        forbid_second_derivatives()
        fused, pattern = ctx.saved_tensors
        above = gradient.contiguous()
        return calls.attend_backward(fused, pattern, ctx.scale, ctx.causal, above), None, None


def forbid_second_derivatives() -> None:
    """PyTorch's own mark for this, `once_differentiable`, leaves what went through a kernel out of
    a second derivative without a word."""
    if torch.is_grad_enabled():  # a backward pass is only recorded for one more
        raise SaltusError(
            "kernels in C have first derivatives only; allowed for more: SALTUS_KERNELS=off"
        )
