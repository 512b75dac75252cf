"""A fixed attention temperature, in every head."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from saltus.interventions.base import Intervention, Knobs
from saltus.tasks.base import Task

TEMPERATURE = "blocks.*.attention.temperature"


class Temperature(Intervention):
    """Attention at temperature tau = `value` instead of sqrt(head width), from step `start` on.

    softmax(u / tau) for logits u = q . k, in training and in every evaluation, in all layers and
    heads (2310.12956, section 7 of our spec: fixed temperature). With `norm-softmax` it is the cap
    of the statistic; it replaces a learned temperature. Beware of tables in 1 / tau: the standard
    of a head of width 64 is tau = 8.
    """

    memberwise: ClassVar[tuple[str, ...]] = ("value", "start")
    kind: Literal["temperature"] = "temperature"
    value: float = Field(gt=0, description="tau, which divides the logits")
    start: int = Field(default=0, ge=0, description="first step at which it acts")

    def sites(self) -> tuple[str, ...]:
        return (TEMPERATURE,)

    def edit(self, site: str, value: Tensor, knobs: Knobs, step: Tensor, task: Task) -> Tensor:
        return torch.where(step >= knobs["start"], knobs["value"].to(value.dtype), value)
