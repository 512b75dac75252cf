"""Glyphs: ten signs that are no digits, drawn by hand, in the place of a second set of images."""

from __future__ import annotations

import torch

from saltus.random import Draws
from saltus.tasks.images.sources.base import Pictures, Split

COUNTS: dict[Split, int] = {"train": 1440, "validation": 360}  # a tenth of each class

SIGNS = """
..##.. #....# ###### ##.... #.##.# ..##.. ###### ###### ##..## .#..#.
..##.. .#..#. ###### ##.... #.##.# .#..#. ###### .####. ##..## ######
###### ..##.. ..##.. ##.... #.##.# #....# ##..## ..##.. ...... .#..#.
###### ..##.. ..##.. ##.... #.##.# #....# ##..## ..##.. ...... .#..#.
..##.. .#..#. ..##.. ###### ###### .#..#. ##..## .####. ##..## ######
..##.. #....# ..##.. ###### ###### ..##.. ##..## ###### ##..## .#..#.
"""  # plus, cross, T, L, comb, lozenge, arch, hourglass, corners, fence


def drawn_glyphs(split: Split) -> Pictures:
    """Signs of 6 x 6 pixels somewhere in 8 x 8, of random brightness and with noise: a choice of
    the project (section 3.4 of our spec)."""
    count = COUNTS[split]
    draws = Draws(0, f"glyphs/{split}")
    classes = torch.arange(count) % 10
    rows = [line.split() for line in SIGNS.strip().splitlines()]
    signs = torch.tensor(
        [[[mark == "#" for mark in row[k]] for row in rows] for k in range(10)]
    ).float()
    canvas = torch.zeros(count, 8, 8)
    corner = draws.integers(0, 3, count, 2)
    which = torch.arange(count)[:, None, None]
    inner = torch.arange(6)
    down, across = (corner[:, i, None] + inner for i in (0, 1))
    canvas[which, down[:, :, None], across[:, None, :]] = signs[classes]
    bright = draws.uniform(count, 1, 1, low=0.6, high=1.0)
    noisy = canvas * bright + 0.1 * draws.normal(count, 8, 8)
    pixels = (noisy.clamp(0, 1) * 255).round().to(torch.uint8).unsqueeze(1)
    return Pictures(pixels, classes)
