"""Convolutions and feature maps that serve one model and a stack of models alike."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from saltus.models.base import Start
from saltus.models.sites import Tape

BYTES = 64  # a cache line: what an allocation is aligned to


class Convolution(nn.Module):
    """A square filter over [..., batch, channel, height, width], without bias, padded by side // 2.

    `weight` is [out, in, side, side], or [members, out, in, side, side] for inputs that lead with
    a member axis. A side of n becomes ceil(n / stride) for odd filters, so any image fits.
    """

    def __init__(self, inputs: int, outputs: int, side: int, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, side, side))
        self.stride, self.padding = stride, side // 2

    def forward(
        self, x: Float[Tensor, "*batch inputs height width"]
    ) -> Float[Tensor, "*batch outputs high wide"]:
        if self.weight.ndim == 4:
            return self.kernel(x, self.weight)
        return apart(self.kernel, x, self.weight)

    def kernel(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, None, self.stride, self.padding)


def apart(kernel: Callable[..., Tensor], x: Tensor, *stacked: Tensor) -> Tensor:
    """A library's kernel for each member by itself: kernel(x[k], *(part[k] for part in stacked)).

    A grouped convolution may take another algorithm for another number of groups, with other last
    bits, and is no faster; unfolding into one batched product is two to five times slower.
    """
    if len(x) == 1:  # without the copies of a stack
        return kernel(*(part.squeeze(0) for part in (x, *stacked))).unsqueeze(0)
    rows = x.unbind()
    if rows[0].numel() * x.element_size() % BYTES:
        # A product may choose its path by where its operand begins: as if each stood alone.
        rows = [row.clone() for row in rows]
    each = zip(rows, *(part.unbind() for part in stacked), strict=True)
    return torch.stack([kernel(*own) for own in each])


def pooled(x: Float[Tensor, "*batch channel height width"]) -> Tensor:
    """The largest of 3 x 3, at every other place: [..., channel, ceil(height / 2), ...]."""
    found = F.max_pool2d(x.flatten(0, -4), 3, stride=2, padding=1)  # the largest rounds nothing
    return found.view(*x.shape[:-2], *found.shape[-2:])


def as_tokens(
    x: Float[Tensor, "*batch channel height width"], tape: Tape, name: str
) -> Float[Tensor, "*batch channel height width"]:
    """A feature map at a site, where it is [..., height x width, channel]: tokens, row by row.

    So instruments and interventions for a transformer's states take a convolution's as well.
    """
    if not tape.wants(name):
        return x
    tokens = tape(name, x.flatten(-2).transpose(-1, -2))
    return tokens.transpose(-1, -2).unflatten(-1, x.shape[-2:]).contiguous()


def start_of(module: nn.Module, name: str) -> Start:
    """How a convolutional network starts: torchvision's law for a ResNet (section 4.2 of our spec
    of 2310.12956).

    Convolutions at N(0, 2 / (outputs x side^2)), Kaiming's for the way back through a ReLU; batch
    norms at (1, 0) with running values (0, 1); the readout uniform on +-1 / sqrt(its inputs),
    PyTorch's default.
    """
    if name.startswith("readout."):
        return Start(module.get_parameter("readout.weight").shape[-1] ** -0.5, law="uniform")
    if name.endswith("convolution.weight"):
        outputs, _, *sides = module.get_parameter(name).shape
        return Start((2 / (outputs * sides[0] * sides[1])) ** 0.5)
    return Start(0.0, mean=1.0 if name.endswith(("weight", "running_variance")) else 0.0)
