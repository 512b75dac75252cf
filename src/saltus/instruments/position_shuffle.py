"""Position shuffle: what is left of a model whose positions are exchanged."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from saltus.errors import SaltusError
from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.component_switching import scores
from saltus.random import Draws
from saltus.tasks.base import Task


class PositionShuffle(Instrument):
    """What a model does when the rows of its position table are permuted (2410.22244, section 6.6
    (f) of our spec), on `samples` samples of the evaluation batch's kind.

    Gives `position-shuffle/loss` and each of the task's metrics, scalars in the task's units, and
    the same of the model as it is under `position-shuffle/intact/`. Only the rows that the task
    uses (of an image, all) are permuted, by `permutation(rows, shuffle)`: the same for all members
    and steps, so that differences between them are the models' own. Another `shuffle` is another
    permutation.
    """

    stacked: ClassVar[bool] = True
    kind: Literal["position-shuffle"] = "position-shuffle"
    shuffle: int = Field(default=0, ge=0, description="which permutation")
    table: str = Field(default="position.weight", description="the parameter with the rows")
    samples: int = Field(default=256, ge=1)
    cadence: AnyCadence = Cadence(every=1000)

    def needs(self, task: Task) -> Needs:
        return Needs(outputs=True, samples=self.samples)

    def check(self, task: Task) -> None:
        if task.interface.takes != "images" and task.interface.positions < 2:
            raise ValueError(f"a permutation needs two positions; task {task.kind} has 1")

    def read(self, reading: Reading) -> dict[str, Tensor]:
        assert reading.run is not None and reading.outputs is not None
        inputs, parameters = reading.batch["inputs"], reading.parameters
        if self.table not in parameters:
            raise SaltusError(f"position-shuffle.table: the model has no parameter {self.table}")
        rows = parameters[self.table]
        used = _used(reading.task, inputs, rows)
        order = torch.arange(rows.shape[-2])
        order[:used] = permutation(used, self.shuffle)
        shuffled = rows.index_select(-2, order.to(rows.device))
        found = reading.run(inputs, parameters={**parameters, self.table: shuffled})
        moved = scores(reading.task, found.outputs, reading.batch)
        intact = scores(reading.task, reading.outputs, reading.batch)
        return {f"position-shuffle/{name}": value for name, value in moved.items()} | {
            f"position-shuffle/intact/{name}": value for name, value in intact.items()
        }


def _used(task: Task, inputs: Tensor, table: Tensor) -> int:
    """How many rows inputs of this shape use: all, where a model cuts an image into tokens."""
    takes = task.interface.takes
    return table.shape[-2] if takes == "images" else inputs.shape[-2 if takes == "vectors" else -1]


def permutation(rows: int, shuffle: int = 0) -> Int[Tensor, " row"]:
    """A uniform permutation of 0, ..., rows - 1 that moves something: a pure function of its two
    arguments, the same on every device."""
    draws, order = Draws(shuffle, "position-shuffle", rows), torch.arange(rows)
    while rows > 1 and order.equal(torch.arange(rows)):
        order = draws.permutation(rows)
    return order
