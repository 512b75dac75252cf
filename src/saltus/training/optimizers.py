"""Optimisers whose members share nothing: one row of parameters, one record of settings each.

Those of discrete steps are here; `gradient_flow.py` has the limit of small ones.

On the CPU a member's row is updated by PyTorch's fused kernel, one pass over memory, whatever
the other members do. Elsewhere a plain formula does the same arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import BeforeValidator, Field, SerializeAsAny
from torch import Tensor

from saltus.parts import Part
from saltus.training.schedules import Schedule


class Optimizer(Part):
    """How one member moves. `slots` state vectors accompany its parameters."""

    slots: ClassVar[int] = 0
    memberwise: ClassVar[tuple[str, ...]] = ("weight_decay",)
    weight_decay: float = Field(default=0.0, ge=0)


class Descent(Optimizer):
    """An optimiser of discrete steps: one gradient, one update."""

    memberwise: ClassVar[tuple[str, ...]] = ("learning_rate", "weight_decay", "clip")
    learning_rate: float = Field(ge=0)
    clip: float | None = Field(default=None, gt=0, description="largest gradient norm, per member")
    schedule: Schedule = Schedule()

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of update number `step` (0-based) of `steps`."""
        return self.learning_rate * self.schedule.at(step, steps)

    def update(
        self,
        parameters: Sequence[Tensor],
        gradients: Sequence[Tensor],
        state: Sequence[Sequence[Tensor]],
        count: int,
        rate: float,
    ) -> None:
        """Change some contiguous pieces of one member's row in place.

        `state[i]` holds slot i of every piece; `count` is 1 at the first update.
        """
        raise NotImplementedError(type(self).__name__)

    def clip_scale(self, gradients: Sequence[Tensor]) -> float | None:
        """What to multiply this member's gradients by, or None for nothing to do."""
        if self.clip is None:
            return None
        norm = float(torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients])))
        return self.clip / (norm + 1e-6) if norm > self.clip else None


class Sgd(Descent):
    """theta -= rate * (g + weight_decay * theta), g averaged by heavy-ball momentum if given."""

    slots: ClassVar[int] = 1
    memberwise: ClassVar[tuple[str, ...]] = (*Descent.memberwise, "momentum")
    kind: Literal["sgd"] = "sgd"
    momentum: float = Field(default=0.0, ge=0, lt=1)

    def update(self, parameters, gradients, state, count, rate) -> None:
        for parameter, gradient, momentum in zip(parameters, gradients, state[0], strict=True):
            if self.weight_decay:
                gradient = gradient.add(parameter, alpha=self.weight_decay)
            if self.momentum:
                momentum.mul_(self.momentum).add_(gradient)
                gradient = momentum
            parameter.add_(gradient, alpha=-rate)


class Adam(Descent):
    """Adam (Kingma & Ba 2015); weight decay is added to the gradient."""

    slots: ClassVar[int] = 2
    memberwise: ClassVar[tuple[str, ...]] = (*Descent.memberwise, "epsilon")
    kind: Literal["adam"] = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = Field(default=1e-8, gt=0)

    def update(self, parameters, gradients, state, count, rate) -> None:
        if parameters and parameters[0].device.type == "cpu":
            counts = [torch.tensor(float(count))] * len(parameters)
            self._fused(
                list(parameters),
                list(gradients),
                list(state[0]),
                list(state[1]),
                [],
                counts,
                lr=rate,
                beta1=self.betas[0],
                beta2=self.betas[1],
                weight_decay=self.weight_decay,
                eps=self.epsilon,
                amsgrad=False,
                maximize=False,
            )
        else:
            for piece in zip(parameters, gradients, state[0], state[1], strict=True):
                self._plain(*piece, count, rate)

    _fused: ClassVar[Any] = staticmethod(torch._fused_adam_)

    def _plain(self, parameter, gradient, first, second, count, rate) -> None:
        beta1, beta2 = self.betas
        gradient = self._decay(parameter, gradient, rate)
        first.lerp_(gradient, 1 - beta1)
        second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        scale = (second / (1 - beta2**count)).sqrt_().add_(self.epsilon)
        parameter.addcdiv_(first, scale, value=-rate / (1 - beta1**count))

    def _decay(self, parameter: Tensor, gradient: Tensor, rate: float) -> Tensor:
        return gradient.add(parameter, alpha=self.weight_decay) if self.weight_decay else gradient


class AdamW(Adam):
    """Adam with decoupled weight decay: theta *= 1 - rate * weight_decay first."""

    kind: Literal["adamw"] = "adamw"  # type: ignore[assignment]
    weight_decay: float = Field(default=0.01, ge=0)
    _fused: ClassVar[Any] = staticmethod(torch._fused_adamw_)

    def _decay(self, parameter: Tensor, gradient: Tensor, rate: float) -> Tensor:
        parameter.mul_(1 - rate * self.weight_decay)
        return gradient


AnyOptimizer = Annotated[SerializeAsAny[Optimizer], BeforeValidator(Optimizer.parse)]
