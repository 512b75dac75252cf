"""Attention bias: scale the attention on the oracle's keys (2506.13688, section 7.4)."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from saltus.interventions.base import Intervention, Knobs
from saltus.tasks.base import Task


class AttentionBias(Intervention):
    """Multiplies attention weights by `factor` on the oracle's keys, from step `start` on.

    The first answer's row is left at 1, as in the paper. What instruments read as the pattern,
    and so the attention progress measure, is after scaling. In force in generation too.
    """

    memberwise: ClassVar[tuple[str, ...]] = ("factor", "start")
    kind: Literal["attention-bias"] = "attention-bias"
    factor: float = Field(ge=0)
    start: int = Field(default=0, ge=0, description="first step at which it acts")
    layer: int = Field(default=0, ge=0)

    def sites(self) -> tuple[str, ...]:
        return (f"blocks.{self.layer}.attention.pattern",)

    def edit(self, site: str, value: Tensor, knobs: Knobs, step: Tensor, task: Task) -> Tensor:
        # A task is frozen and so hashable; type checkers do not see it.
        needed = _scaled(task, self.layer, *value.shape[-2:])  # pyright: ignore[reportArgumentType]
        needed = needed.to(value.device)
        factor = torch.where(step >= knobs["start"], knobs["factor"], 1.0).to(value.dtype)
        return value * torch.where(needed, factor, torch.ones_like(factor))

    def check(self, task: Task) -> None:
        if task.attended(self.layer) is None or task.output_rows() is None:
            raise ValueError(f"task {task.kind} has no oracle attention set for layer {self.layer}")


@lru_cache(maxsize=256)
def _scaled(task: Task, layer: int, queries: int, keys: int) -> Tensor:
    """True where the bias acts; generation asks for ever longer prefixes of the same mask."""
    needed, rows = task.attended(layer), task.output_rows()
    assert needed is not None and rows is not None  # `check` saw to it
    needed = needed.clone()
    needed[rows.start] = False
    return needed[:queries, :keys]
