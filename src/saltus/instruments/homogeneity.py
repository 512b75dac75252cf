"""Homogeneity: the k of f(c theta) = c^k f(theta), from the lengths of outputs over scales."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import log
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saltus.instruments.scaled_view import token_mean


class Degree(NamedTuple):
    """k = d ln|f(c theta)| / d ln c, and how far from one number it is."""

    exponent: Float[Tensor, "*member"]
    spread: Float[Tensor, "*member"]  # standard deviation over tokens and intervals of scales
    exponents: Float[Tensor, "*member interval"]  # means over tokens, between neighbouring scales


def degree(
    lengths: Float[Tensor, "*member sample token scale"],
    scales: Sequence[float],
    real: Bool[Tensor, "*member sample token"],
) -> Degree:
    """The degree of homogeneity of what has these lengths at theta times these scales.

    Between neighbouring scales each token has k = ln(|f(c' theta)| / |f(c theta)|) / ln(c' / c);
    `exponent` is the mean over the intervals and the real tokens, `spread` the population standard
    deviation over both. A k-homogeneous function has spread 0 (2010.09697, Def. 2 of our spec); one
    that is so approximately (Def. 3) has `exponents` that tend to k as c grows. A length of 0 gives
    infinity or NaN.
    """
    between = [log(after / before) for before, after in pairwise(scales)]
    steps = lengths[..., 1:].log() - lengths[..., :-1].log()
    own = steps / torch.tensor(between, dtype=steps.dtype, device=steps.device)
    means = _over_tokens(own, real)
    exponent = means.mean(-1)
    apart = (own - exponent[..., None, None, None]).square()
    return Degree(exponent, _over_tokens(apart, real).mean(-1).sqrt(), means)


def _over_tokens(
    values: Float[Tensor, "*member sample token interval"],
    real: Bool[Tensor, "*member sample token"],
) -> Float[Tensor, "*member interval"]:
    return torch.stack([token_mean(own, real) for own in values.unbind(-1)], dim=-1)
