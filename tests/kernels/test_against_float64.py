"""Outputs and gradients of every kernel against PyTorch's own rules in float64."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from saltus.kernels.nodes import AttentionNode, LinearNode, MlpNode, NormNode

# A fixture that only chooses a library may serve all examples of a property.
many = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
sizes = st.integers(1, 70)


def numbers(seed: int, *shapes: Sequence[int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator) * 0.5 for shape in shapes]


def compare(node: Callable[..., Tensor], rule: Callable[..., Tensor], values: list[Tensor]) -> None:
    """Output and all gradients within a few roundings of float32, relative to the largest."""
    ours = [value.clone().requires_grad_() for value in values]
    theirs = [value.double().requires_grad_() for value in values]
    y, exact = node(*ours), rule(*theirs)
    (above,) = numbers(9, y.shape)
    found = torch.autograd.grad(y, ours, above)
    expected = torch.autograd.grad(exact, theirs, above.double())
    for one, other in zip((y, *found), (exact, *expected), strict=True):
        assert one.shape == other.shape
        limit = 4e-6 * max(1.0, other.abs().max().item())
        assert (one.double() - other).abs().max() <= limit


@many
@given(st.integers(1, 3), sizes, sizes, st.lists(sizes, min_size=1, max_size=3), st.booleans())
def test_linear(
    kernels: ctypes.CDLL, members: int, rows: int, width: int, outputs: list[int], biased: bool
) -> None:
    count = len(outputs)
    x, *parts = numbers(
        rows, (members, rows, width), *[(members, out, width) for out in outputs],
        *[(members, out) for out in outputs if biased],
    )  # fmt: skip
    none = [] if biased else [None] * count

    def rule(x: Tensor, *parts: Tensor) -> Tensor:
        y = torch.cat([x @ weight.mT for weight in parts[:count]], -1)
        return y + torch.cat(parts[count:], -1).unsqueeze(1) if biased else y

    compare(lambda x, *parts: LinearNode.apply(x, count, *parts, *none), rule, [x, *parts])


@pytest.mark.parametrize(("rows", "width", "outputs"), [(9, 300, 33), (300, 5, 31), (8, 256, 32)])
def test_linear_deeper_than_a_panel(
    kernels: ctypes.CDLL, rows: int, width: int, outputs: int
) -> None:
    values = numbers(1, (2, rows, width), (2, outputs, width))
    compare(lambda x, w: LinearNode.apply(x, 1, w, None), lambda x, w: x @ w.mT, values)


@many
@given(
    st.integers(1, 3), sizes, st.integers(1, 40), sizes, st.booleans(),
    st.sampled_from(["gelu", "gelu-tanh", "relu"]),
)  # fmt: skip
def test_mlp(
    kernels: ctypes.CDLL, members: int, rows: int, width: int, hidden: int, biased: bool, how: str
) -> None:
    mlp_against_rule(members, rows, width, hidden, biased, how)


@pytest.mark.parametrize("how", ["gelu", "gelu-tanh", "relu"])
def test_mlp_of_several_tiles(kernels: ctypes.CDLL, how: str) -> None:
    mlp_against_rule(2, 150, 24, 520, True, how)


def mlp_against_rule(
    members: int, rows: int, width: int, hidden: int, biased: bool, how: str
) -> None:
    values = numbers(
        hidden, (members, rows, width), (members, hidden, width), (members, width, hidden),
        *([(members, hidden), (members, width)] if biased else []),
    )  # fmt: skip

    def node(x: Tensor, w1: Tensor, w2: Tensor, *biases: Tensor) -> Tensor:
        b1, b2 = biases or (None, None)
        return MlpNode.apply(x, w1, b1, w2, b2, how)

    def rule(x: Tensor, w1: Tensor, w2: Tensor, *biases: Tensor) -> Tensor:
        first, second = (bias.unsqueeze(1) for bias in biases) if biases else (0, 0)
        before = x @ w1.mT + first
        # The slope of ReLU at a number that rounding moves over 0 is nobody's fault.
        approximate = "tanh" if how == "gelu-tanh" else "none"
        after = before.relu() if how == "relu" else F.gelu(before, approximate=approximate)
        return after @ w2.mT + second

    compare(node, rule, values)


@many
@given(st.integers(1, 3), sizes, st.integers(2, 70), st.booleans())
def test_norm(kernels: ctypes.CDLL, members: int, rows: int, width: int, biased: bool) -> None:
    values = numbers(width, (members, rows, width), (members, width), *[(members, width)] * biased)

    def rule(x: Tensor, weight: Tensor, *bias: Tensor) -> Tensor:
        y = F.layer_norm(x, x.shape[-1:], eps=1e-3) * weight.unsqueeze(1)
        return y + bias[0].unsqueeze(1) if bias else y

    compare(lambda x, w, *b: NormNode.apply(x, w, b[0] if b else None, 1e-3), rule, values)


@many
@given(st.integers(1, 4), st.integers(1, 64), st.integers(1, 5), st.integers(1, 40), st.booleans())
def test_attention(
    kernels: ctypes.CDLL, samples: int, positions: int, heads: int, own: int, causal: bool
) -> None:
    (fused,) = numbers(positions, (samples, positions, 3, heads, own))

    def rule(fused: Tensor) -> Tensor:
        query, key, value = fused.permute(2, 0, 3, 1, 4)
        logits = query @ key.mT * 0.7
        if causal:
            future = torch.ones(positions, positions, dtype=torch.bool).triu(1)
            logits = logits.masked_fill(future, -torch.inf)
        return (logits.softmax(-1) @ value).transpose(1, 2)

    compare(lambda fused: AttentionNode.apply(fused, 0.7, causal), rule, [fused])


@pytest.mark.parametrize("how", ["gelu", "gelu-tanh", "relu"])
def test_activations_over_the_whole_line(kernels: ctypes.CDLL, how: str) -> None:
    """Through weights of 1: from the far tails over the smallest numbers, value and slope."""
    line = torch.cat([torch.linspace(-20, 20, 4001), torch.logspace(-38, 30, 500)])
    line = torch.cat([line, -line]).unsqueeze(0).unsqueeze(-1)
    one, x = torch.ones(1, 1, 1), line.clone().requires_grad_()
    y = MlpNode.apply(x, one, None, one, None, how)
    (slope,) = torch.autograd.grad(y.sum(), x)
    exact = line.double().requires_grad_()
    approximate = "tanh" if how == "gelu-tanh" else "none"
    rule = exact.relu() if how == "relu" else F.gelu(exact, approximate=approximate)
    (steep,) = torch.autograd.grad(rule.sum(), exact)
    assert ((y.double() - rule) / line.double().abs().clamp(min=1)).abs().max() < 2e-7
    assert (slope.double() - steep).abs().max() < 4e-7
