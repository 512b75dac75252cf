"""Imbalance: indicators that agree more often, or less often, than by chance."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from saltus.errors import FieldProblem
from saltus.parts import Record
from saltus.random import Draws
from saltus.tasks.images.albums import Album
from saltus.tasks.images.layouts import Layout


class Imbalance(Record):
    """How often the second indicator agrees with the first (section 3.3 of our spec).

    - `corrected`: with probability p, and it disagrees otherwise: P(z = 1) = p.
    - `released`: what the authors' code does. With probability p the second indicator is forced to
      the first one's class, otherwise it is drawn freely: P(z = 1) is p + (1 - p) / 2, and not p;
      p = 1/2 means free draws, P(z = 1) = 1/2, a jump. For indicators other than the classes 1
      and 2 the released option fails, and so it is refused here.
    """

    p: float = Field(ge=0, le=1)
    law: Literal["corrected", "released"] = "corrected"

    def agreement(self, layout: Layout) -> float:
        """P(z = 1), where the classes of every pool are equally frequent."""
        if self.law == "corrected":
            return self.p
        return layout.agreement if self.p == 1 / 2 else self.p + (1 - self.p) * layout.agreement

    def check(self, layout: Layout) -> None:
        """Raise ValueError where a layout's indicators cannot be drawn in this way."""
        if not layout.compared:
            raise FieldProblem("", "not allowed with a rule of places: no indicator is drawn")
        first, second = layout.compared
        plain = layout.rule.same == "class" and not layout.rule.groups
        if self.law == "released" and not (plain and first.classes == second.classes == (1, 2)):
            text = "released is for indicators of the classes 1 and 2 alone: allowed: corrected"
            raise FieldProblem("law", text)
        if layout.rule.same == "colour":
            same = set(first.colours) == set(second.colours)
        else:
            keys = [{layout.rule.key(n) for n in cell.classes} for cell in layout.compared]
            same = keys[0] == keys[1]
        if not same:
            raise FieldProblem("", f"needs two indicators with the same {layout.rule.same}es")


def unbalanced(
    imbalance: Imbalance,
    layout: Layout,
    album: Album,
    draws: Draws,
    image: Int[Tensor, "*batch 4"],
    colour: Int[Tensor, "*batch 4"],
) -> tuple[Int[Tensor, "*batch 4"], Int[Tensor, "*batch 4"]]:
    """Images and colours whose second indicator agrees as often as asked for."""
    if imbalance.law == "released" and imbalance.p == 1 / 2:
        return image, colour
    first, second = layout.indicators
    samples = image.shape[-2]
    agrees = draws.uniform(samples) < imbalance.p
    drawn = draws.integers(0, 2**31, samples)
    if layout.rule.same == "colour":
        own = colour[..., first]
        count = len(layout.compared[0].colours)
        rank = (album.groups[second, :count] == own.unsqueeze(-1)).long().argmax(-1)
        other = album.groups[second, (rank + 1 + drawn % (count - 1)) % count]
        return image, colour.index_copy(
            -1, album.place(second), torch.where(agrees, own, other).unsqueeze(-1)
        )
    key = album.key[image[..., first]]
    start, count = album.start_of[second, key], album.count_of[second, key]
    whole, low = album.count[second], album.start[second]
    same = start + drawn % count
    # Behind the last that agrees, and round to the first of the pool.
    other = low + (start - low + count + drawn % (whole - count).clamp(min=1)) % whole
    if imbalance.law == "released":
        other = image[..., second]
    chosen = torch.where(agrees, same, other).unsqueeze(-1)
    return image.index_copy(-1, album.place(second), chosen), colour
