"""Albums: a layout as tensors on the device, with every image that it may show."""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saltus.errors import SaltusError
from saltus.tasks.images.colours import RGB
from saltus.tasks.images.layouts import (
    CLASSES,
    INDICATOR,
    NOTHING,
    TARGET,
    Cell,
    Layout,
)
from saltus.tasks.images.rules import Rule
from saltus.tasks.images.sources import SIDES, Pictures, Source, Split, pictures

ROLES = {"indicator": INDICATOR, "target": TARGET, "distractor": NOTHING, "blank": NOTHING}


class Album(NamedTuple):
    """The pools of a layout, one behind the other, and what its four home cells draw from.

    Image 0 is black and of class 10, what a blank cell shows. The pool of home cell c is
    `start[c]`, ..., `start[c] + count[c] - 1`. In it, images that the rule takes for the same lie
    together: those of key k are the `count_of[c, k]` from `start_of[c, k]` on. The cell's colour is
    one of the first `hues[c]` of `groups[c]`, and group g has the triple `palette[g]`.
    """

    pixels: Float[Tensor, "image channel height width"]
    classes: Int[Tensor, " image"]
    key: Int[Tensor, " image"]
    start: Int[Tensor, " cell"]
    count: Int[Tensor, " cell"]
    start_of: Int[Tensor, "cell key"]
    count_of: Int[Tensor, "cell key"]
    palette: Float[Tensor, "group 3"]
    groups: Int[Tensor, "cell hue"]
    hues: Int[Tensor, " cell"]
    roles: Int[Tensor, " cell"]

    def place(self, cell: int) -> Int[Tensor, " 1"]:
        """The index of a home cell, as a tensor on the album's device."""
        return torch.tensor([cell], device=self.start.device)


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
    black = Pictures(torch.zeros(1, 1, side, side).byte(), torch.tensor([CLASSES]))
    pools: dict[tuple[object, ...], Pictures] = {("blank",): black}
    for cell in layout.shown:
        drawn_from = pictures(source, folder, split, cell.images)
        pools[_name(cell)] = _pool(cell, layout.rule, drawn_from)
    sizes = [len(pool.classes) for pool in pools.values()]
    starts = dict(zip(pools, accumulate(sizes, initial=0), strict=False))
    classes = torch.cat([pool.classes for pool in pools.values()])
    key = torch.tensor([layout.rule.key(number) for number in range(CLASSES + 1)])[classes]
    start = torch.tensor([starts[_name(cell)] for cell in layout.cells])
    count = torch.tensor([len(pools[_name(cell)].classes) for cell in layout.cells])
    own = [key[a : a + n] for a, n in zip(start.tolist(), count.tolist(), strict=True)]
    count_of = torch.stack([keys.bincount(minlength=CLASSES + 1) for keys in own])
    start_of = start.unsqueeze(1) + count_of.cumsum(1) - count_of
    channels = max(pool.pixels.shape[1] for pool in pools.values())
    pixels = [
        (pool.pixels.to(device, dtype) / pool.white).expand(-1, channels, -1, -1)
        for pool in pools.values()
    ]
    palette, groups, hues = _colours(layout)
    roles = torch.tensor([ROLES[cell.role] for cell in layout.cells])
    whole = (classes, key, start, count, start_of, count_of, palette.to(dtype), groups, hues, roles)
    return Album(torch.cat(pixels), *(tensor.to(device) for tensor in whole))


def _name(cell: Cell) -> tuple[object, ...]:
    return ("blank",) if cell.role == "blank" else (cell.images, frozenset(cell.classes))


def _pool(cell: Cell, rule: Rule, drawn_from: Pictures) -> Pictures:
    """The images of a cell's classes, those with one key together, in the order of keys."""
    chosen = torch.isin(drawn_from.classes, torch.tensor(cell.classes)).nonzero().flatten()
    classes = drawn_from.classes[chosen]
    if missing := set(cell.classes) - set(classes.tolist()):
        raise SaltusError(f"images {cell.images}: this source has none of class {min(missing)}")
    keys = torch.tensor([rule.key(number) for number in range(CLASSES)])[classes]
    order = chosen[(keys * CLASSES + classes).argsort(stable=True)]
    return Pictures(drawn_from.pixels[order], drawn_from.classes[order], drawn_from.white)


def _colours(layout: Layout) -> tuple[Tensor, Tensor, Tensor]:
    """The palette with black behind it, and the colour groups of each cell."""
    palette = layout.palette
    groups = [
        [len(palette)] if cell.role == "blank" else [palette.index(name) for name in cell.colours]
        for cell in layout.cells
    ]
    most = max(map(len, groups))
    table = torch.tensor([group + group[:1] * (most - len(group)) for group in groups])
    triples = torch.tensor([RGB[name] for name in palette] + [(0.0, 0.0, 0.0)])
    return triples, table, torch.tensor([len(group) for group in groups])
