"""Scaling the start: some parameters begin larger or smaller than the model's law says."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from saltus.interventions.base import Intervention, chosen


class ScaleStart(Intervention):
    """Multiplies the parameters of some groups by `factor` before step 0.

    `groups` are names of `saltus.models.groups` or shell-style patterns on parameter names:
    `blocks.*.attention.query.weight` and `blocks.*.attention.key.weight` at 0.5, 2 or 4 is the
    start of attention as a baseline of this project (section 7 of our spec of 2310.12956).
    """

    memberwise: ClassVar[tuple[str, ...]] = ("factor",)
    kind: Literal["scale-start"] = "scale-start"
    groups: tuple[str, ...] = Field(min_length=1)
    factor: float = Field(ge=0)

    def initialise(self, parameters: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
        changed = {
            name: parameters[name] * self.factor for name in chosen(tuple(parameters), self.groups)
        }
        return parameters | changed
