"""Learning-rate schedules: pure functions of the step."""

from __future__ import annotations

from math import cos, pi, sqrt
from typing import Literal

from pydantic import Field, model_validator

from saltus.parts import Record

Shape = Literal["constant", "linear", "cosine", "inverse-sqrt", "epoch-cosine"]


class Schedule(Record):
    """A multiplier of the learning rate.

    Linear warm-up from 1/warmup to 1 over `warmup` steps; then `constant`; `linear` or `cosine`
    decay to `final` at the last step, or at `until` and constant from there on; or `inverse-sqrt`,
    sqrt(max(1, warmup) / step).

    With `stop` the rate stays at 1 until update number `stop`, counted from 1, and decays from
    there: at update i as sqrt(stop / i) for `inverse-sqrt`, and along a line or cosine that ends at
    `final` in the last update, or in update `until`. So `{shape: inverse-sqrt, stop: 1000}` and
    `{shape: linear, stop: 1000, final: 0.1}` are the schedules `sqrt` and `linear` of 2010.09697
    (section 4 of our spec): 1 - 0.9 (i - s) / (N - s) for the second.

    `epoch-cosine` has one value for each epoch of `epoch` steps, a cosine over all E = floor(steps
    / epoch) epochs with the first `warmup` steps cut out by a line from `final` to 1:
    s(t) = final + (1 - final) t epoch / warmup while t epoch < warmup, and final + (1 - final)
    (1 + cos(pi t / E)) / 2 after it. Epoch e runs at s(e - 1), and epoch 0 at s(0), one epoch late
    (2310.12956, section 6 of our spec: `final` is 1e-6 / peak rate, `warmup` five epochs).
    """

    shape: Shape = "constant"
    warmup: int = Field(default=0, ge=0)
    final: float = Field(default=0.0, ge=0, description="multiplier at the end of a decay")
    until: int | None = Field(
        default=None, ge=1, description="step at which a decay ends; the last if not given"
    )
    stop: int | None = Field(
        default=None, ge=1, description="update up to which the rate is constant before a decay"
    )
    epoch: int = Field(default=1, ge=1, description="steps of an epoch, for epoch-cosine")

    @model_validator(mode="after")
    def _ends_after_it_began(self) -> Schedule:
        if self.until is not None:
            if self.shape not in ("linear", "cosine"):
                raise ValueError(f"until goes with linear or cosine; {self.shape} has no end")
            if self.until <= self.warmup:
                raise ValueError(f"until {self.until} must lie after warmup {self.warmup}")
        if self.stop is not None:
            if self.shape not in ("linear", "cosine", "inverse-sqrt"):
                raise ValueError(
                    f"stop goes with linear, cosine or inverse-sqrt; {self.shape} has no decay "
                    "that could wait"
                )
            if self.stop < self.warmup:
                raise ValueError(f"stop {self.stop} must not lie before warmup {self.warmup}")
            if self.until is not None and self.until <= self.stop:
                raise ValueError(f"until {self.until} must lie after stop {self.stop}")
        if self.epoch > 1 and self.shape != "epoch-cosine":
            raise ValueError(f"epoch goes with epoch-cosine; {self.shape} changes at every step")
        return self

    def at(self, step: int, steps: int) -> float:
        """The multiplier of update number `step` (0-based) of `steps`."""
        if self.shape == "epoch-cosine":
            return self._of_epoch(step // self.epoch, max(1, steps // self.epoch))
        if step < self.warmup:
            return (step + 1) / self.warmup
        if self.shape == "constant":
            return 1.0
        if self.stop is not None:
            return self._after(self.stop, step + 1, self.until or steps)
        if self.shape == "inverse-sqrt":
            return sqrt(max(1, self.warmup) / (step + 1))
        end = steps if self.until is None else self.until
        return self._fallen((step - self.warmup) / max(1, end - self.warmup))

    def _after(self, stop: int, update: int, end: int) -> float:
        if update <= stop:
            return 1.0
        if self.shape == "inverse-sqrt":
            return sqrt(stop / update)
        return self._fallen((update - stop) / (end - stop) if end > stop else 1.0)

    def _fallen(self, progress: float) -> float:
        progress = min(1.0, progress)
        fall = 1 - progress if self.shape == "linear" else (1 + cos(pi * progress)) / 2
        return self.final + (1 - self.final) * fall

    def _of_epoch(self, epoch: int, epochs: int) -> float:
        late = max(0, epoch - 1)
        if late * self.epoch < self.warmup:
            rise = late * self.epoch / self.warmup
        else:
            rise = (1 + cos(pi * late / epochs)) / 2
        return self.final + (1 - self.final) * rise
