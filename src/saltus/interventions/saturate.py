"""Saturated attention, from a step on: heads look at their largest scores alone."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from saltus.instruments.saturated_view import PATTERN, saturated_pattern
from saltus.interventions.base import Intervention, Knobs
from saltus.models.edits import Head, on_heads
from saltus.models.saturated import TOLERANCE
from saltus.tasks.base import Task


class Saturate(Intervention):
    """Replaces attention patterns by zeta of their scores from step `start` on: 1 / |M| on the set
    M of each query's largest scores, 0 elsewhere (2010.09697, sections 1 and 5, M16, of our spec).

    In all heads, or in `heads`, each [layer, head] from 0; in training, evaluation and generation.
    Scores are known by the weights w they gave, as ln w: they tie where they differ by no more than
    `tolerance` x max(1, |ln w|) of the largest w. zeta is constant almost everywhere: a saturated
    head has a query and a key without a gradient; its values and its output still learn. The paper
    trains no model so. To saturate a model at evaluation alone, read `saturated-accuracy`.
    """

    memberwise: ClassVar[tuple[str, ...]] = ("start",)
    kind: Literal["saturate"] = "saturate"
    heads: tuple[Head, ...] | None = Field(
        default=None, min_length=1, description="[layer, head]; all if not given"
    )
    tolerance: float = Field(default=TOLERANCE, ge=0, lt=1, description="of ties between scores")
    start: int = Field(default=0, ge=0, description="first step at which it acts")

    def sites(self) -> tuple[str, ...]:
        if self.heads is None:
            return (PATTERN,)
        layers = dict.fromkeys(layer for layer, _ in self.heads)
        return tuple(f"blocks.{layer}.attention.pattern" for layer in layers)

    def edit(self, site: str, value: Tensor, knobs: Knobs, step: Tensor, task: Task) -> Tensor:
        changed = saturated_pattern(value, self.tolerance)
        if self.heads is not None:
            _, layer, *_ = site.split(".")
            own = [head for block, head in self.heads if block == int(layer)]
            changed = on_heads(lambda pattern: changed, own)(site, value)
        return torch.where(step >= knobs["start"], changed, value)
