"""Painting: the pixels of a batch of scenes, all at once."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saltus.tasks.images.albums import Album


def paint(
    album: Album,
    image: Int[Tensor, "*batch 4"],
    tint: Float[Tensor, "*batch 4 3"],
    bordered: Bool[Tensor, "*batch 4"] | None = None,
) -> Float[Tensor, "*batch 3 height width"]:
    """Images of 2 x 2 cells, each an image of the album times its tint; a white border around the
    cells that are `bordered`."""
    side = album.pixels.shape[-1]
    pixels = album.pixels[image].unflatten(-4, (2, 2))  # [..., row, column, channel, y, x]
    # Whole lines of the image first, and then the colours: a product with inner axes as short as
    # a cell costs four times as much.
    lines = pixels.movedim((-3, -4), (-5, -2)).flatten(-2)  # [..., channel, row, y, column x]
    tints = tint.unflatten(-2, (2, 2)).movedim(-1, -3)  # [..., channel, row, column]
    painted = lines * tints.repeat_interleave(side, dim=-1).unsqueeze(-2)
    if bordered is not None:
        framed = bordered.unflatten(-1, (2, 2))[..., None, :, None, :, None]
        framed = framed & ring(side).to(image.device).unsqueeze(-2)
        painted.masked_fill_(framed.flatten(-2), 1.0)
    return painted.flatten(-3, -2)


def ring(side: int) -> Bool[Tensor, "height width"]:
    """The border of a cell: a pixel for cells of 8, two for cells of 28."""
    thick = max(1, side // 14)
    inside = torch.zeros(side, side, dtype=torch.bool)
    inside[thick:-thick, thick:-thick] = True
    return ~inside
