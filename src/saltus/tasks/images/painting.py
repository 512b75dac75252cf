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
    pixels = album.pixels[image]
    canvas = pixels.new_empty(*image.shape[:-1], 3, 2, side, 2, side)
    # The same memory as [..., row, column, channel, y, x]: cells are painted where they belong.
    cells = canvas.movedim((-4, -2), (-5, -4))
    torch.mul(pixels.unflatten(-4, (2, 2)), tint.unflatten(-2, (2, 2))[..., None, None], out=cells)
    if bordered is not None:
        where = bordered.unflatten(-1, (2, 2))[..., None, None, None] & ring(side).to(image.device)
        cells.masked_fill_(where, 1.0)
    return canvas.flatten(-4, -3).flatten(-2)


def ring(side: int) -> Bool[Tensor, "height width"]:
    """The border of a cell: a pixel for cells of 8, two for cells of 28."""
    thick = max(1, side // 14)
    inside = torch.zeros(side, side, dtype=torch.bool)
    inside[thick:-thick, thick:-thick] = True
    return ~inside
