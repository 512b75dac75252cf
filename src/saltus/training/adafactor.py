"""Adafactor: steps in proportion to the parameters, second moments of rows and columns alone."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from saltus.training.optimizers import Descent


class Adafactor(Descent):
    """Adafactor without momentum (Shazeer & Stern 2018, algorithms 4 to 6), T5's optimiser.

    With t the number of the update from 1 on, beta_t = 1 - t^-decay_exponent and g^2 + epsilon in
    place of squares, a matrix keeps the running means R of rows and C of columns and takes
    V = R C / mean(R); what has fewer axes keeps V itself, what has more is a stack of matrices.
    U = g / sqrt(V) is shortened to the root mean square `clip_update`, if it has a larger one:

        theta -= rho_t max(smallest_scale, RMS(theta)) U

    `scale_parameter: false` leaves out the factor of RMS(theta). The relative step is
    rho_t = schedule(t) min(learning_rate, 1 / sqrt(t)), which with the default of 1e-2 is constant
    for 10,000 updates; `relative_step: false` is learning_rate schedule(t). `weight_decay` is
    decoupled and not of the paper: theta *= 1 - rho_t weight_decay first.

    Without decay a step has at most the length |delta| = rho_t clip_update |theta| for every
    parameter tensor that is not small, by design: assumption 1 of 2010.09697 then holds because of
    the optimiser (sections 5.2 and 9.10 of our spec). The engine keeps whole vectors of state, so
    this one saves no memory here.
    """

    slots: ClassVar[int] = 2  # of rows, or all of V; of columns
    whole: ClassVar[bool] = True
    memberwise: ClassVar[tuple[str, ...]] = (*Descent.memberwise, "clip_update", "smallest_scale")
    kind: Literal["adafactor"] = "adafactor"
    learning_rate: float = Field(default=1e-2, ge=0, description="or the largest relative step")
    relative_step: bool = True
    scale_parameter: bool = True
    clip_update: float = Field(default=1.0, gt=0, description="largest RMS of U")
    decay_exponent: float = Field(default=0.8, gt=0, le=1)
    epsilon: float = Field(default=1e-30, gt=0)
    smallest_scale: float = Field(default=1e-3, gt=0)

    def rate(self, step: int, steps: int) -> float:
        """rho_t of update number `step` (0-based) of `steps`."""
        largest = self.learning_rate
        if self.relative_step:
            largest = min(largest, 1 / sqrt(step + 1))
        return largest * self.schedule.at(step, steps)

    def update(self, parameters, gradients, state, count, rate) -> None:
        new = count**-self.decay_exponent
        for parameter, gradient, *moments in zip(parameters, gradients, *state, strict=True):
            step = self._direction(gradient, moments, new)
            step /= (root_mean_square(step) / self.clip_update).clamp(min=1.0)
            if self.scale_parameter:
                step *= root_mean_square(parameter).clamp(min=self.smallest_scale)
            if self.weight_decay:
                parameter.mul_(1 - rate * self.weight_decay)
            parameter.add_(step, alpha=-rate)

    def _direction(self, gradient: Tensor, moments: Sequence[Tensor], new: float) -> Tensor:
        """U before it is shortened; the moments move by the share `new` towards the squares."""
        square = gradient.square().add_(self.epsilon)
        if gradient.ndim < 2:
            return gradient * moments[0].lerp_(square, new).rsqrt()
        *stack, rows, columns = gradient.shape
        of_rows = beginning(moments[0], (*stack, rows)).lerp_(square.mean(-1), new)
        of_columns = beginning(moments[1], (*stack, columns)).lerp_(square.mean(-2), new)
        relative = of_rows / of_rows.mean(-1, keepdim=True)
        return gradient * relative.rsqrt_().unsqueeze(-1) * of_columns.rsqrt().unsqueeze(-2)


def root_mean_square(value: Tensor) -> Float[Tensor, ""]:
    """sqrt(mean of squares) over all entries."""
    return torch.linalg.vector_norm(value) / sqrt(value.numel())


def beginning(slot: Tensor, shape: Sequence[int]) -> Tensor:
    """The first entries of a slot, as a view in a shape of their own."""
    return slot.view(-1)[: prod(shape)].view(*shape)
