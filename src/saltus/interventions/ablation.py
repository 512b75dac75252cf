"""Ablating heads: training and generation without what some heads choose to look at."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from saltus.interventions.base import Intervention, Knobs
from saltus.models.edits import Ablation, Head, ablations
from saltus.tasks.base import Task


class AblateHeads(Intervention):
    """Replaces the attention patterns of some heads from step `start` on (section 6.2 of our spec).

    `heads` are [layer, head], counted from 0. `uniform` puts 1 / keys on every key that a query
    may look at; `batch-mean` the head's own pattern averaged over the batch, which couples the
    samples of a batch (a gradient of one sample is then that of a batch of one). What instruments
    read as the pattern is after it. In force in generation too. A head with a fixed pattern has a
    query and a key without a gradient; its values and its output still learn.
    """

    memberwise: ClassVar[tuple[str, ...]] = ("start",)
    kind: Literal["ablate-heads"] = "ablate-heads"
    heads: tuple[Head, ...] = Field(min_length=1)
    mode: Ablation = "uniform"
    start: int = Field(default=0, ge=0, description="first step at which it acts")

    def sites(self) -> tuple[str, ...]:
        return tuple(ablations(self.heads, self.mode))

    def edit(self, site: str, value: Tensor, knobs: Knobs, step: Tensor, task: Task) -> Tensor:
        (ablate,) = ablations(self.heads, self.mode)[site]
        return torch.where(step >= knobs["start"], ablate(site, value), value)
