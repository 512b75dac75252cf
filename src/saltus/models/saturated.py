"""Saturated attention: all weight on the largest scores, ties averaged."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from saltus.models.normalisers import Future, Normaliser

TOLERANCE = 1e-6


class Saturated(Normaliser):
    """zeta(u / tau): 1 / |M| on the set M of a query's largest scores, 0 elsewhere.

    What softmax(c u) becomes as c grows (2010.09697, sections 1 and 5 of our spec, M16). Scores
    are tied where max - a_j <= `tolerance` x max(1, |max|). It is for evaluation: the gradient of
    queries and keys is zero, for the weights are piecewise constant.
    """

    kind: Literal["saturated"] = "saturated"
    tolerance: float = Field(default=TOLERANCE, ge=0, lt=1, description="of ties")

    def weights(
        self, scores: Float[Tensor, "*batch head query key"], future: Future
    ) -> Float[Tensor, "*batch head query key"]:
        shown = scores if future is None else scores.masked_fill(future, float("-inf"))
        return zeta(shown, self.tolerance)


def zeta(
    scores: Float[Tensor, "*batch key"], tolerance: float = TOLERANCE
) -> Float[Tensor, "*batch key"]:
    """The generalised argmax: uniform on {j : max - a_j <= tolerance x max(1, |max|)}.

    A score of -infinity has weight 0 wherever another is larger; beside +infinity only its equals
    have weight. A row with a NaN is NaN.
    """
    return _Zeta.apply(scores, tolerance)


class _Zeta(torch.autograd.Function):
    """Piecewise constant: its gradient is zero, and not missing where somebody asks for it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(scores: Tensor, tolerance: float) -> Tensor:
        top = scores.amax(-1, keepdim=True)
        gap = top - scores
        near = (gap <= tolerance * top.abs().clamp_min(1)) & (gap < float("inf"))
        largest = (near | (scores == top)).to(scores.dtype)
        return largest / largest.sum(-1, keepdim=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return torch.zeros_like(gradient), None
