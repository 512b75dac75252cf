"""Attention against a float64 reference with explicit loops, and its derivative."""

from math import exp, sqrt

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saltus.models.attention import FUSED_FROM, Attention
from saltus.models.normalisers import Linear, Normaliser, Softmax, _SmallSoftmax
from saltus.models.sites import SILENT, Tape

LENGTHS = [1, 2, 5, FUSED_FROM - 1, FUSED_FROM, FUSED_FROM + 7]


def attention(width=6, heads=2, causal=True, normaliser="softmax", bias=True):
    module = Attention(width, heads, causal, Normaliser.parse(normaliser), bias).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return module


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("normaliser", ["softmax", "linear"])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_attention_is_the_one_written_with_loops(length, normaliser, causal, bias):
    module = attention(6, 2, causal, normaliser, bias)
    x = torch.randn(length, 6, dtype=torch.float64)
    expected, patterns = looped(module, x)
    torch.testing.assert_close(module(x, SILENT, "a"), expected)
    tape = Tape(["a.pattern"])
    torch.testing.assert_close(module(x, tape, "a"), expected)
    torch.testing.assert_close(tape.values["a.pattern"], patterns)


def looped(module, x):
    """Section 7.1 of the spec, one number at a time."""
    length, width = x.shape
    depth = width // module.heads

    def project(part, row):
        bias = part.bias.tolist() if part.bias is not None else [0.0] * width
        return [
            sum(part.weight[o, i].item() * row[i] for i in range(width)) + bias[o]
            for o in range(width)
        ]

    rows = x.tolist()
    query, key, value = (
        [project(part, row) for row in rows] for part in (module.query, module.key, module.value)
    )
    mixed = [[0.0] * width for _ in rows]
    patterns = torch.zeros(module.heads, length, length, dtype=torch.float64)
    for head in range(module.heads):
        own = range(head * depth, (head + 1) * depth)
        for i in range(length):
            seen = range(i + 1) if module.causal else range(length)
            scores = [sum(query[i][c] * key[j][c] for c in own) / sqrt(depth) for j in seen]
            if module.normaliser.kind == "softmax":
                total = sum(exp(score) for score in scores)
                scores = [exp(score) / total for score in scores]
            for j, weight in zip(seen, scores, strict=True):
                patterns[head, i, j] = weight
                for c in own:
                    mixed[i][c] += weight * value[j][c]
    outputs = [project(module.output, row) for row in mixed]
    return torch.tensor(outputs, dtype=torch.float64), patterns


@given(rows=st.integers(1, 5), length=st.integers(1, FUSED_FROM), scale=st.floats(0, 300))
def test_the_small_softmax_is_softmax(rows, length, scale):
    scores = torch.randn(2, rows, length, dtype=torch.float64) * scale
    torch.testing.assert_close(_SmallSoftmax.apply(scores, None), scores.softmax(-1))


def test_the_small_softmax_has_its_derivative():
    scores = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(_SmallSoftmax.apply, (scores, None))
    masked = torch.tensor([False, True, False, False, True])
    assert torch.autograd.gradcheck(_SmallSoftmax.apply, (scores, masked))
    expected = scores.masked_fill(masked, float("-inf")).softmax(-1)
    torch.testing.assert_close(_SmallSoftmax.apply(scores, masked), expected)


@pytest.mark.parametrize("length", [4, FUSED_FROM + 1])
@pytest.mark.parametrize("normaliser", ["softmax", "linear"])
def test_attention_has_its_derivative(length, normaliser):
    module = attention(4, 2, True, normaliser)
    x = torch.randn(length, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: module(x, SILENT, "a"), (x,))


@pytest.mark.parametrize("length", [3, FUSED_FROM, FUSED_FROM + 5])
@pytest.mark.parametrize("causal", [True, False])
def test_a_softmax_pattern_is_a_distribution_over_what_may_be_seen(length, causal):
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    pattern = Softmax().weights(torch.randn(2, 3, length, length), future if causal else None)
    torch.testing.assert_close(pattern.sum(-1), torch.ones(2, 3, length))
    assert (pattern >= 0).all()
    assert not causal or (pattern[..., future] == 0).all()


@pytest.mark.parametrize("causal", [True, False])
def test_a_linear_pattern_is_the_scores_themselves(causal):
    scores = torch.randn(2, 3, 5, 5)
    future = torch.ones(5, 5, dtype=torch.bool).triu(1) if causal else None
    assert Linear().weights(scores, future).equal(scores.tril() if causal else scores)


@pytest.mark.parametrize("length", [4, FUSED_FROM + 3])
def test_softmax_ignores_a_shift_of_a_row(length):
    scores, shift = torch.randn(2, length, length).double(), torch.randn(2, length, 1).double()
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    moved = Softmax().weights(scores + shift, future)
    torch.testing.assert_close(moved, Softmax().weights(scores, future))
