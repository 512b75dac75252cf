"""Repetition: how often the model writes the same token again (2506.13688)."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor

from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.evaluation import right_answer, writes
from saltus.tasks.base import Task


class Repetition(Instrument):
    """Repetition in greedy answers yhat_1 .. yhat_n (section 7.3 of our spec), means over samples.

    - `repetition/rate`: rho = 1/(n-1) sum_{i<n} 1[yhat_i = yhat_{i+1}];
    - `repetition/first`: alpha_1 = 1/n sum_i 1[yhat_i = yhat_1], at least 1/n;
    - `repetition/data`: rho of the right answers, the level to compare with. On moving-window sum
      with n = 16, k = 2 it is 14/(15*16) = 0.0583 in expectation.
    """

    kind: Literal["repetition"] = "repetition"
    cadence: AnyCadence = Cadence(every=500)  # the model writes: many forward passes

    def needs(self, task: Task) -> Needs:
        return Needs(generated=True)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        written = reading.generated
        assert written is not None  # `needs` asked for it
        return {
            "repetition/rate": repetition_rate(written),
            "repetition/first": (written == written[:, :1]).float().mean(),
            "repetition/data": repetition_rate(right_answer(reading.task, reading.batch)),
        }

    def check(self, task: Task) -> None:
        if not writes(task):
            raise ValueError(f"task {task.kind} has no answers that a model could write")
        rows = task.output_rows()
        if rows is not None and len(range(task.interface.positions)[rows]) < 2:
            raise ValueError(f"task {task.kind} has answers of one token: nothing can repeat")


def repetition_rate(tokens: Int[Tensor, "batch answer"]) -> Float[Tensor, ""]:
    """rho: the fraction of neighbouring tokens that are equal."""
    return (tokens[:, 1:] == tokens[:, :-1]).float().mean()
