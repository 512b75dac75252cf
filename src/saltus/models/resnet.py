"""ResNet-9, -18 and -34: the convolutional baseline of the Eureka paper."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from saltus.models.base import Interface, Model, Start, Takes
from saltus.models.batch_norm import RUNNING, NormedConvolution
from saltus.models.convolution import as_tokens, pooled, start_of
from saltus.models.layers import Linear
from saltus.models.sites import SILENT, Tape

BLOCKS = {9: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}  # per stage
CHANNELS = (64, 128, 256, 512)


class ConvolutionalNetwork(Model):
    """What the convolutional networks here have in common."""

    stackable: ClassVar[bool] = True
    takes: ClassVar[tuple[Takes, ...]] = ("images",)
    fixed: ClassVar[tuple[str, ...]] = RUNNING

    @property
    def differs_in_training(self) -> bool:
        return True

    def start_in(self, module: nn.Module, name: str) -> Start:
        return start_of(module, name)


class ResNet(ConvolutionalNetwork):
    """A residual network of basic blocks (He et al. 2016) in torchvision's layout: 7 x 7 / 2
    convolution to 64 channels, batch norm, ReLU, 3 x 3 / 2 max-pool, four stages of 64 to 512
    channels, the mean over places, a linear readout (2310.12956, section 4.2 of our spec).

    `layers` 18 and 34 have 2, 2, 2, 2 and 3, 4, 6, 3 blocks in the stages, and 9 has one in each
    (nine convolutions, but for those of the shortcuts). Which of them is the paper's
    ResNet is not established. Convolutions start at N(0, 2 / (outputs x side^2)), batch norms at
    (1, 0), also the last of a block; the readout uniform on +-1 / sqrt(512). With three channels
    and ten classes: 4,910,922, 11,181,642 and 21,289,802 parameters, and the running statistics.
    """

    kind: Literal["resnet"] = "resnet"
    layers: Literal[9, 18, 34] = Field(default=9, description="9, 18 or 34")

    def build(self, interface: Interface) -> nn.Module:
        return ResidualNetwork(BLOCKS[self.layers], interface)


class ResidualNetwork(nn.Module):
    """Images [..., batch, channel, height, width] to outputs [..., batch, 1, outputs].

    Sites: `embedding` after the max-pool and `stages.i.block.j` after each block, both
    [..., batch, height x width, channel]; `final` [..., batch, 1, 512], what the readout reads.
    """

    def __init__(self, blocks: tuple[int, ...], interface: Interface) -> None:
        super().__init__()
        assert interface.image is not None
        self.stem = NormedConvolution(interface.image[0], CHANNELS[0], side=7, stride=2)
        before = (CHANNELS[0], *CHANNELS)
        self.stages = nn.ModuleList(
            Stage(before[index], outputs, count, stride=1 if index == 0 else 2)
            for index, (outputs, count) in enumerate(zip(CHANNELS, blocks, strict=True))
        )
        self.readout = Linear(CHANNELS[-1], interface.outputs)

    def forward(self, images: Tensor, tape: Tape = SILENT) -> Tensor:
        x = pooled(self.stem(images, tape, "stem"))
        x = as_tokens(x, tape, "embedding")
        for index, stage in enumerate(self.stages):
            x = stage(x, tape, f"stages.{index}")
        return self.readout(tape("final", x.flatten(-2).mean(-1).unsqueeze(-2)))


class Stage(nn.Module):
    """Blocks of one size of feature map."""

    def __init__(self, inputs: int, outputs: int, count: int, stride: int) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            BasicBlock(*((inputs, outputs, stride) if index == 0 else (outputs, outputs, 1)))
            for index in range(count)
        )

    def forward(self, x: Tensor, tape: Tape, name: str) -> Tensor:
        for index, block in enumerate(self.block):
            x = as_tokens(block(x, tape, f"{name}.block.{index}"), tape, f"{name}.block.{index}")
        return x


class BasicBlock(nn.Module):
    """relu(x + norm(conv(relu(norm(conv x))))), 3 x 3; a 1 x 1 on x where its size changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = NormedConvolution(inputs, outputs, side=3, stride=stride)
        self.second = NormedConvolution(outputs, outputs, side=3, rectified=False)
        changes = stride != 1 or inputs != outputs
        shortcut = NormedConvolution(inputs, outputs, 1, stride, rectified=False)
        self.shortcut = shortcut if changes else None

    def forward(self, x: Tensor, tape: Tape, name: str) -> Tensor:
        branch = self.second(self.first(x, tape, f"{name}.first"), tape, f"{name}.second")
        if self.shortcut is not None:
            x = self.shortcut(x, tape, f"{name}.shortcut")
        return torch.relu(x + branch)
