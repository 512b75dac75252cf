"""Freezing: parameter groups that do not move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from saltus.interventions.base import Intervention, chosen


class Freeze(Intervention):
    """Keeps the parameters of some groups where they are, from step `start` on.

    `groups` are names of `saltus.models.groups` or shell-style patterns on parameter names; with
    `outside` it is all but these that stays. A frozen parameter gets no update at all, weight decay
    included.
    """

    memberwise: ClassVar[tuple[str, ...]] = ("start",)
    kind: Literal["freeze"] = "freeze"
    groups: tuple[str, ...] = Field(min_length=1)
    outside: bool = Field(default=False, description="freeze all but the groups")
    start: int = Field(default=0, ge=0)

    def initialise(self, parameters: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
        # A name that selects nothing shows before training.
        chosen(tuple(parameters), self.groups, self.outside)
        return parameters

    def frozen(self, names: Sequence[str], step: int) -> list[str]:
        return [*chosen(tuple(names), self.groups, self.outside)] if step >= self.start else []
