"""Copy check: does the model give back whatever stands in its input (2410.22244)?"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints
from torch import Tensor

from saltus.errors import SaltusError
from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.distance import mean_at, position_errors
from saltus.instruments.other_task import check_other
from saltus.random import Draws
from saltus.tasks.base import AnyTask, Planted, Task

NUMBERS = (0.44, -0.24)  # the paper's


class CopyCheck(Instrument):
    """A value v is written where a model that copies gives it back (section 6.1 of our spec): in
    matrix completion, in the place of every masked entry. For each of `values`, named as what was
    written, which is rounded to what tokens stand for:

    - `copy-check/replace-loss/<v>`: how far the outputs at those places are from v (squared
      error, or 0 / 1 for tokens): small where the model copies;
    - `copy-check/loss/<v>`: the task's loss, against the true targets;
    - `copy-check/planted-loss/<v>`: the error against the true targets at those places alone; a
      model that copies has Var(X) + (v - E X)^2;
    - `copy-check/observed-loss/<v>`: the same at the observed positions, where there are such.

    Where outputs are numbers, the values are the paper's 0.44 and -0.24 if not given, and the
    batch as it is stands beside them as `mask`, compared with v = 0. Where the model writes
    tokens, values are token ids, and the answers before each output are the right ones. `task`
    checks on the samples of another task, such as matrices without low rank; `label` takes the
    place of `copy-check`.
    """

    stacked: ClassVar[bool] = True
    kind: Literal["copy-check"] = "copy-check"
    values: tuple[float, ...] | None = Field(default=None, min_length=1)
    samples: int = Field(default=512, ge=1)
    task: AnyTask | None = None
    label: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")] = "copy-check"
    cadence: AnyCadence = Cadence(per_decade=10)

    def needs(self, task: Task) -> Needs:
        return Needs(samples=self.samples, task=self.task)

    def check(self, task: Task) -> None:
        own = self.task or task
        check_other(own, task)
        if type(own).planted is Task.planted:
            raise ValueError(f"task {own.kind} does not say where a value could be written")
        if self.values is None and not _writes_numbers(own):
            raise ValueError(f"values: required for task {own.kind}, which writes tokens, by id")
        written: set[float] = set()
        for value in self.values or NUMBERS:
            try:
                planted = own.planted(own.sample(Draws(0, "check"), 1), value)
            except SaltusError as error:
                raise ValueError(str(error)) from None
            assert planted is not None  # this task has its own way
            if planted.value in written:
                raise ValueError(f"values: two of them are written as {planted.value:g}")
            written.add(planted.value)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        task, batch, results = reading.task, reading.batch, {}
        for value in self.values or NUMBERS:
            planted = task.planted(batch, value)
            assert planted is not None  # `check` saw to it
            if not results and _writes_numbers(task):
                results |= self._copied(reading, planted._replace(batch=batch, value=0.0), "mask")
            results |= self._copied(reading, planted, f"{planted.value:g}")
        return results

    def _copied(self, reading: Reading, planted: Planted, name: str) -> dict[str, Tensor]:
        assert reading.run is not None  # this instrument is stacked
        task, batch = reading.task, planted.batch
        outputs = reading.run(batch["inputs"]).outputs
        errors = position_errors(outputs, batch["targets"])
        found = {
            "replace-loss": mean_at(task.copy_error(outputs, planted), planted.where),
            "loss": task.loss(outputs, batch).mean(-1),
            "planted-loss": mean_at(errors, planted.where),
        }
        observed = reading.batch.get("observed")
        if observed is not None and observed.shape == errors.shape:
            found["observed-loss"] = mean_at(errors, observed)
        return {f"{self.label}/{what}/{name}": value for what, value in found.items()}


def _writes_numbers(task: Task) -> bool:
    """Whether an output is one number, not a score for every token."""
    return task.interface.outputs == 1
