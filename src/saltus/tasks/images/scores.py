"""Scores: how often the label is among a model's first guesses."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def among_the_first(
    outputs: Float[Tensor, "*batch output"], labels: Int[Tensor, "*batch"]
) -> Callable[[int], Float[Tensor, "*batch"]]:
    """k to 1.0 where the label is one of the k largest outputs. Of equal outputs the first counts
    as the larger; an output that is not a number counts as larger than the label's."""
    own = outputs.gather(-1, labels.unsqueeze(-1))
    index = torch.arange(outputs.shape[-1], device=outputs.device)
    behind = (outputs < own) | ((outputs == own) & (index >= labels.unsqueeze(-1)))
    ahead = (~behind).sum(-1)
    return lambda k: (ahead < k).to(outputs.dtype)


def mean_where(
    where: Bool[Tensor, "*batch sample"], values: Float[Tensor, "*batch sample"]
) -> Float[Tensor, "*batch"]:
    """The mean over the samples at which `where` holds; NaN where it holds at none."""
    return (values * where).sum(-1) / where.sum(-1)
