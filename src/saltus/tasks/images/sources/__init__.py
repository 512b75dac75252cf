"""Sources: where the images of a pool come from."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from saltus.tasks.images.layouts import Images
from saltus.tasks.images.sources.base import Pictures, Split
from saltus.tasks.images.sources.digits import handwritten_digits
from saltus.tasks.images.sources.glyphs import glyphs
from saltus.tasks.images.sources.textures import textures

Source = Literal["digits"]
SIDES: dict[Source, int] = {"digits": 8}  # of a cell, in pixels


@lru_cache(maxsize=32)
def pictures(source: Source, folder: str | None, split: Split, images: Images) -> Pictures:
    """The images that a source has for a word of the layouts' language, kept once read."""
    if images == "objects":
        return textures(split)
    return glyphs(split) if images == "others" else handwritten_digits(split)


__all__ = ["SIDES", "Pictures", "Source", "Split", "pictures"]
