"""Descent along normalised gradients: every tensor moves equally far."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator

from saltus.training.optimizers import Descent


class NormSgd(Descent):
    """Each tensor's gradient divided by its own L2 norm, then the decay and momentum of SGD.

    g <- g / |g|, a gradient of zeros stays one; g += weight_decay theta; average = momentum average
    + g; theta -= rate average. Without decay and momentum every parameter tensor moves by exactly
    the rate at every step. It stands in the authors' code of 2010.09697 and in none of its final
    experiments (section 4 of our spec), with the default rate of 0.1.
    """

    slots: ClassVar[int] = 1
    whole: ClassVar[bool] = True
    memberwise: ClassVar[tuple[str, ...]] = ("learning_rate", "weight_decay", "momentum")
    kind: Literal["norm-sgd"] = "norm-sgd"
    learning_rate: float = Field(default=0.1, ge=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _nothing_to_clip(self) -> NormSgd:
        if self.clip is not None:
            raise ValueError(f"clip {self.clip:g} has no effect: every gradient is normalised")
        return self

    def update(self, parameters, gradients, state, count, rate) -> None:
        for parameter, gradient, average in zip(parameters, gradients, state[0], strict=True):
            norm = torch.linalg.vector_norm(gradient)
            step = gradient / norm.where(norm > 0, 1.0)
            if self.weight_decay:
                step.add_(parameter, alpha=self.weight_decay)
            if self.momentum:
                step = average.mul_(self.momentum).add_(step)
            parameter.add_(step, alpha=-rate)
