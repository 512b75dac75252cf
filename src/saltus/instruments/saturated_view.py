"""A model with saturated attention: every pattern replaced by zeta of its scores, by edits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from saltus.errors import SaltusError
from saltus.instruments.base import Pass, Reading
from saltus.instruments.captured import precise
from saltus.models.edits import uniform
from saltus.models.saturated import TOLERANCE, zeta
from saltus.models.sites import Edit, matches

SCORES, PATTERN = "blocks.*.attention.scores", "blocks.*.attention.pattern"
Tolerance = Annotated[
    float, Field(ge=0, lt=1, description="of ties: max - a_j <= tolerance x max(1, |max|)")
]


def saturated_pass(reading: Reading, capture: Sequence[str], tolerance: float) -> Pass:
    """The outputs and some sites of a model, or a stack of them, with every head saturated.

    SaltusError where a model has no attention, for then nothing would be saturated.
    """
    assert reading.run is not None  # for instruments that are stacked
    edits = saturating(tolerance)
    found = reading.run(reading.batch["inputs"], edits=edits, capture=(*capture, PATTERN))
    if not any(matches(site, (PATTERN,)) for site in found.sites):
        raise SaltusError(f"instruments: the model has no site '{PATTERN}' to saturate")
    wanted = {site: value for site, value in found.sites.items() if matches(site, tuple(capture))}
    return Pass(found.outputs, wanted)


def saturating(tolerance: float = TOLERANCE) -> dict[str, tuple[Edit, ...]]:
    """Edits, by site, that saturate all heads of one forward pass at unchanged parameters.

    Ties are those of M16 (2010.09697, section 5 of our spec), with the largest score of each row
    taken from the site `.scores`. Interventions in force have acted before: a head made uniform
    stays so. For a model or a stack of them; a pass of its own needs edits of its own.
    """
    seen: dict[str, Tensor] = {}

    def remember(site: str, scores: Tensor) -> Tensor:
        seen[site.removesuffix(".scores")] = scores
        return scores

    def replace(site: str, pattern: Tensor) -> Tensor:
        return saturated_pattern(pattern, tolerance, seen[site.removesuffix(".pattern")])

    return {SCORES: (remember,), PATTERN: (replace,)}


def saturated_pattern(
    pattern: Float[Tensor, "*batch sample head query key"],
    tolerance: float = TOLERANCE,
    scores: Float[Tensor, "*batch sample head query key"] | None = None,
) -> Float[Tensor, "*batch sample head query key"]:
    """zeta of the scores that gave these weights: 1 / |M| on the set M of the largest, else 0.

    Weights alone say which scores are visible and how far below the largest each is, for softmax
    is their logarithm up to a constant: max - a_j = ln w_max - ln w_j. So it follows every mask:
    under a multiplicative one, whose future scores are 0, M may lie in the future. Without
    `scores` the height |max| of the tolerance counts from the weights' logarithms. Where weights
    have signs (linear attention) they are scores themselves, and M is where they are largest.
    No gradient passes.
    """
    weights = precise(pattern.detach())
    visible = uniform(weights) != 0
    # A row of zeros has no logarithms either: all that it sees ties.
    signed = (weights < 0).any(-1, keepdim=True) | (weights == 0).all(-1, keepdim=True)
    heights = torch.where(signed, weights, weights.log())
    heights = heights.masked_fill(~visible, float("-inf"))
    if scores is not None:
        top = weights.masked_fill(~visible, float("-inf")).argmax(-1, keepdim=True)
        largest = precise(scores.detach()).to(heights.dtype).gather(-1, top)
        moved = heights - heights.amax(-1, keepdim=True) + largest
        heights = torch.where(signed, heights, moved)
    return zeta(heights, tolerance).to(pattern.dtype)
