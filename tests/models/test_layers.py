"""Layers of a stack are the layers of its members, one by one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call

from saltus.models import layers
from saltus.models.layers import Embedding, LayerNorm, linear

# Numbers of a member: below the size from which each is normalised in calls of its own, and above.
SIZES = {"small": (2, 5, 16), "large": (32, 32, 64)}


def normed(x, weight, bias):
    """The layer's outputs, and the gradients of a weighted sum of them for x, weight and bias."""
    module = LayerNorm(x.shape[-1])
    inputs = [part.clone().requires_grad_() for part in (x, weight, bias)]
    y = functional_call(module, {"weight": inputs[1], "bias": inputs[2]}, (inputs[0],))
    own = y.shape[-3:]  # of one member
    slope = torch.linspace(-1, 1, own.numel()).view(own).expand(y.shape)
    return y, *torch.autograd.grad(y, inputs, slope)


def stack(members, shape):
    return torch.randn(members, *shape), *torch.randn(2, members, shape[-1])


@pytest.mark.parametrize("size", SIZES)
def test_a_stacked_layer_norm_is_the_librarys_on_each_member(size):
    x, weight, bias = stack(3, SIZES[size])
    found = normed(x, weight, bias)
    for k in range(3):
        for together, alone in zip(found, normed(x[k], weight[k], bias[k]), strict=True):
            torch.testing.assert_close(together[k], alone, rtol=1e-5, atol=2e-4)


@settings(max_examples=20)
@given(data=st.data())
def test_a_members_norm_does_not_depend_on_who_is_beside_it(data):
    # Odd batches too: a norm goes row by row, so a ragged stack rounds no differently.
    batch, width = data.draw(st.integers(1, 48)), data.draw(st.sampled_from([16, 32, 64]))
    x, weight, bias = stack(data.draw(st.integers(2, 5)), (batch, 32, width))
    k = data.draw(st.integers(0, len(x) - 1))
    together = normed(x, weight, bias)
    alone = normed(x[k : k + 1], weight[k : k + 1], bias[k : k + 1])
    assert all(torch.equal(a[k : k + 1], b) for a, b in zip(together, alone, strict=True))


@pytest.mark.parametrize("members", [1, 3])
def test_the_slopes_of_large_members_are_exact(monkeypatch, members):
    monkeypatch.setattr(layers, "APART", 0)
    x, weight, bias = (part.double().requires_grad_() for part in stack(members, (2, 3, 5)))
    module = LayerNorm(5).double()

    def norm(x, weight, bias):
        return functional_call(module, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(norm, (x, weight, bias))
    assert torch.autograd.gradgradcheck(norm, (x, weight, bias))


@pytest.mark.parametrize("biased", [True, False])
def test_a_stacked_product_in_bfloat16_is_the_librarys_and_has_a_gradient(biased):
    x, weight, bias = torch.randn(2, 4, 8), torch.randn(2, 5, 8), torch.randn(2, 5)
    inputs = [part.requires_grad_() for part in (x, weight, bias)[: 2 + biased]]
    with torch.autocast("cpu", torch.bfloat16):
        together = linear(*inputs)
        apart = torch.stack([F.linear(*own) for own in zip(*inputs, strict=True)])
    assert together.dtype == torch.bfloat16
    torch.testing.assert_close(together, apart, rtol=0.02, atol=0.05)
    # Where training differentiates, nothing is cast any more.
    slopes = [torch.autograd.grad(y.float().square().sum(), inputs) for y in (together, apart)]
    for mine, theirs in zip(*slopes, strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, theirs, rtol=0.05, atol=0.5)


@pytest.mark.parametrize("members", [0, 1, 3], ids=["one model", "stack of 1", "stack of 3"])
def test_a_silent_entry_is_zero_and_never_learns_whatever_the_table_holds(members):
    lead = (members,) if members else ()
    table = torch.randn(*lead, 4, 6, requires_grad=True)
    index = torch.tensor([[0, 1, 2], [3, 2, 0]]).expand(*lead, 2, 3)
    found = functional_call(Embedding(4, 6, silent=2), {"weight": table}, (index,))
    assert found[index == 2].count_nonzero() == 0
    (slope,) = torch.autograd.grad(found.sum(), table)
    times_looked_up = torch.tensor([2.0, 1.0, 0.0, 1.0]).unsqueeze(-1)
    assert torch.equal(slope, times_looked_up.expand_as(slope))
