"""Textures: stripes and checkers of 8 x 8 pixels, in the place of cars and birds."""

from __future__ import annotations

import torch

from saltus.random import Draws
from saltus.tasks.images.sources.base import Pictures, Split

STRIPES, CHECKERS = 1, 2  # CIFAR-10's numbers of the cars and birds whose place they take
COUNTS: dict[Split, int] = {"train": 1000, "validation": 250}  # of each class


def drawn_textures(split: Split, side: int = 8) -> Pictures:
    """Stripes and checkers two pixels wide, of random phase, direction, brightness and noise: a
    choice of the project (section 3.4 of our spec)."""
    each = COUNTS[split]
    draws = Draws(0, f"textures/{split}")
    phase = draws.integers(0, 4, 2 * each, 2)
    place = torch.arange(side)
    down, across = ((place + phase[:, i, None]) // 2 % 2 for i in (0, 1))
    upright = draws.integers(0, 2, each) == 1
    stripes = torch.where(
        upright[:, None, None], across[:each, None, :], down[:each, :, None]
    ).expand(each, side, side)
    checkers = down[each:, :, None] ^ across[each:, None, :]
    pattern = torch.cat([stripes, checkers]).unsqueeze(1)
    bright = draws.uniform(2 * each, 1, 1, 1, low=0.5, high=1.0)
    noise = 0.1 * draws.normal(2 * each, 1, side, side)
    pixels = ((pattern * bright + noise).clamp(0, 1) * 255).round().to(torch.uint8)
    classes = torch.tensor([STRIPES, CHECKERS]).repeat_interleave(each)
    return Pictures(pixels, classes)
