"""Scenes: everything that is random in a batch of images, drawn before a pixel is painted."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saltus.random import Draws
from saltus.tasks.images.albums import Album
from saltus.tasks.images.imbalance import Imbalance, unbalanced
from saltus.tasks.images.layouts import Answer, Layout
from saltus.tasks.images.order import walk

MANY = 2**31  # integers below it, modulo a count: uniform to better than 1 in 30,000


class Scene(NamedTuple):
    """What a batch shows, listed at home; the cell c of an image is the home cell `order[c]`."""

    image: Int[Tensor, "*batch 4"]  # of the album
    colour: Int[Tensor, "*batch 4"]  # group: an index into the layout's palette
    tint: Float[Tensor, "*batch 4 3"]  # the colour with its noise
    order: Int[Tensor, "*batch 4"]
    z: Int[Tensor, "*batch"]


def draw(
    layout: Layout,
    album: Album,
    draws: Draws,
    batch: int,
    imbalance: Imbalance | None = None,
    walking: bool = False,
) -> Scene:
    """A batch of scenes; `walking` shows the authors' order where the layout says so."""
    image = album.start + draws.integers(0, MANY, batch, 4) % album.count
    rows = torch.arange(4, device=image.device)
    colour = album.groups[rows, draws.integers(0, MANY, batch, 4) % album.hues]
    noise = draws.normal(batch, 4, 3)
    order = _order(layout, draws, batch)
    if walking and (cell := layout.walked) is not None:
        first, images = int(album.start[cell]), int(album.count[cell])
        image[..., cell] = first + walk(draws.step, batch, images, image.device)
    if imbalance is not None:
        image, colour = unbalanced(imbalance, layout, album, draws, image, colour)
    # Product and sum round one by one: a fused one would differ at the odd end of a tensor.
    tint = album.palette[colour] + noise * layout.noise
    return Scene(image, colour, tint, order, decision(layout, album, image, colour, order))


def decision(
    layout: Layout,
    album: Album,
    image: Int[Tensor, "*batch 4"],
    colour: Int[Tensor, "*batch 4"],
    order: Int[Tensor, "*batch 4"],
) -> Int[Tensor, "*batch"]:
    """z, from what the layout's rule compares."""
    if layout.rule.same == "column":
        column = order.argsort(-1) % 2  # of each home cell
        return (column[..., layout.one.cell] == column[..., layout.zero.cell]).long()
    first, second = layout.indicators
    compared = colour if layout.rule.same == "colour" else album.key[image]
    return (compared[..., first] == compared[..., second]).long()


def answer(
    layout: Layout, album: Album, scene: Scene, z: Int[Tensor, "*batch"]
) -> Int[Tensor, "*batch"]:
    """The label y where the decision is z."""

    def label(given: Answer) -> Tensor:
        if given.names == "colour":
            return scene.colour[..., given.cell]
        return album.classes[scene.image[..., given.cell]]

    return torch.where(z == 1, label(layout.one), label(layout.zero))


def _order(layout: Layout, draws: Draws, batch: int) -> Int[Tensor, "*batch 4"]:
    """Which home cell stands at each place."""
    if layout.positions == "anywhere":
        return draws.permutation(4, batch)
    swapped = draws.integers(0, 2, batch, 2)
    if layout.positions == "fixed":
        swapped = torch.zeros_like(swapped)
    rows = torch.tensor([0, 2], device=swapped.device)
    return torch.stack([rows + swapped, rows + 1 - swapped], dim=-1).flatten(-2)
