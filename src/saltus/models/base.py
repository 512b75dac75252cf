"""What a Model is: a record that builds a plain `nn.Module` and says how it starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import BeforeValidator, Field, SerializeAsAny
from torch import Tensor, nn

from saltus.parts import Part
from saltus.random import Draws

Takes = Literal["tokens", "vectors", "images"]


class Interface(NamedTuple):
    """What a task asks of a model."""

    vocabulary: int  # ids 0 .. vocabulary - 1 come in; 0 where something else does
    positions: int  # the longest input; 1 for an image
    outputs: int  # numbers per position that come out
    features: int = 0  # numbers per position that come in instead of an id
    image: tuple[int, int, int] | None = None  # channels, height, width that come in instead

    @property
    def takes(self) -> Takes:
        """What comes in: `inputs` is [..., batch, position] ids, [..., batch, position, features]
        vectors, or [..., batch, channel, height, width] images."""
        if self.image is not None:
            return "images"
        return "vectors" if self.features else "tokens"


class Start(NamedTuple):
    """How one parameter starts: `scale` times draws of `law`, plus `mean`.

    The laws: standard normal, uniform on (-1, 1), a fair sign (-1 or 1). Signs are part of the
    architecture rather than of its scale: `Model.initial_scale` leaves them alone.
    """

    scale: float
    mean: float = 0.0
    law: Literal["normal", "uniform", "sign"] = "normal"


class Model(Part):
    """A family of networks. `build` gives the module, `start` its initial law per parameter.

    The module is called as `module(inputs, tape)` and returns one row of outputs per position.
    `stackable` says that it also accepts parameters with a leading member axis; any other
    `nn.Module` is mapped over the members by `torch.func.vmap`.
    """

    stackable: ClassVar[bool] = False
    takes: ClassVar[tuple[Takes, ...]] = ("tokens",)
    # Parameters, or patterns of them, that a start draws and no optimiser changes.
    fixed: ClassVar[tuple[str, ...]] = ()
    memberwise: ClassVar[tuple[str, ...]] = ("initial_scale",)  # fields of the start alone
    initial_scale: float = Field(default=1.0, ge=0.0, description="multiplies every random start")

    @property
    def is_causal(self) -> bool:
        """Whether an output can depend on later inputs is ruled out."""
        return False

    @property
    def differs_in_training(self) -> bool:
        """Whether a training pass is another function than an evaluation: noise, or statistics of
        the batch (`Tape.training`)."""
        return False

    def check(self, interface: Interface) -> None:
        """Raise ValueError where the model cannot take a task's inputs."""
        if interface.takes not in self.takes:
            raise ValueError(f"takes {' or '.join(self.takes)}; the task gives {interface.takes}")

    def build(self, interface: Interface) -> nn.Module:
        """The module, parameters not yet initialised."""
        raise NotImplementedError(type(self).__name__)

    def rate(self, parameters: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """How fast the flow of this model begins: the inverse of its natural unit of time."""
        raise NotImplementedError(type(self).__name__)

    def conserved(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What gradient flow of any loss leaves as it is, by name: symmetries of the model."""
        return {}

    def start(self, name: str) -> Start:
        """The initial law of one parameter."""
        raise NotImplementedError(type(self).__name__)

    def start_in(self, module: nn.Module, name: str) -> Start:
        """The same in a module that `build` gave, for laws that depend on the task's sizes."""
        return self.start(name)

    def silent_row(self, name: str) -> int | None:
        """The row of a parameter that starts at zero and stays there, if there is one."""
        return None


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
            scale, mean, law = model.start_in(module, name)
            where_and_how = {"dtype": torch.float32, **where}
            value = torch.full(parameter.shape, mean, **where_and_how)
            if law != "sign":
                scale *= model.initial_scale
            if scale:
                draws = Draws(seed, f"initialisation/{name}", **where)
                value = value + _drawn(law, draws, parameter.shape) * scale
            if (row := model.silent_row(name)) is not None:
                value[row] = 0.0
            values[name] = value
    return values


def _drawn(law: str, draws: Draws, shape: torch.Size) -> Tensor:
    if law == "uniform":
        return draws.uniform(*shape, low=-1.0, high=1.0)
    if law == "sign":
        return (2 * draws.integers(0, 2, *shape) - 1).to(draws.dtype)
    return draws.normal(*shape)
