"""What a source of images gives: pictures and their classes."""

from __future__ import annotations

from typing import Literal, NamedTuple

from jaxtyping import Int, UInt8
from torch import Tensor

from saltus.random import Draws

Split = Literal["train", "validation"]


class Pictures(NamedTuple):
    """Images of one size on the CPU; grey ones have one channel, the others three."""

    pixels: UInt8[Tensor, "image channel height width"]
    classes: Int[Tensor, " image"]
    white: int = 255  # the value of the brightest pixel there can be


def divided(pictures: Pictures, split: Split, training: int, name: str) -> Pictures:
    """One side of a set that comes undivided: the first `training` images of a fixed permutation,
    which its name alone decides, or the others."""
    order = Draws(0, f"split/{name}").permutation(len(pictures.classes))
    chosen = order[:training] if split == "train" else order[training:]
    return Pictures(pictures.pixels[chosen], pictures.classes[chosen], pictures.white)
