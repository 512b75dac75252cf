"""Gradient flow as an optimiser: theta' = -grad L(theta), integrated to prescribed times.

It is the limit of gradient descent for small steps. Step s of a run that follows it is not an
update but a moment, `times(steps)[s]`, so instruments, interventions, checkpoints and resuming work
as with any other optimiser. `training/follow.py` does the integration.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from saltus.parts import with_numbers
from saltus.training.optimizers import Optimizer


class GradientFlow(Optimizer):
    """theta' = -(grad L + weight_decay * theta) on the fixed training set, step size per member.

    The moments are 0 and then `steps` values up to `duration`: evenly spaced, or geometrically
    from `first` on; or exactly the list `at`. `clock: model` measures them in units of the model's
    own rate at the start, `Model.rate(parameters)`, so that the same step means the same phase
    for every seed. `rtol` and `atol` bound the local error of every step of the method (units of
    parameters); the error of the whole path is of their order.
    """

    kind: Literal["gradient-flow"] = "gradient-flow"
    duration: float | None = Field(default=None, gt=0, description="the last moment")
    first: float | None = Field(default=None, gt=0, description="the first moment, if geometric")
    at: Annotated[tuple[Annotated[float, Field(gt=0)], ...], BeforeValidator(with_numbers)] = ()
    clock: Literal["time", "model"] = "time"
    method: Literal["dop853", "dopri5"] = "dop853"
    rtol: float = Field(default=1e-8, gt=0, le=1e-2)
    atol: float = Field(default=1e-10, gt=0)

    @model_validator(mode="after")
    def _one_grid(self) -> GradientFlow:
        if bool(self.at) == (self.duration is not None):
            raise ValueError("give either duration (and first) or at")
        if self.at and self.first is not None:
            raise ValueError("first goes with duration, not with at")
        if self.first is not None and self.duration is not None and self.first >= self.duration:
            raise ValueError(f"first {self.first:g} must lie before duration {self.duration:g}")
        if any(a >= b for a, b in zip(self.at, self.at[1:], strict=False)):
            raise ValueError("at must rise")
        return self

    def times(self, steps: int) -> list[float]:
        """The `steps` + 1 moments of a run, the first of them 0."""
        if self.at:
            return [0.0, *self.at]
        assert self.duration is not None
        if self.first is None:
            return np.linspace(0.0, self.duration, steps + 1).tolist()
        rising = np.geomspace(self.first, self.duration, steps).tolist()
        return [0.0, *rising[:-1], self.duration]  # the end exactly, not to rounding

    def check(self, experiment: Any) -> None:
        """Raise ValueError where an experiment cannot be followed."""
        if experiment.examples is None or experiment.batch != experiment.examples:
            raise ValueError(
                "follows the loss on a fixed training set: give examples, and batch equal to it"
            )
        if experiment.model.differs_in_training:
            raise ValueError(
                f"the flow has one velocity, model {experiment.model.kind} another one in every "
                "step: allowed: models without noise and without statistics of the batch"
            )
        if self.at and len(self.at) != experiment.steps:
            raise ValueError(f"at has {len(self.at)} moments, steps is {experiment.steps}")
        for index, part in enumerate(experiment.interventions):
            if part.changes_gradients or part.changes_by_step:
                raise ValueError(
                    f"interventions.{index} ({part.kind}) changes what every step follows; the "
                    "flow has one velocity, the gradient's"
                )
            if getattr(part, "start", 0):
                raise ValueError(
                    f"interventions.{index} ({part.kind}) starts at step {part.start}; "
                    "the flow has one velocity: allowed: 0"
                )
