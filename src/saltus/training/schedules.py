"""Learning-rate schedules: pure functions of the step."""

from __future__ import annotations

from math import cos, pi, sqrt
from typing import Literal

from pydantic import Field, model_validator

from saltus.parts import Record

Shape = Literal["constant", "linear", "cosine", "inverse-sqrt"]


class Schedule(Record):
    """A multiplier of the learning rate.

    Linear warm-up from 1/warmup to 1 over `warmup` steps; then `constant`; `linear` or `cosine`
    decay to `final` at the last step, or at `until` and constant from there on; or `inverse-sqrt`,
    sqrt(max(1, warmup) / step).
    """

    shape: Shape = "constant"
    warmup: int = Field(default=0, ge=0)
    final: float = Field(default=0.0, ge=0, description="multiplier at the end of a decay")
    until: int | None = Field(
        default=None, ge=1, description="step at which a decay ends; the last if not given"
    )

    @model_validator(mode="after")
    def _ends_after_it_began(self) -> Schedule:
        if self.until is not None:
            if self.shape not in ("linear", "cosine"):
                raise ValueError(f"until goes with linear or cosine; {self.shape} has no end")
            if self.until <= self.warmup:
                raise ValueError(f"until {self.until} must lie after warmup {self.warmup}")
        return self

    def at(self, step: int, steps: int) -> float:
        """The multiplier of update number `step` (0-based) of `steps`."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        if self.shape == "constant":
            return 1.0
        if self.shape == "inverse-sqrt":
            return sqrt(max(1, self.warmup) / (step + 1))
        end = steps if self.until is None else self.until
        progress = min(1.0, (step - self.warmup) / max(1, end - self.warmup))
        fall = 1 - progress if self.shape == "linear" else (1 + cos(pi * progress)) / 2
        return self.final + (1 - self.final) * fall
