"""Optimisers whose members share nothing: one row of parameters, one record of settings each.

Those of discrete steps that need no file of their own are here (`adafactor.py`, `muon.py` and
`norm_sgd.py` do); `gradient_flow.py` has the limit of small ones.

On the CPU a member's row is updated by PyTorch's fused kernel, one pass over memory, whatever
the other members do. Elsewhere a plain formula does the same arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator
from torch import Tensor

from saltus.errors import SaltusError, explain
from saltus.models.groups import select
from saltus.parts import Part, Record
from saltus.training.schedules import Schedule


class Optimizer(Part):
    """How one member moves. `slots` state vectors accompany its parameters."""

    slots: ClassVar[int] = 0
    memberwise: ClassVar[tuple[str, ...]] = ("weight_decay",)
    weight_decay: float = Field(default=0.0, ge=0)


class Group(Record):
    """What an optimiser does differently with some parameters; what is not given stays."""

    learning_rate: float | None = Field(default=None, ge=0)
    weight_decay: float | None = Field(default=None, ge=0)

    @classmethod
    def parse(cls, value: Any) -> Any:
        """A mapping as a Group; a mistake is told as one of a Group's fields."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise explain(error, cls) from None


class Share(NamedTuple):
    """Some parameters and the rule that moves them."""

    rule: Descent
    names: list[str]


class Descent(Optimizer):
    """An optimiser of discrete steps: one gradient, one update.

    `groups` maps parameter groups or patterns (`saltus.models.groups`) to settings of their own, in
    place of the optimiser's and not times them; the first that selects a parameter decides. So
    `{embeddings: {weight_decay: 0}, norm: {weight_decay: 0}, "*.bias": {weight_decay: 0}}` decays
    the weights of Linear layers alone. The schedule multiplies every rate, and `clip` is of the
    norm of all that moves.
    """

    memberwise: ClassVar[tuple[str, ...]] = ("learning_rate", "weight_decay", "clip")
    whole: ClassVar[bool] = False  # whether `update` takes parameters one by one, in their shapes
    learning_rate: float = Field(ge=0)
    clip: float | None = Field(default=None, gt=0, description="largest gradient norm, per member")
    schedule: Schedule = Schedule()
    groups: dict[str, Annotated[Group, BeforeValidator(Group.parse)]] = Field(
        default={}, description="settings of parameter groups"
    )

    def shares(self, shapes: Mapping[str, tuple[int, ...]]) -> list[Share]:
        """Who moves what: every parameter is in one share. SaltusError: a group selects nothing."""
        if not self.groups:
            return [Share(self, list(shapes))]
        left, found = list(shapes), []
        for pattern, group in self.groups.items():
            chosen = set(self._select(shapes, (pattern,), "groups"))
            own = {key: value for key, value in group if value is not None}
            rule = self.model_copy(update={**own, "groups": {}})
            found.append(Share(rule, [name for name in left if name in chosen]))
            left = [name for name in left if name not in chosen]
        found.append(Share(self.model_copy(update={"groups": {}}), left))
        return [share for share in found if share.names]

    def _select(self, names: Iterable[str], patterns: Iterable[str], field: str) -> list[str]:
        try:
            return select(names, patterns)
        except SaltusError as error:
            problem = str(error).removeprefix("parameters: ")
            raise SaltusError(f"optimizer.{field} ({self.kind}): {problem}") from None

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
        """Change some contiguous pieces of members' rows in place; no piece sees another.

        `state[i]` holds slot i of every piece; `count` is 1 at the first update. Where `whole` is
        set, a piece is one parameter of one member, in its own shape.
        """
        raise NotImplementedError(type(self).__name__)

    def clip_scale(self, gradients: Sequence[Tensor]) -> float | None:
        """What to multiply this member's gradients by, or None for nothing to do."""
        if self.clip is None:
            return None
        norm = float(torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients])))
        return self.clip / (norm + 1e-6) if norm > self.clip else None


class Sgd(Descent):
    """theta -= rate * (g + weight_decay * theta), g averaged by heavy-ball momentum if given.

    `nesterov` looks ahead: the step is along g + momentum * average. `sign` moves every parameter
    by the rate, in the direction of the sign of that (Bernstein et al. 2018, signum).
    """

    slots: ClassVar[int] = 1
    memberwise: ClassVar[tuple[str, ...]] = (*Descent.memberwise, "momentum")
    kind: Literal["sgd"] = "sgd"
    momentum: float = Field(default=0.0, ge=0, lt=1)
    nesterov: bool = False
    sign: bool = False

    @model_validator(mode="after")
    def _nothing_to_look_ahead_of(self) -> Sgd:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self

    def update(self, parameters, gradients, state, count, rate) -> None:
        for parameter, gradient, average in zip(parameters, gradients, state[0], strict=True):
            if self.weight_decay:
                gradient = gradient.add(parameter, alpha=self.weight_decay)
            if self.momentum:
                average.mul_(self.momentum).add_(gradient)
                gradient = gradient.add(average, alpha=self.momentum) if self.nesterov else average
            parameter.add_(gradient.sign() if self.sign else gradient, alpha=-rate)


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
