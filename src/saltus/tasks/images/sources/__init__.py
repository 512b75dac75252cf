"""Sources: where the images of a pool come from.

| a layout says | `digits` | `mnist-fashion` | `mnist-5k-fashion` |
| --- | --- | --- | --- |
| digits | scikit-learn's, 8 x 8 | MNIST, 28 x 28 | 5,000 of MNIST |
| items | the same digits | Fashion-MNIST | Fashion-MNIST |
| others | glyphs | Fashion-MNIST | Fashion-MNIST |
| objects | textures | CIFAR-10 | CIFAR-10 |
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from saltus.tasks.images.layouts import Images
from saltus.tasks.images.sources.base import Pictures, Split
from saltus.tasks.images.sources.cifar import read_cifar
from saltus.tasks.images.sources.digits import handwritten_digits
from saltus.tasks.images.sources.glyphs import drawn_glyphs
from saltus.tasks.images.sources.mnist import five_thousand_digits, read_mnist
from saltus.tasks.images.sources.textures import drawn_textures

Source = Literal["digits", "mnist-fashion", "mnist-5k-fashion"]
# Of a cell, in pixels.
SIDES: dict[Source, int] = {"digits": 8, "mnist-fashion": 28, "mnist-5k-fashion": 28}


@lru_cache(maxsize=16)
def pictures(source: Source, folder: str | None, split: Split, images: Images) -> Pictures:
    """The images that a source has for a word of the layouts' language, kept once read."""
    if source == "digits":
        if images == "objects":
            return drawn_textures(split)
        return drawn_glyphs(split) if images == "others" else handwritten_digits(split)
    if images == "objects":
        return read_cifar(split, folder, SIDES[source])
    if images == "digits":
        few = source == "mnist-5k-fashion"
        return five_thousand_digits(split) if few else read_mnist("MNIST", split, folder)
    return read_mnist("FashionMNIST", split, folder)


__all__ = ["SIDES", "Pictures", "Source", "Split", "pictures"]
