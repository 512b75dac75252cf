"""The MLP in tiles: it computes what its layers compute, and tiles cover every row once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call

from saltus.models import mlp
from saltus.models.mlp import Mlp, activate, tiles


@given(members=st.integers(1, 40), rows=st.integers(1, 5000), hidden=st.integers(1, 64))
def test_tiles_cover_every_row_of_every_member_once(members, rows, hidden):
    seen = torch.zeros(members, rows, dtype=torch.int64)
    cuts: dict[int, set] = {}
    for m, r in tiles(members, rows, hidden * 128):
        seen[m, r] += 1
        for member in range(members)[m]:
            cuts.setdefault(member, set()).add((r.start, r.stop))
    assert (seen == 1).all()
    # Where a member is cut does not depend on which member it is.
    assert all(own == cuts[0] for own in cuts.values())
    assert cuts[0] == {(r.start, r.stop) for _, r in tiles(1, rows, hidden * 128)}


@pytest.mark.parametrize("activation", ["gelu", "gelu-tanh", "relu"])
@pytest.mark.parametrize("together, alone", [(1 << 20, 1 << 19), (1 << 12, 1 << 11), (1 << 10, 64)])
def test_value_and_gradients_are_those_of_the_layers(monkeypatch, activation, together, alone):
    monkeypatch.setattr(mlp, "TOGETHER", together)
    monkeypatch.setattr(mlp, "ALONE", alone)
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    module = Mlp(6, 24, activation).double()
    x, upstream = draw(5, 9, 7, 6), draw(5, 9, 7, 6).detach()
    parameters = {name: draw(5, *value.shape) for name, value in module.named_parameters()}
    leaves = [x, *parameters.values()]
    y = functional_call(module, parameters, (x,))
    found = torch.autograd.grad(y, leaves, upstream)
    rows = x.flatten(1, 2)
    hidden = rows @ parameters["input.weight"].mT + parameters["input.bias"].unsqueeze(1)
    plain = activate(hidden, activation) @ parameters["output.weight"].mT
    plain = (plain + parameters["output.bias"].unsqueeze(1)).view_as(x)
    expected = torch.autograd.grad(plain, leaves, upstream)
    torch.testing.assert_close(y, plain, rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def test_a_member_has_the_same_bits_alone():
    module = Mlp(32, 128, "gelu")
    x = torch.randn(40, 64, 32)
    parameters = {n: torch.randn(40, *v.shape) for n, v in module.named_parameters()}
    together = functional_call(module, parameters, (x,))
    for member in (0, 17, 39):
        own = {name: value[member : member + 1] for name, value in parameters.items()}
        alone = functional_call(module, own, (x[member : member + 1],))
        assert torch.equal(alone[0], together[member])
