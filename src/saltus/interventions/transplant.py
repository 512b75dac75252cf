"""Transplanting parameters from a checkpoint: optimal initialisation, component training."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, field_validator
from safetensors import SafetensorError, safe_open
from torch import Tensor

from saltus.errors import SaltusError
from saltus.interventions.base import Intervention, chosen

ARM = re.compile(r"arm:(?P<arm>[A-Za-z0-9][A-Za-z0-9._-]*)(@(?P<step>last|\d+))?")


class ArmCheckpoint(NamedTuple):
    """A checkpoint of another arm of a study; its last one where `step` is None."""

    arm: str
    step: int | None


class Transplant(Intervention):
    """Starts some groups at the values of a checkpoint; `freeze` keeps them there.

    With `freeze` on this is the loss-plateau paper's optimal initialisation (section 7.4 of our
    spec): copy a group from a converged checkpoint, freeze it, train the rest from scratch. With
    `outside` too it is training one component (section 6.8): all but the groups is copied and kept.

    `source` is a safetensors file: one model or a stack of members, as `saltus export` writes them.
    In a study's recipe it may also be `arm:NAME@STEP` (or `@last`, or neither), a checkpoint of
    another arm. Of a stack every seed takes the same `member`, a number; or the one of its own seed
    (`same seed`); or of the seed that follows its own in the stack, the last of the first (`next
    seed`): then what starts afresh owes nothing to the start that the donor itself had.
    """

    kind: Literal["transplant"] = "transplant"
    source: Path
    groups: tuple[str, ...] = Field(min_length=1)
    outside: bool = Field(default=False, description="transplant all but the groups")
    member: Annotated[int, Field(ge=0)] | Literal["same seed", "next seed"] = 0
    freeze: bool = False

    @field_validator("source")
    @classmethod
    def _arm_and_step(cls, source: Path) -> Path:
        if str(source).startswith("arm:") and not ARM.fullmatch(str(source)):
            raise ValueError(f"{source} is no arm; write arm:NAME, arm:NAME@last or arm:NAME@STEP")
        return source

    @property
    def donor_arm(self) -> ArmCheckpoint | None:
        """The checkpoint of another arm that `source` names, if it does."""
        found = ARM.fullmatch(str(self.source))
        if found is None:
            return None
        step = found["step"]
        return ArmCheckpoint(found["arm"], None if step in (None, "last") else int(step))

    def initialise(self, parameters: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
        changed = dict(parameters)
        with self._opened() as donor:
            row = self._row(donor.metadata() or {}, seed)
            there = set(donor.keys())
            for name in chosen(tuple(parameters), self.groups, self.outside):
                if name not in there:
                    raise self._problem("source", f"{self.source} has no parameter {name}")
                changed[name] = self._graft(name, donor, row, parameters[name])
        return changed

    def frozen(self, names: Sequence[str], step: int) -> list[str]:
        return [*chosen(tuple(names), self.groups, self.outside)] if self.freeze else []

    def _opened(self) -> Any:
        if self.donor_arm is not None:
            raise self._problem(
                "source",
                f"{self.source} is a checkpoint of another arm: `saltus reproduce` trains that one "
                "first; elsewhere give a file, as `saltus export` writes it",
            )
        if not self.source.is_file():
            raise self._problem("source", f"no file {self.source}")
        try:
            return safe_open(self.source, "pt")
        except (SafetensorError, OSError, ValueError) as error:
            raise self._problem("source", f"{self.source} is not safetensors: {error}") from None

    def _row(self, metadata: dict[str, str], seed: int) -> int:
        """Which member of a stack is the donor of a seed."""
        if isinstance(self.member, int):
            return self.member
        try:
            seeds = [int(each) for each in json.loads(metadata["seeds"])]
        except (KeyError, ValueError, TypeError):
            raise self._problem(
                "member",
                f"'{self.member}' needs a file that says which seeds it holds, and {self.source} "
                "does not; allowed: a number, or a file of `saltus export --all-members`",
            ) from None
        held = ", ".join(map(str, seeds))
        if seeds.count(seed) != 1:
            often = "not" if seed not in seeds else "several times"
            raise self._problem(
                "member", f"seed {seed} is {often} in {self.source}, which holds seeds {held}"
            )
        if self.member == "same seed":
            return seeds.index(seed)
        if len(seeds) == 1:
            raise self._problem("member", f"no seed follows the only one of {self.source}, {held}")
        return (seeds.index(seed) + 1) % len(seeds)

    def _graft(self, name: str, donor: Any, row: int, own: Tensor) -> Tensor:
        given = donor.get_slice(name)
        shape = list(given.get_shape())
        stacked = len(shape) == own.ndim + 1
        if stacked and row >= shape[0]:
            raise self._problem(
                "member", f"{row} is not in {self.source}, which holds {shape[0]} members"
            )
        if not stacked and self.member in ("same seed", "next seed"):
            raise self._problem("member", f"{self.source} is not a stack; allowed: 0")
        if shape[stacked:] != list(own.shape):
            raise self._problem(
                "source",
                f"{name} has shape {shape[stacked:]} in {self.source}, "
                f"the model needs {list(own.shape)}",
            )
        return (given[row] if stacked else donor.get_tensor(name)).to(own)

    def _problem(self, field: str, text: str) -> SaltusError:
        return SaltusError(f"transplant.{field}: {text}")
