"""The kernels as operators that `torch.compile` leaves whole, with their gradients.

A compiler fuses what stands between them and plans their memory. Outside it they would cost more
per call than the nodes of `nodes.py`, which is why there are both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from saltus.kernels import calls

Made = Callable[[Callable[..., Any]], torch.library.CustomOpDef]


def operator(name: str, schema: str) -> Made:
    """`saltus::name`, which changes none of its arguments. The schema is spelt out, since checked
    annotations cannot be read for one."""
    return torch.library.custom_op(f"saltus::{name}", mutates_args=(), schema=schema)


@operator("linear", "(Tensor x, Tensor[] weights, Tensor[] biases) -> Tensor")
def linear(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """As `LinearNode`; `biases` are as many as the weights, or none."""
    return calls.linear(x.contiguous(), weights, biases or [None] * len(weights))


@operator(
    "linear_backward", "(Tensor x, Tensor[] weights, bool biased, Tensor gradient) -> Tensor[]"
)
def linear_backward(
    x: Tensor, weights: Sequence[Tensor], biased: bool, gradient: Tensor
) -> list[Tensor]:
    """Gradients of x, the weights and, if there are any, the biases."""
    given = calls.linear_backward(x.contiguous(), weights, biased, gradient.contiguous())
    return [given[0], *given[1], *(bias for bias in given[2] if bias is not None)]


@linear.register_fake
def _(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    return x.new_empty(*x.shape[:2], sum(weight.shape[1] for weight in weights))


@linear_backward.register_fake
def _(x: Tensor, weights: Sequence[Tensor], biased: bool, gradient: Tensor) -> list[Tensor]:
    biases = [weight.new_empty(weight.shape[:2]) for weight in weights if biased]
    return [_dense_like(x), *map(_dense_like, weights), *biases]


def _keep_linear(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weights, biases = inputs
    ctx.save_for_backward(x, *weights)
    ctx.biased = len(biases) > 0


def _differentiate_linear(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    x, *weights = ctx.saved_tensors
    to_x, *others = linear_backward(x, weights, ctx.biased, gradient)
    return to_x, others[: len(weights)], others[len(weights) :]


linear.register_autograd(_differentiate_linear, setup_context=_keep_linear)


@operator("mlp", "(Tensor x, Tensor[] weights, str activation) -> (Tensor, Tensor, Tensor)")
def mlp(x: Tensor, weights: Sequence[Tensor], activation: str) -> tuple[Tensor, Tensor, Tensor]:
    """As `MlpNode`, with what its gradient needs; `weights` are W_1, W_2 and, if any, b_1, b_2."""
    w1, w2 = weights[:2]
    b1, b2 = weights[2:] or (None, None)
    return calls.mlp(x.contiguous(), (w1, b1, w2, b2), activation)


@operator(
    "mlp_backward",
    "(Tensor x, Tensor w1, Tensor w2, bool biased, Tensor after, Tensor slope, Tensor gradient) "
    "-> Tensor[]",
)
def mlp_backward(
    x: Tensor, w1: Tensor, w2: Tensor, biased: bool, after: Tensor, slope: Tensor, gradient: Tensor
) -> list[Tensor]:
    """Gradients of x, W_1, W_2 and, if there are any, b_1 and b_2."""
    kept = (x.contiguous(), w1, w2, biased, after, slope, gradient.contiguous())
    to_x, to_w1, to_b1, to_w2, to_b2 = calls.mlp_backward(*kept)
    return [to_x, to_w1, to_w2, *(bias for bias in (to_b1, to_b2) if bias is not None)]


@mlp.register_fake
def _(x: Tensor, weights: Sequence[Tensor], activation: str) -> tuple[Tensor, Tensor, Tensor]:
    hidden = x.new_empty(*x.shape[:2], weights[0].shape[1])
    return _dense_like(x), hidden, torch.empty_like(hidden)


@mlp_backward.register_fake
def _(
    x: Tensor, w1: Tensor, w2: Tensor, biased: bool, after: Tensor, slope: Tensor, gradient: Tensor
) -> list[Tensor]:
    biases = [weight.new_empty(weight.shape[:2]) for weight in (w1, w2) if biased]
    return [_dense_like(x), _dense_like(w1), _dense_like(w2), *biases]


def _keep_mlp(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, weights, _ = inputs
    ctx.save_for_backward(x, *weights[:2], *output[1:])
    ctx.biased = len(weights) > 2


def _differentiate_mlp(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Any, ...]:
    x, w1, w2, after, slope = ctx.saved_tensors
    to_x, *others = mlp_backward(x, w1, w2, ctx.biased, after, slope, gradient)
    return to_x, others, None


mlp.register_autograd(_differentiate_mlp, setup_context=_keep_mlp)


@operator("attend", "(Tensor fused, float scale, bool causal) -> (Tensor, Tensor)")
def attend(fused: Tensor, scale: float, causal: bool) -> tuple[Tensor, Tensor]:
    """As `AttentionNode`, with the weights."""
    return calls.attend(fused.contiguous(), scale, causal)


@operator(
    "attend_backward",
    "(Tensor fused, Tensor pattern, float scale, bool causal, Tensor gradient) -> Tensor",
)
def attend_backward(
    fused: Tensor, pattern: Tensor, scale: float, causal: bool, gradient: Tensor
) -> Tensor:
    """The gradient of `fused`."""
    return calls.attend_backward(fused.contiguous(), pattern, scale, causal, gradient.contiguous())


@attend.register_fake
def _(fused: Tensor, scale: float, causal: bool) -> tuple[Tensor, Tensor]:
    samples, positions, _, heads, own = fused.shape
    pattern = fused.new_empty(samples, heads, positions, positions)
    return fused.new_empty(samples, positions, heads, own), pattern


@attend_backward.register_fake
def _(fused: Tensor, pattern: Tensor, scale: float, causal: bool, gradient: Tensor) -> Tensor:
    return _dense_like(fused)


def _keep_attention(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    fused, ctx.scale, ctx.causal = inputs
    ctx.save_for_backward(fused, output[1])


def _differentiate_attention(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Any, ...]:
    fused, pattern = ctx.saved_tensors
    return attend_backward(fused, pattern, ctx.scale, ctx.causal, gradient), None, None


attend.register_autograd(_differentiate_attention, setup_context=_keep_attention)


def _dense_like(tensor: Tensor) -> Tensor:
    return tensor.new_empty(tensor.shape)
