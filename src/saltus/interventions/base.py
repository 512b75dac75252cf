"""What an Intervention is: a change to the start, the training or the forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, SerializeAsAny
from torch import Tensor

from saltus.errors import SaltusError
from saltus.models.base import Model
from saltus.models.groups import select
from saltus.parts import Part
from saltus.tasks.base import Task

Knobs = Mapping[str, Any]  # 0-dimensional tensors, and `steps`


class Intervention(Part):
    """A change, written for ONE model; the engine maps it over the ensemble.

    `memberwise` names the numeric fields in which the members of an ensemble may differ. Inside
    `edit` read them from `knobs` (0-dimensional tensors), never from `self`; a field that is None
    is NaN there. `knobs["steps"]` is a plain number, the length of the training.
    """

    memberwise: ClassVar[tuple[str, ...]] = ()

    def sites(self) -> tuple[str, ...]:
        """The sites that `edit` overwrites, as shell-style patterns."""
        return ()

    def edit(self, site: str, value: Tensor, knobs: Knobs, step: Tensor, task: Task) -> Tensor:
        """The value to use at a site instead. Differentiable; no branch on tensor values."""
        return value

    def initialise(self, parameters: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
        """One member's parameters before step 0, from those of its seed's ordinary start."""
        return parameters

    def frozen(self, names: Sequence[str], step: int) -> list[str]:
        """The parameters that must not move at this step."""
        return []

    def rescale(self, gradients: Mapping[str, Tensor], model: Model, step: int) -> None:
        """Change one member's gradients, by parameter name, in place before its optimiser sees
        them. Instruments have read them before."""

    @property
    def changes_gradients(self) -> bool:
        return type(self).rescale is not Intervention.rescale

    @property
    def changes_by_step(self) -> bool:
        """Whether `edit` follows a schedule, so that no two steps have the same loss."""
        return False

    def check(self, task: Task) -> None:
        """Raise ValueError where the task cannot carry this intervention."""


AnyIntervention = Annotated[SerializeAsAny[Intervention], BeforeValidator(Intervention.parse)]


@lru_cache(maxsize=256)  # asked for at every step, of every member
def chosen(
    names: tuple[str, ...], groups: tuple[str, ...], outside: bool = False
) -> tuple[str, ...]:
    """The parameters that some groups select (`saltus.models.select`), or all the others."""
    inside = set(select(names, groups))
    if not outside:
        return tuple(name for name in names if name in inside)
    left = tuple(name for name in names if name not in inside)
    if not left:
        raise SaltusError(f"parameters: there are none outside {', '.join(groups)}")
    return left
