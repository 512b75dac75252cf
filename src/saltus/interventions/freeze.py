"""Freezing: parameter groups that do not move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from saltus.interventions.base import Intervention
from saltus.models.groups import select


class Freeze(Intervention):
    """Keeps the parameters of some groups where they are, from step `start` on.

    `groups` are names of `saltus.models.groups` or shell-style patterns on parameter names. A
    frozen parameter gets no update at all, weight decay included.
    """

    memberwise: ClassVar[tuple[str, ...]] = ("start",)
    kind: Literal["freeze"] = "freeze"
    groups: tuple[str, ...] = Field(min_length=1)
    start: int = Field(default=0, ge=0)

    def initialise(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        select(parameters, self.groups)  # a name that selects nothing shows before training
        return parameters

    def frozen(self, names: Sequence[str], step: int) -> list[str]:
        return select(names, self.groups) if step >= self.start else []
