"""The small convolutional network that learns the Eureka paper's task in minutes."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from saltus.models.base import Interface
from saltus.models.batch_norm import NormedConvolution
from saltus.models.convolution import as_tokens
from saltus.models.layers import Linear
from saltus.models.resnet import ConvolutionalNetwork
from saltus.models.sites import SILENT, Tape

CHANNELS = (32, 32, 64, 64)
STRIDES = (1, 2, 2, 2)


class SmallConvnet(ConvolutionalNetwork):
    """Four times 3 x 3 convolution, batch norm, ReLU, with 32, 32, 64 and 64 channels and strides
    1, 2, 2, 2; then a linear readout of everything that is left (section 10 of our spec of
    2310.12956, a pilot of this project and no model of the paper).

    It starts as `resnet` does, and its convolutions have no bias: both are choices of ours.
    """

    kind: Literal["small-convnet"] = "small-convnet"

    def build(self, interface: Interface) -> nn.Module:
        return SmallNetwork(interface)


class SmallNetwork(nn.Module):
    """Images [..., batch, channel, height, width] to outputs [..., batch, 1, outputs].

    Sites: `embedding` after the first layer and `stages.i.block.0` after each further one,
    [..., batch, height x width, channel]; `final` [..., batch, 1, width], what the readout reads:
    channels, then rows, then columns.
    """

    def __init__(self, interface: Interface) -> None:
        super().__init__()
        assert interface.image is not None
        channels, *sides = interface.image
        before = (channels, *CHANNELS)
        self.layers = nn.ModuleList(
            NormedConvolution(before[index], outputs, side=3, stride=STRIDES[index])
            for index, outputs in enumerate(CHANNELS)
        )
        for stride in STRIDES:
            sides = [-(-side // stride) for side in sides]
        self.readout = Linear(CHANNELS[-1] * sides[0] * sides[1], interface.outputs)

    def forward(self, images: Tensor, tape: Tape = SILENT) -> Tensor:
        x = images
        for index, layer in enumerate(self.layers):
            site = f"stages.{index - 1}.block.0" if index else "embedding"
            x = as_tokens(layer(x, tape, f"layers.{index}"), tape, site)
        return self.readout(tape("final", x.flatten(-3).unsqueeze(-2)))
