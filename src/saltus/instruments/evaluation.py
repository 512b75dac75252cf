"""Evaluation: loss, metrics and the model's own answers on fresh samples."""

from __future__ import annotations

from typing import Any, Literal

from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from saltus.errors import FieldProblem
from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.other_task import check_other
from saltus.tasks.base import AnyTask, Batch, Task


class Evaluation(Instrument):
    """What the model can do on the evaluation batch.

    - `evaluation/loss`: mean loss over the samples, in the task's units;
    - `evaluation/<metric>`: each of the task's own metrics;
    - `evaluation/accuracy`, where the task writes answers: the fraction of answer tokens that are
      right when the model decodes greedily after the prompt (2506.13688, section 7 of our spec);
    - `evaluation/accuracy-first`: the same for the first answer token alone. When it is near 1
      while `accuracy` is low, the model has the paper's partial solution;
    - `evaluation/accuracy-<part>`: of the parts of an answer that the task tells apart.

    `generate: false` leaves out the last three, which cost one forward pass per answer token.
    `task` evaluates on the samples of another task with the same tokens and outputs, such as
    another distribution or size; `label` then takes the place of `evaluation` in the names.
    `samples` is the number of them, the experiment's `evaluation_batch` if not given.

    `training` evaluates on this step's training batch instead, before the update that follows, and
    `label` is then `training` unless another is given. It is an evaluation all the same: the model
    runs without the noise of a training pass and with its running statistics.
    """

    kind: Literal["evaluation"] = "evaluation"
    generate: bool = True
    task: AnyTask | None = None
    label: str = Field(default="evaluation", pattern=r"^[a-z0-9][a-z0-9-]*$")
    samples: int | None = Field(default=None, ge=1)
    training: bool = Field(default=False, description="on the training batch of the step")
    cadence: AnyCadence = Cadence(every=1000)  # the model writes: many forward passes

    @model_validator(mode="before")
    @classmethod
    def _another_label(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("training") is True:
            return {"label": "training", **values}
        return values

    @model_validator(mode="after")
    def _one_batch(self) -> Evaluation:
        for name in ("task", "samples"):
            if self.training and getattr(self, name) is not None:
                raise FieldProblem(name, "not allowed with training, which is the step's own batch")
        return self

    def needs(self, task: Task) -> Needs:
        own = self.task or task
        return Needs(
            outputs=True,
            generated=self.generate and writes(own),
            task=self.task,
            samples=self.samples,
            training=self.training,
        )

    def check(self, task: Task) -> None:
        if self.task is not None:
            check_other(self.task, task)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        outputs, losses = reading.outputs, reading.losses
        assert outputs is not None and losses is not None  # `needs` asked for them
        label = self.label
        results = {f"{label}/loss": losses.mean()}
        for name, value in reading.task.metrics(outputs, reading.batch).items():
            results[f"{label}/{name}"] = value
        if self.generate and writes(reading.task):
            assert reading.generated is not None
            right = accuracies(reading.generated, right_answer(reading.task, reading.batch))
            results[f"{label}/accuracy"] = right.mean()
            results[f"{label}/accuracy-first"] = right[0]
            hits = reading.generated == right_answer(reading.task, reading.batch)
            for name, part in reading.task.answer_parts(reading.batch).items():
                results[f"{label}/accuracy-{name}"] = (hits & part).sum() / part.sum()
        return results


def accuracies(
    written: Int[Tensor, "batch answer"], right: Int[Tensor, "batch answer"]
) -> Float[Tensor, " answer"]:
    """The fraction of samples whose i-th answer token is right, for every i."""
    return (written == right).float().mean(0)


def writes(task: Task) -> bool:
    """Whether the task lets the model write an answer that can be compared with the right one."""
    return type(task).generate is not Task.generate and hasattr(task, "answer")


def right_answer(task: Task, batch: Batch) -> Int[Tensor, "batch answer"]:
    """The right answer tokens of a task that writes."""
    return task.answer(batch)  # type: ignore[attr-defined]
