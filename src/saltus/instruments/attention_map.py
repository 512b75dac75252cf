"""Attention maps: the average pattern of every head, and single ones, to be looked at."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints
from torch import Tensor

from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.captured import PATTERNS, attention_patterns
from saltus.instruments.other_task import check_other
from saltus.tasks.base import AnyTask, Task


class AttentionMap(Instrument):
    """Mean attention weights over the evaluation batch, as in 2410.22244 (section 6.3 of our spec).

    Gives the array `attention-map/blocks.i` [head, query, key], signed for linear attention. An
    array per layer is kept for every reading, so by default there are ten per decade of steps.

    `samples: n` also keeps the maps of the first n samples one by one,
    `attention-map/blocks.i.samples` [sample, head, query, key], and, where the task masks its
    inputs, `attention-map/observed` [sample, position], 1 where the sample shows its entry.
    `batch` is the number of samples averaged over, if not the experiment's `evaluation_batch`.
    `task` reads on the samples of another task, such as one with a structured mask; `label` takes
    the place of `attention-map`.
    """

    kind: Literal["attention-map"] = "attention-map"
    samples: int = Field(default=0, ge=0, description="single-sample maps that are kept too")
    batch: int | None = Field(default=None, ge=1, description="evaluation_batch if not given")
    task: AnyTask | None = None
    label: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")] = "attention-map"
    cadence: AnyCadence = Cadence(per_decade=10)

    def needs(self, task: Task) -> Needs:
        return Needs(sites=PATTERNS, samples=self.batch, task=self.task)

    def check(self, task: Task) -> None:
        if self.task is not None:
            check_other(self.task, task)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        results = {}
        for block, pattern in attention_patterns(reading).items():
            results[f"{self.label}/{block}"] = pattern.mean(0)
            if self.samples:
                results[f"{self.label}/{block}.samples"] = pattern[: self.samples]
        observed = reading.batch.get("observed")
        if self.samples and observed is not None:
            results[f"{self.label}/observed"] = observed[: self.samples].float()
        return results
