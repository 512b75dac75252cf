"""Heat treatment: attention that starts peaked and is heated while the model trains."""

from __future__ import annotations

from functools import lru_cache
from math import pi
from typing import ClassVar, Literal

import torch
from jaxtyping import Float64
from pydantic import Field
from torch import Tensor

from saltus.interventions.base import Intervention, Knobs
from saltus.interventions.temperature import TEMPERATURE
from saltus.tasks.base import Task


class HeatTreatment(Intervention):
    """softmax(s_e u) with a multiplier s = 1 / tau that falls from `start` to `end`.

    With E = floor(steps / epoch) epochs and step t in epoch e = floor(t / epoch), `half-cosine` is
    s_e = end + (start - end) (1 + cos(pi e / T)) / 2 for e < T = floor(E / 2), and `end` from T on
    (2310.12956, section 7 of our spec: 3.0 to 1 / 8). `cosine` and `linear` fall over all E epochs;
    `constant` stays at `start`. Temperature rises, for s is its inverse: attention is peaked first.
    `end` is 1 / tau of the model itself where it is not given, 1 / sqrt(head width) unless that is
    learned. `epoch` counts steps; the default gives every step a value of its own, the paper every
    epoch. The same s in all layers and heads, in training and in evaluation. With `norm-softmax`
    1 / s is the cap of the statistic.
    """

    memberwise: ClassVar[tuple[str, ...]] = ("start", "end")
    kind: Literal["heat-treatment"] = "heat-treatment"
    start: float = Field(default=3.0, gt=0, description="1 / tau at the first step")
    end: float | None = Field(
        default=None, gt=0, description="1 / tau at the end; the model's own if not given"
    )
    schedule: Literal["half-cosine", "linear", "cosine", "constant"] = "half-cosine"
    epoch: int = Field(default=1, ge=1, description="steps that have the same value")

    def multipliers(self, steps: int, end: float) -> Float64[Tensor, "step"]:
        """s at every step of a training of `steps`, towards `end` where the field is not given."""
        last = torch.tensor(self.end or end, dtype=torch.float64)
        start = torch.tensor(self.start, dtype=torch.float64)
        return last + (start - last) * falls(self.schedule, self.epoch, steps)[:steps]

    @property
    def changes_by_step(self) -> bool:
        return True

    def sites(self) -> tuple[str, ...]:
        return (TEMPERATURE,)

    def edit(self, site: str, value: Tensor, knobs: Knobs, step: Tensor, task: Task) -> Tensor:
        fall = falls(self.schedule, self.epoch, int(knobs["steps"]), value.device)[step]
        own = 1 / value.double()
        end = torch.where(knobs["end"].isnan(), own, knobs["end"])
        return (1 / (end + (knobs["start"] - end) * fall)).to(value.dtype)


@lru_cache(maxsize=64)  # a table: in a stack of members, a cosine may round as it does not alone
def falls(
    schedule: str, epoch: int, steps: int, device: torch.device | str = "cpu"
) -> Float64[Tensor, " step"]:
    """At steps 0 to `steps`: from 1 to 0, where `end` is reached."""
    at, epochs = torch.arange(steps + 1) // epoch, steps // epoch
    if schedule == "constant":
        return torch.ones(steps + 1, dtype=torch.float64, device=device)
    length = epochs // 2 if schedule == "half-cosine" else epochs
    progress = torch.where(at < length, at.double() / max(1, length), 1.0)
    fall = 1 - progress if schedule == "linear" else (1 + torch.cos(pi * progress)) / 2
    return fall.to(device)
