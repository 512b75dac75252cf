"""The vision transformer of the Eureka paper: patches, a class token, pre-norm blocks."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from saltus.models.base import Interface, Start, Takes
from saltus.models.layers import LayerNorm, Linear, Positions, spread
from saltus.models.sites import SILENT, Tape
from saltus.models.transformer import Block, Blocks

Side = Annotated[int, Field(ge=1)]


class VisionTransformer(Blocks):
    """x += Attn(LN x); x += MLP(LN x) over patches and a class token (2310.12956, section 4.1 of
    our spec): no bias in Q, K, V; learned positions; a final LayerNorm; a linear head with a bias.

    `patch` is a side, or (height, width). `pooling: mean` does without the class token and reads
    the mean of all tokens after the final LayerNorm; the spec leaves open whether it stands before.
    Weights, the class token and the table of positions start at N(0, 0.02^2), biases at 0,
    LayerNorm at (1, 0); the patch embedding uniform on +-1 / sqrt(its inputs), PyTorch's default.
    Depth 7, width 256, 4 heads, patch 4 on 3 x 56 x 56 images with ten classes have the paper's
    3,750,666 parameters.

    Stochastic depth leaves out a branch, sample by sample, with a chance that is linear over the
    blocks, from 0 to `stochastic_depth`.
    """

    takes: ClassVar[tuple[Takes, ...]] = ("images",)
    kind: Literal["vit"] = "vit"
    depth: int = Field(default=7, ge=1)
    heads: int = Field(default=4, ge=1)
    width: int = Field(default=256, ge=1)
    hidden: int | None = Field(default=None, ge=1, description="MLP width; 2 x width if not given")
    activation: Literal["gelu", "gelu-tanh", "relu"] = "gelu"
    patch: Side | tuple[Side, Side] = Field(
        default=4, description="side of a patch, or (height, width)"
    )
    pooling: Literal["class-token", "mean"] = "class-token"
    position_table: Literal["learned", "sine"] = "learned"
    stochastic_depth: float = Field(
        default=0.1, ge=0, lt=1, description="of the last block: a branch's chance to be left out"
    )
    epsilon: float = Field(default=1e-6, ge=0, description="of LayerNorm")
    qkv_bias: bool = False
    readout_bias: bool = True
    # What other transformers may choose and this one may not.
    embedding_norm: Literal[False] = False
    positions: None = Field(default=None, description="as many as there are tokens")
    causal: Literal[False] = False

    def check(self, interface: Interface) -> None:
        super().check(interface)
        self.patches(interface)

    def patches(self, interface: Interface) -> tuple[int, int]:
        """Rows and columns of patches. ValueError where they do not fill the image."""
        assert interface.image is not None
        _, height, width = interface.image
        high, wide = self.patch_sides
        if height % high or width % wide:
            raise ValueError(
                f"patch {high} x {wide} does not fill an image of {height} x {width}; allowed: "
                f"heights that divide {height} and widths that divide {width}"
            )
        return height // high, width // wide

    @property
    def patch_sides(self) -> tuple[int, int]:
        return self.patch if isinstance(self.patch, tuple) else (self.patch, self.patch)

    def build(self, interface: Interface) -> nn.Module:
        return Vision(self.model_copy(update={"hidden": self.hidden or 2 * self.width}), interface)

    def start_in(self, module: nn.Module, name: str) -> Start:
        if name.startswith("patch."):
            assert isinstance(module, Vision)
            return Start(module.patch.weight.shape[-1] ** -0.5, law="uniform")
        return self.start(name)


class Vision(nn.Module):
    """Images [..., channel, height, width] to outputs [..., 1, outputs].

    Sites as in `Transformer`: tokens are the class token, where there is one, and then the patches,
    row by row; `final` [..., 1, width] is what the readout reads, behind the final LayerNorm.
    """

    def __init__(self, config: VisionTransformer, interface: Interface) -> None:
        super().__init__()
        assert interface.image is not None
        self.sides, width = config.patch_sides, config.width
        rows, columns = config.patches(interface)
        self.patch = Linear(interface.image[0] * self.sides[0] * self.sides[1], width)
        pooled = config.pooling == "mean"
        self.class_token = None if pooled else nn.Parameter(torch.empty(1, width))
        tokens = rows * columns + (not pooled)
        if config.position_table == "learned":
            self.position = Positions(tokens, width)
        else:
            self.position = SinePositions(tokens, width)
        self.blocks = nn.ModuleList(Block(config, index) for index in range(config.depth))
        final = config.norm == "pre" and config.final_norm
        self.final_norm = LayerNorm(width, config.epsilon, config.norm_bias) if final else None
        self.readout = Linear(width, interface.outputs, config.readout_bias)

    def forward(self, images: Tensor, tape: Tape = SILENT) -> Tensor:
        x = self.patch(cut(images, self.sides))
        if self.class_token is not None:
            own = self.class_token
            first = own if own.ndim == 2 else spread(own, x)
            x = torch.cat([first.expand(*x.shape[:-2], 1, x.shape[-1]), x], dim=-2)
        x = tape("embedding", self.position(x))
        for index, block in enumerate(self.blocks):
            x = block(x, tape, f"blocks.{index}")
        # LayerNorm acts on each token: the class token alone is all that the readout needs.
        if self.class_token is not None:
            x = x[..., :1, :].contiguous()
        if self.final_norm is not None:
            x = self.final_norm(x)
        if self.class_token is None:
            x = x.mean(-2, keepdim=True)
        return self.readout(tape("final", x))


class SinePositions(nn.Module):
    """Adds fixed rows: the sine of position / 10000^(i / width) at even i, its cosine at i + 1."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        even = torch.arange(0, width, 2, dtype=torch.float64)
        angle = torch.arange(length, dtype=torch.float64).unsqueeze(1) * 10000.0 ** (-even / width)
        rows = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :width]
        self.register_buffer("rows", rows, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.get_buffer("rows").to(x.dtype)


def cut(
    images: Float[Tensor, "*batch channel height width"], sides: tuple[int, int]
) -> Float[Tensor, "*batch patch feature"]:
    """Patches, row by row; the features of each are its channels, then rows, then columns."""
    high, wide = sides
    tiles = images.unflatten(-1, (-1, wide)).unflatten(-3, (-1, high))
    # [..., channel, row, high, column, wide] -> [..., row, column, channel, high, wide]
    tiles = tiles.movedim((-4, -2), (-5, -4))
    return tiles.flatten(-5, -4).flatten(-3)
