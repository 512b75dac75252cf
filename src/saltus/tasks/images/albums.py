"""Albums: every image that a layout may show, on the device, pool by pool."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saltus.errors import SaltusError
from saltus.tasks.images.layouts import CLASSES, Cell, Layout
from saltus.tasks.images.rules import Rule
from saltus.tasks.images.sources import SIDES, Pictures, Source, Split, pictures


class Album(NamedTuple):
    """The pools of a layout, one behind the other.

    Image 0 is black and of class 10, what a blank cell shows. The pool of home cell c is
    `start[c]`, ..., `start[c] + count[c] - 1`. In it, images that the rule takes for the same lie
    together: those of key k, in the order of `keys`, are `count_of[c, k]` from `start_of[c, k]` on,
    and `key` says which k an image has.
    """

    pixels: Float[Tensor, "image channel height width"]
    classes: Int[Tensor, " image"]
    key: Int[Tensor, " image"]
    start: Int[Tensor, " cell"]
    count: Int[Tensor, " cell"]
    start_of: Int[Tensor, "cell key"]
    count_of: Int[Tensor, "cell key"]


@lru_cache(maxsize=16)
def album(
    layout: Layout,
    source: Source,
    folder: str | None,
    split: Split,
    device: torch.device,
    dtype: torch.dtype,
) -> Album:
    """The album of a layout, kept once made."""
    side = SIDES[source]
    blank = Pictures(torch.zeros(1, 1, side, side), torch.full((1,), CLASSES))
    pools: dict[tuple[object, ...], Pictures] = {("blank",): blank}
    for cell in layout.shown:
        pools[_name(cell)] = _pool(cell, layout.rule, pictures(source, folder, split, cell.images))
    starts, total = {}, 0
    for name, pool in pools.items():
        starts[name] = total
        total += len(pool.classes)
    channels = max(pool.pixels.shape[1] for pool in pools.values())
    pixels = torch.cat([pool.pixels.expand(-1, channels, -1, -1) for pool in pools.values()])
    classes = torch.cat([pool.classes for pool in pools.values()])
    key = torch.tensor([layout.rule.key(number) for number in range(CLASSES + 1)])[classes]
    start = torch.tensor([starts[_name(cell)] for cell in layout.cells])
    count = torch.tensor([len(pools[_name(cell)].classes) for cell in layout.cells])
    count_of = torch.stack(
        [
            torch.bincount(key[a : a + n], minlength=CLASSES + 1)
            for a, n in zip(start, count, strict=True)
        ]
    )
    start_of = start.unsqueeze(1) + count_of.cumsum(1) - count_of
    whole = (classes, key, start, count, start_of, count_of)
    return Album(pixels.to(device, dtype), *(tensor.to(device) for tensor in whole))


def _name(cell: Cell) -> tuple[object, ...]:
    return ("blank",) if cell.role == "blank" else (cell.images, frozenset(cell.classes))


def _pool(cell: Cell, rule: Rule, drawn_from: Pictures) -> Pictures:
    """The images of a cell's classes, those with one key together, in the order of keys."""
    chosen = torch.isin(drawn_from.classes, torch.tensor(cell.classes)).nonzero().flatten()
    classes = drawn_from.classes[chosen]
    if missing := set(cell.classes) - set(classes.tolist()):
        raise SaltusError(
            f"images {cell.images}: there is none of class {min(missing)} in this source"
        )
    keys = torch.tensor([rule.key(number) for number in range(CLASSES)])[classes]
    order = chosen[(keys * CLASSES + classes).argsort(stable=True)]
    return Pictures(drawn_from.pixels[order], drawn_from.classes[order])
