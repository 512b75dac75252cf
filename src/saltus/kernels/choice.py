"""When the kernels are used, and how: as nodes, or under `torch.compile` as operators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor

from saltus.kernels import ops
from saltus.kernels.build import library
from saltus.kernels.nodes import AttentionNode, LinearNode, MlpNode, NormNode

# Numbers of a weight from which a library's product is the faster one (docs/speed.md).
LARGEST = 1 << 16
LONGEST, WIDEST = 64, 128  # positions, and numbers of a head: as in attention.c


def serve(*tensors: Tensor) -> bool:
    """Whether the kernels take these: float32 on a CPU for which they could be compiled, and not
    where autocast asks for less."""
    fitting = all(one.dtype == torch.float32 and one.device.type == "cpu" for one in tensors)
    return fitting and not torch.is_autocast_enabled("cpu") and are_there()


_found: list[bool] = []


def are_there() -> bool:
    """Whether this machine has the kernels. Ask once before `torch.compile` traces what asks."""
    if not _found:
        _found.append(library() is not None)
    return _found[0]


def describe() -> str:
    """Which products this process computes with: 'C, vectors of 16' or 'PyTorch'."""
    found = library() if are_there() else None
    return "PyTorch" if found is None else f"C, vectors of {found.lanes()}"


@contextmanager
def switched_off() -> Iterator[None]:
    """Within, everything is computed as on a machine without a C compiler."""
    before = are_there()
    _found[0] = False
    try:
        yield
    finally:
        _found[0] = before


@contextmanager
def as_begun(products: str | None) -> Iterator[None]:
    """Within, what was begun with PyTorch's products goes on with them, to the same bits.

    `products` is what `describe` said then, None before there were kernels. What was begun with
    kernels has those of this machine.
    """
    with switched_off() if products in (None, "PyTorch") else nullcontext():
        yield


def serve_product(x: Tensor, weight: Tensor) -> bool:
    """Whether the kernels take a product with a stacked weight, and should: it is a small one."""
    return weight.ndim == 3 and weight[0].numel() <= LARGEST and serve(x, weight)


def serve_norm(x: Tensor) -> bool:
    """Whether the kernels take LayerNorm of a stack; a compiler fuses it with its neighbours."""
    return not torch.compiler.is_compiling() and serve(x)


def serve_attention(fused: Tensor) -> bool:
    """Whether the kernels take [..., position, 3, head, own]."""
    return fused.shape[-4] <= LONGEST and fused.shape[-1] <= WIDEST and serve(fused)


def linear(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> Tensor:
    """x [members, rows, in] times each of the weights [members, out, in], plus its bias, side by
    side: [members, rows, sum of out]. Biases are all there, or all None."""
    if torch.compiler.is_compiling():
        return ops.linear(x, list(weights), [bias for bias in biases if bias is not None])
    return LinearNode.apply(x, len(weights), *weights, *biases)


def mlp(
    x: Tensor, w1: Tensor, b1: Tensor | None, w2: Tensor, b2: Tensor | None, activation: str
) -> Tensor:
    """W_2 activation(W_1 x + b_1) + b_2 over [members, rows, width]."""
    if torch.compiler.is_compiling():
        biases = [] if b1 is None or b2 is None else [b1, b2]
        return ops.mlp(x, [w1, w2, *biases], activation)[0]
    return MlpNode.apply(x, w1, b1, w2, b2, activation)


def norm(x: Tensor, weight: Tensor, bias: Tensor | None, epsilon: float) -> Tensor:
    """LayerNorm over the last axis of [members, rows, width]."""
    return NormNode.apply(x, weight, bias, epsilon)


def attend(fused: Tensor, scale: float, causal: bool) -> Tensor:
    """softmax(scale Q K^T) V of [samples, positions, (Q, K, V), heads, own]:
    [samples, positions, heads, own]."""
    if torch.compiler.is_compiling():
        return ops.attend(fused, scale, causal)[0]
    return AttentionNode.apply(fused, scale, causal)
