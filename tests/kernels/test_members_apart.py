"""Member k's bits depend on neither its neighbours nor the place where it lies in memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from saltus.errors import SaltusError
from saltus.kernels.nodes import AttentionNode, LinearNode, MlpNode, NormNode

Node = Callable[..., Tensor]
NODES: dict[str, tuple[Node, list[tuple[int, ...]]]] = {
    "linear": (lambda x, w, b: LinearNode.apply(x, 1, w, b), [(7, 5), (9, 5), (9,)]),
    "mlp": (
        lambda x, *parts: MlpNode.apply(x, *parts, "gelu"),
        [(7, 5), (11, 5), (11,), (5, 11), (5,)],
    ),
    "norm": (lambda x, w, b: NormNode.apply(x, w, b, 1e-5), [(7, 13), (13,), (13,)]),
    "attention": (lambda fused: AttentionNode.apply(fused, 0.3, True), [(7, 3, 2, 5)]),
}


def with_gradients(node: Node, values: list[Tensor]) -> list[Tensor]:
    leaves = [value.detach().requires_grad_() for value in values]
    y = node(*leaves)
    return [y.detach(), *torch.autograd.grad(y.square().sum(), leaves)]


def shifted(value: Tensor, by: int) -> Tensor:
    """The same numbers `by` places further on in memory."""
    room = torch.zeros(value.numel() + by)
    room[by:] = value.flatten()
    return room[by:].view(value.shape)


@pytest.mark.parametrize("kind", NODES)
@pytest.mark.parametrize("members", [2, 5])
def test_alone_and_in_a_stack(kernels: ctypes.CDLL, kind: str, members: int) -> None:
    node, shapes = NODES[kind]
    generator = torch.Generator().manual_seed(3)
    values = [torch.randn(members, *shape, generator=generator) for shape in shapes]
    together = with_gradients(node, values)
    for k in range(members):
        alone = with_gradients(node, [shifted(value[k : k + 1], k + 1) for value in values])
        for one, other in zip(alone, together, strict=True):
            assert torch.equal(one[0], other[k])


@pytest.mark.parametrize("kind", ["linear", "mlp", "norm"])
def test_weights_that_are_rows_of_a_buffer(kernels: ctypes.CDLL, kind: str) -> None:
    """As an ensemble has them: member after member, with other parameters between."""
    node, shapes = NODES[kind]
    generator = torch.Generator().manual_seed(4)
    values = [torch.randn(3, *shape, generator=generator) for shape in shapes]
    apart = [values[0]]
    for value in values[1:]:
        buffer = torch.full((3, value[0].numel() + 6), torch.nan)
        buffer[:, 4:-2] = value.flatten(1)
        apart.append(buffer[:, 4:-2].view(value.shape))
    found, expected = with_gradients(node, apart), with_gradients(node, values)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", NODES)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_stays_with_its_member(
    kernels: ctypes.CDLL, kind: str, bad: float
) -> None:
    node, shapes = NODES[kind]
    generator = torch.Generator().manual_seed(5)
    values = [torch.randn(3, *shape, generator=generator) for shape in shapes]
    clean = with_gradients(node, values)
    values[0][1].view(-1)[3] = bad
    found = with_gradients(node, values)
    assert not found[0][1].isfinite().all()
    for one, other in zip(found, clean, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[2], other[2])


@pytest.mark.parametrize("kind", NODES)
def test_there_is_no_silent_second_derivative(kernels: ctypes.CDLL, kind: str) -> None:
    node, shapes = NODES[kind]
    leaves = [torch.ones(1, *shape).requires_grad_() for shape in shapes]
    with pytest.raises(SaltusError, match="allowed for more: SALTUS_KERNELS=off"):
        torch.autograd.grad(node(*leaves).sum(), leaves, create_graph=True)
