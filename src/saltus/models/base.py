"""What a Model is: a record that builds a plain `nn.Module` and says how it starts."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from pydantic import BeforeValidator, Field, SerializeAsAny
from torch import Tensor, nn

from saltus.parts import Part
from saltus.random import Draws


class Interface(NamedTuple):
    """What a task asks of a model."""

    vocabulary: int  # ids 0 .. vocabulary - 1 come in
    positions: int  # the longest input
    outputs: int  # numbers per position that come out


class Start(NamedTuple):
    """How one parameter starts: `scale` times a standard normal, plus `mean`."""

    scale: float
    mean: float = 0.0


class Model(Part):
    """A family of networks. `build` gives the module, `start` its initial law per parameter.

    The module is called as `module(inputs, tape)` and returns one row of outputs per position.
    `stackable` says that it also accepts parameters with a leading member axis; any other
    `nn.Module` is mapped over the members by `torch.func.vmap`.
    """

    stackable: ClassVar[bool] = False
    initial_scale: float = Field(default=1.0, ge=0.0, description="multiplies every random start")

    @property
    def is_causal(self) -> bool:
        """Whether an output can depend on later inputs is ruled out."""
        return False

    def build(self, interface: Interface) -> nn.Module:
        """The module, parameters not yet initialised."""
        raise NotImplementedError(type(self).__name__)

    def start(self, name: str) -> Start:
        """The initial law of one parameter."""
        raise NotImplementedError(type(self).__name__)


AnyModel = Annotated[SerializeAsAny[Model], BeforeValidator(Model.parse)]


def initial_parameters(
    model: Model, module: nn.Module, seed: int, **where: Any
) -> dict[str, Tensor]:
    """One member's start: a pure function of (model, seed, parameter name).

    Each parameter has a stream of its own, so adding a layer does not change the others' start.
    """
    values = {}
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            scale, mean = model.start(name)
            value = torch.full(parameter.shape, mean, dtype=where.get("dtype", torch.float32))
            if scale * model.initial_scale:
                draws = Draws(seed, f"initialisation/{name}", **where)
                value = value + draws.normal(*parameter.shape) * (scale * model.initial_scale)
            values[name] = value
    return values
