"""Scenes: everything that is random in a batch of images, drawn before a pixel is painted."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saltus.random import Draws
from saltus.tasks.images.albums import Album
from saltus.tasks.images.colours import RGB
from saltus.tasks.images.layouts import Answer, Layout

MANY = 2**31  # integers below it, modulo a count: uniform to better than 1 in 30,000


class Scene(NamedTuple):
    """What a batch shows, listed at home; the cell c of an image is the home cell `order[c]`."""

    image: Int[Tensor, "*batch 4"]  # of the album
    colour: Int[Tensor, "*batch 4"]  # group: an index into the layout's palette
    tint: Float[Tensor, "*batch 4 3"]  # the colour with its noise
    order: Int[Tensor, "*batch 4"]
    z: Int[Tensor, "*batch"]


def draw(layout: Layout, album: Album, draws: Draws, batch: int) -> Scene:
    """A batch of scenes. Five draws, always the same ones, so that layouts share what they can."""
    image = album.start + draws.integers(0, MANY, batch, 4) % album.count
    colour = _colours(layout, draws, batch)
    order = _order(layout, draws, batch)
    palette = torch.tensor([RGB[name] for name in layout.palette] + [(0.0, 0.0, 0.0)])
    # Two roundings, not a fused one: elements at the end of a tensor are computed without fusing.
    noise = draws.normal(batch, 4, 3) * layout.noise
    tint = palette.to(noise)[colour] + noise
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
        place = order.argsort(-1)  # of each home cell
        one, zero = (place[..., answer.cell] % 2 for answer in (layout.one, layout.zero))
        return (one == zero).long()
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


def _colours(layout: Layout, draws: Draws, batch: int) -> Int[Tensor, "*batch 4"]:
    """Each cell's colour group; a blank cell has the one behind the last."""
    drawn = draws.integers(0, MANY, batch, 4)
    palette = layout.palette
    groups = [
        [len(palette)] if cell.role == "blank" else [palette.index(name) for name in cell.colours]
        for cell in layout.cells
    ]
    most = max(map(len, groups))
    table = torch.tensor([group + group[:1] * (most - len(group)) for group in groups])
    count = torch.tensor([len(group) for group in groups], device=drawn.device)
    rows = torch.arange(4, device=drawn.device)
    return table.to(drawn.device)[rows, drawn % count]


def _order(layout: Layout, draws: Draws, batch: int) -> Int[Tensor, "*batch 4"]:
    """Which home cell stands at each place."""
    if layout.positions == "anywhere":
        return draws.permutation(4, batch)
    swapped = draws.integers(0, 2, batch, 2)
    if layout.positions == "fixed":
        swapped = torch.zeros_like(swapped)
    left = torch.tensor([0, 2], device=swapped.device) + swapped
    right = torch.tensor([1, 3], device=swapped.device) - swapped
    return torch.stack([left, right], dim=-1).flatten(-2)
