"""Sentences of different lengths in one batch: means over what is real."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor


def sentence_means(
    values: Float[Tensor, "*batch position"], counted: Bool[Tensor, "*batch position"]
) -> Float[Tensor, "*batch"]:
    """The mean over the positions of each sentence at which `counted` holds."""
    return values.masked_fill(~counted, 0.0).sum(-1) / counted.sum(-1)


def token_mean(
    values: Float[Tensor, "*members batch position"],
    counted: Bool[Tensor, "*members batch position"],
) -> Float[Tensor, "*members"]:
    """The mean over all counted positions of a batch, each alike; NaN where none is counted."""
    return sentence_means(values.flatten(-2), counted.flatten(-2))
