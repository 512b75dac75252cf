"""The kernels as functions of tensors; forward passes return what their backward passes want.

All tensors are float32 on the CPU. Weights are stacked over members, [members, ...], and may lie
apart, as the rows of an ensemble's buffer do; everything else is without gaps, or made so.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from saltus.kernels.build import library

ACTIVATIONS = ("gelu", "gelu-tanh", "relu")
Rows = Float[Tensor, "member row width"]
Pattern = Float[Tensor, "sample head query key"]


def linear(
    x: Rows, weights: Sequence[Tensor], biases: Sequence[Tensor | None]
) -> Float[Tensor, "member row outputs"]:
    """x W^T + b of [members, outputs, width] weights, side by side if there are several."""
    members, rows, width = x.shape
    pitch = sum(weight.shape[1] for weight in weights)
    y, begin = x.new_empty(members, rows, pitch), 0
    for weight, bias in zip(weights, biases, strict=True):
        weight, outputs = _dense(weight), weight.shape[1]
        _kernels().linear_forward(
            members, rows, width, outputs, pitch, weight.stride(0), _next(bias),
            _at(x), _at(weight), _at(bias), _at(y, begin),
        )  # fmt: skip
        begin += outputs
    return y


def linear_backward(
    x: Rows, weights: Sequence[Tensor], biased: bool, gradient: Tensor
) -> tuple[Tensor, list[Tensor], list[Tensor | None]]:
    """Gradients of x, the weights and the biases, for that of the output."""
    members, rows, width = x.shape
    pitch, begin = gradient.shape[-1], 0
    to_x, to_weights, to_biases = torch.empty_like(x), [], []
    for weight in weights:
        weight, outputs = _dense(weight), weight.shape[1]
        to_weight = x.new_empty(weight.shape)
        to_bias = x.new_empty(members, outputs) if biased else None
        _kernels().linear_backward(
            members, rows, width, outputs, pitch, weight.stride(0), begin > 0,
            _at(x), _at(weight), _at(gradient, begin), _at(to_x), _at(to_weight), _at(to_bias),
        )  # fmt: skip
        to_weights.append(to_weight)
        to_biases.append(to_bias)
        begin += outputs
    return to_x, to_weights, to_biases


def mlp(
    x: Rows, weights: tuple[Tensor, Tensor | None, Tensor, Tensor | None], activation: str
) -> tuple[Tensor, Tensor, Tensor]:
    """W_2 activation(W_1 x + b_1) + b_2 for (W_1, b_1, W_2, b_2); the activations, their slopes."""
    members, rows, width = x.shape
    (w1, b1, w2, b2), hidden = weights, weights[0].shape[1]
    w1, w2 = _dense(w1), _dense(w2)
    after = x.new_empty(members, rows, hidden)
    slope, y = torch.empty_like(after), torch.empty_like(x)
    _kernels().mlp_forward(
        members, rows, width, hidden, ACTIVATIONS.index(activation),
        w1.stride(0), _next(b1), w2.stride(0), _next(b2),
        _at(x), _at(w1), _at(b1), _at(w2), _at(b2), _at(after), _at(slope), _at(y),
    )  # fmt: skip
    return y, after, slope


def mlp_backward(
    x: Rows, w1: Tensor, w2: Tensor, biased: bool, after: Tensor, slope: Tensor, gradient: Rows
) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor | None]:
    """Gradients of x, W_1, b_1, W_2 and b_2."""
    members, rows, width = x.shape
    w1, w2, hidden = _dense(w1), _dense(w2), w1.shape[1]
    to_x, to_w1, to_w2 = torch.empty_like(x), x.new_empty(w1.shape), x.new_empty(w2.shape)
    to_b1 = x.new_empty(members, hidden) if biased else None
    to_b2 = x.new_empty(members, width) if biased else None
    scratch = x.new_empty(_kernels().mlp_scratch(hidden))
    _kernels().mlp_backward(
        members, rows, width, hidden, w1.stride(0), w2.stride(0),
        _at(x), _at(w1), _at(w2), _at(after), _at(slope), _at(gradient),
        _at(to_x), _at(to_w1), _at(to_b1), _at(to_w2), _at(to_b2), _at(scratch),
    )  # fmt: skip
    return to_x, to_w1, to_b1, to_w2, to_b2


def norm(
    x: Rows, weight: Tensor, bias: Tensor | None, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """LayerNorm; the rows' means and the reciprocals of their deviations."""
    members, rows, width = x.shape
    y, mean, scale = torch.empty_like(x), x.new_empty(members, rows), x.new_empty(members, rows)
    _kernels().norm_forward(
        members, rows, width, epsilon, weight.stride(0), _next(bias),
        _at(x), _at(weight), _at(bias), _at(mean), _at(scale), _at(y),
    )  # fmt: skip
    return y, mean, scale


def norm_backward(
    x: Rows, weight: Tensor, biased: bool, mean: Tensor, scale: Tensor, gradient: Rows
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradients of x, weight and bias."""
    members, rows, width = x.shape
    to_x, to_weight = torch.empty_like(x), x.new_zeros(weight.shape)
    to_bias = x.new_zeros(weight.shape) if biased else None
    _kernels().norm_backward(
        members, rows, width, weight.stride(0),
        _at(x), _at(weight), _at(mean), _at(scale), _at(gradient),
        _at(to_x), _at(to_weight), _at(to_bias),
    )  # fmt: skip
    return to_x, to_weight, to_bias


def attend(
    fused: Float[Tensor, "sample position 3 head own"], scale: float, causal: bool
) -> tuple[Float[Tensor, "sample position head own"], Pattern]:
    """softmax(scale Q K^T) V of `fused` = (Q, K, V), and the weights."""
    samples, positions, _, heads, own = fused.shape
    out = fused.new_empty(samples, positions, heads, own)
    pattern = fused.new_empty(samples, heads, positions, positions)
    _kernels().attention_forward(
        samples, positions, heads, own, causal, scale, _at(fused), _at(pattern), _at(out)
    )
    return out, pattern


def attend_backward(
    fused: Tensor, pattern: Pattern, scale: float, causal: bool, gradient: Tensor
) -> Float[Tensor, "sample position 3 head own"]:
    """The gradient of `fused`."""
    samples, positions, _, heads, own = fused.shape
    to_fused = torch.empty_like(fused)
    _kernels().attention_backward(
        samples, positions, heads, own, causal, scale,
        _at(fused), _at(pattern), _at(gradient), _at(to_fused),
    )  # fmt: skip
    return to_fused


def _kernels() -> ctypes.CDLL:
    found = library()
    assert found is not None  # `serve` has said so
    return found


def _dense(tensor: Tensor) -> Tensor:
    """Each member's own numbers without gaps; the members may lie apart."""
    return tensor if tensor[0].is_contiguous() else tensor.contiguous()


def _next(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.stride(0)


def _at(tensor: Tensor | None, begin: int = 0) -> int | None:
    """Where a tensor's number `begin` lies."""
    return None if tensor is None else tensor.data_ptr() + begin * tensor.element_size()
