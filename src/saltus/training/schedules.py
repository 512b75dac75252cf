"""Learning-rate schedules: pure functions of the step."""

from __future__ import annotations

from math import cos, pi, sqrt
from typing import Literal

from pydantic import Field

from saltus.parts import Record

Shape = Literal["constant", "linear", "cosine", "inverse-sqrt"]


class Schedule(Record):
    """A multiplier of the learning rate.

    Linear warm-up from 1/warmup to 1 over `warmup` steps; then `constant`; `linear` or `cosine`
    decay to `final` at the last step; or `inverse-sqrt`, sqrt(max(1, warmup) / step).
    """

    shape: Shape = "constant"
    warmup: int = Field(default=0, ge=0)
    final: float = Field(default=0.0, ge=0, description="multiplier at the end of a decay")

    def at(self, step: int, steps: int) -> float:
        """The multiplier of update number `step` (0-based) of `steps`."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        if self.shape == "constant":
            return 1.0
        if self.shape == "inverse-sqrt":
            return sqrt(max(1, self.warmup) / (step + 1))
        progress = (step - self.warmup) / max(1, steps - self.warmup)
        fall = 1 - progress if self.shape == "linear" else (1 + cos(pi * progress)) / 2
        return self.final + (1 - self.final) * fall
