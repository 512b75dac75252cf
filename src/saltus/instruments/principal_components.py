"""Principal components of a table, and correlations: what analyses of embeddings share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float64
from torch import Tensor


class Components(NamedTuple):
    """The first two principal components of some rows."""

    coordinates: Float64[Tensor, "row 2"]  # of the centred rows
    explained: Float64[Tensor, " 2"]  # share of the variance
    directions: Float64[Tensor, "2 width"]


def principal(
    rows: Float64[Tensor, "row width"], references: Sequence[Float64[Tensor, " row"]] = ()
) -> Components:
    """Principal components of centred rows by singular value decomposition.

    The sign of a component is open. It is chosen so that its correlation with one of `references`,
    the one with the largest |correlation|, is positive; without references the coordinate that is
    largest in size is positive. So films do not flip while there is something to see. Components
    that are nothing but rounding are 0.
    """
    left, lengths, right = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    rounding = max(rows.shape) * torch.finfo(rows.dtype).eps * torch.linalg.vector_norm(rows)
    lengths = torch.where(lengths > rounding, lengths, 0.0)
    missing = max(0, 2 - len(lengths))  # of tables with a single row or column
    left = F.pad(left[:, :2], (0, missing))
    right = F.pad(right[:2], (0, 0, 0, missing))
    lengths = F.pad(lengths, (0, missing))
    total = lengths.square().sum().clamp_min(torch.finfo(rows.dtype).tiny)
    signs = torch.stack([_sign(axis, references) for axis in left.T])
    return Components(
        left * lengths[:2] * signs, lengths[:2].square() / total, right * signs.unsqueeze(-1)
    )


def _sign(axis: Float64[Tensor, " row"], references: Sequence[Tensor]) -> Float64[Tensor, ""]:
    alike = torch.stack([correlation(axis, each) for each in references] or [axis.new_zeros(())])
    if not alike.abs().max() > 0:
        alike = axis
    return torch.where(alike[alike.abs().argmax()] < 0, -1.0, 1.0).to(axis.dtype)


def correlation(
    one: Float64[Tensor, " item"], other: Float64[Tensor, " item"]
) -> Float64[Tensor, ""]:
    """Pearson's; 0 where one of the two is constant."""
    one, other = one - one.mean(), other - other.mean()
    lengths = torch.linalg.vector_norm(one) * torch.linalg.vector_norm(other)
    return (one * other).sum() / lengths.clamp_min(torch.finfo(one.dtype).tiny)


def rank_correlation(
    one: Float64[Tensor, " item"], other: Float64[Tensor, " item"]
) -> Float64[Tensor, ""]:
    """Spearman's; items that are equal share the mean of their ranks."""
    return correlation(_ranks(one), _ranks(other))


def _ranks(values: Float64[Tensor, " item"]) -> Float64[Tensor, " item"]:
    order = values.sort().values
    below = torch.searchsorted(order, values)
    up_to = torch.searchsorted(order, values, right=True)
    return (below + up_to).to(values.dtype) / 2
