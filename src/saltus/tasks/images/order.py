"""The order of the authors' sampler: each image three times in a row, the same order for ever."""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Int
from torch import Tensor

from saltus.errors import SaltusError
from saltus.random import Draws

REPEATS = 3  # how often an image follows itself
WHOLE = 256  # an epoch is the largest multiple of this that the images allow


def epoch_steps(images: int, batch: int) -> int:
    """Batches in an epoch; the last one is dropped where it is not full."""
    return images // WHOLE * WHOLE // batch


def walk(step: int, batch: int, images: int, device: torch.device) -> Int[Tensor, " batch"]:
    """Which of the `images` the samples of a step show (section 6 of our spec).

    A sampler with repeated augmentation on one device: a permutation of all images, each three
    times in a row, cut to a multiple of 256 samples. Its epoch never advances, so the order is the
    same in every epoch and for every seed, and two thirds of the images are never seen: with
    60,000 images and batches of 512 an epoch has 117 steps and 19,968 different images. The
    permutation itself is ours. Raises SaltusError where not one batch fits into an epoch.
    """
    steps = epoch_steps(images, batch)
    if not steps:
        raise SaltusError(
            f"sampler authors-exact: batch {batch} is not allowed with {images} images: "
            f"at most {images // WHOLE * WHOLE}"
        )
    first = step % steps * batch
    samples = torch.arange(first, first + batch, device=device)
    return _order(images, device)[samples // REPEATS]


@lru_cache(maxsize=16)
def _order(images: int, device: torch.device) -> Int[Tensor, " image"]:
    """One permutation for all seeds and devices."""
    return Draws(0, "order/authors-exact").permutation(images).to(device)
