"""`torch.compile` keeps the kernels whole: the same operators, bits and gradients."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from saltus import kernels
from saltus.kernels import ops

pytestmark = pytest.mark.skipif(not kernels.are_there(), reason="no C compiler here")


def numbers(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(*shape, generator=generator).requires_grad_() for shape in shapes]


X, W1, W2, B1, B2 = (2, 6, 8), (2, 12, 8), (2, 8, 12), (2, 12), (2, 8)
CASES: dict[str, tuple[Any, Callable[..., tuple[Any, ...]], list[tuple[int, ...]]]] = {
    "linear": (ops.linear, lambda x, w, b: (x, [w], [b]), [X, W1, B1]),
    "linear, no bias": (ops.linear, lambda x, v, w: (x, [v, w], []), [X, W1, W1]),
    "mlp": (ops.mlp, lambda x, *parts: (x, list(parts), "gelu"), [X, W1, W2, B1, B2]),
    "mlp, no bias": (ops.mlp, lambda x, *parts: (x, list(parts), "relu"), [X, W1, W2]),
    "attention": (ops.attend, lambda fused: (fused, 0.5, True), [(3, 6, 3, 2, 4)]),
}


@pytest.mark.parametrize("name", CASES)
def test_the_operators_are_what_they_say(name: str) -> None:
    """Schema, shapes without numbers, and gradients, by PyTorch's own check of operators."""
    operator, arguments, shapes = CASES[name]
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(operator, arguments(*numbers(*shapes)), test_utils=checks)


BLOCK = """
import torch
from saltus import kernels
from saltus.kernels import nodes

def block(x, w, w1, b1, w2, b2):
    fused = kernels.linear(x, [w, w, w], [None] * 3).view(2, 6, 3, 2, 4)
    heads = kernels.attend(fused, 0.5, True).reshape(2, 6, 8)
    return kernels.mlp(heads, w1, b1, w2, b2, "gelu-tanh")

def with_gradients(function):
    y = function(*leaves)
    return [y, *torch.autograd.grad(y.square().sum(), leaves)]

kernels.are_there()
shapes = [(2, 6, 8), (2, 8, 8), (2, 12, 8), (2, 12), (2, 8, 12), (2, 8)]
leaves = [torch.randn(*shape).requires_grad_() for shape in shapes]
expected = with_gradients(block)
for node in (nodes.LinearNode, nodes.MlpNode, nodes.AttentionNode):
    node.forward = None  # a compiled graph has none
found = with_gradients(torch.compile(block, backend="aot_eager", fullgraph=True, dynamic=False))
print(all(torch.equal(one, other) for one, other in zip(found, expected)))
"""


def test_a_compiled_block_has_the_bits_of_the_nodes() -> None:
    """In a process of its own, since annotations that are checked cannot be traced."""
    done = subprocess.run([sys.executable, "-c", BLOCK], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
