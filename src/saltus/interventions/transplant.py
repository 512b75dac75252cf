"""Transplanting parameters from a checkpoint, and optimal initialisation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from saltus.errors import SaltusError
from saltus.interventions.base import Intervention
from saltus.models.groups import select


class Transplant(Intervention):
    """Starts some groups at the values of a checkpoint; `freeze` keeps them there.

    With `freeze` on this is the loss-plateau paper's optimal initialisation (section 7.4 of our
    spec): copy a group from a converged checkpoint, freeze it, train the rest from scratch.
    `source` is a safetensors file: one model (`saltus export` writes one) or a stack of members.
    """

    kind: Literal["transplant"] = "transplant"
    source: Path
    groups: tuple[str, ...] = Field(min_length=1)
    member: int = Field(default=0, ge=0, description="which member, where the file holds a stack")
    freeze: bool = False

    def initialise(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        donor = self._read()
        changed = dict(parameters)
        for name in select(parameters, self.groups):
            changed[name] = self._graft(name, donor, parameters[name])
        return changed

    def frozen(self, names: Sequence[str], step: int) -> list[str]:
        return select(names, self.groups) if self.freeze else []

    def _read(self) -> dict[str, Tensor]:
        if not self.source.is_file():
            raise SaltusError(f"transplant.source: no file {self.source}")
        try:
            return load_file(self.source)
        except (SafetensorError, OSError, ValueError) as error:
            raise SaltusError(
                f"transplant.source: {self.source} is not safetensors: {error}"
            ) from None

    def _graft(self, name: str, donor: dict[str, Tensor], own: Tensor) -> Tensor:
        if name not in donor:
            raise SaltusError(f"transplant.source: {self.source} has no parameter {name}")
        value = donor[name]
        if value.ndim == own.ndim + 1:
            if self.member >= len(value):
                raise SaltusError(
                    f"transplant.member: {self.member} is not in {self.source}, "
                    f"which holds {len(value)} members"
                )
            value = value[self.member]
        if value.shape != own.shape:
            raise SaltusError(
                f"transplant.source: {name} has shape {list(value.shape)} in {self.source}, "
                f"the model needs {list(own.shape)}"
            )
        return value.to(own)
