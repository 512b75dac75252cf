"""Answer statistics: which tokens the answers are made of, whatever their order."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.evaluation import right_answer, writes
from saltus.tasks.base import Task

SMALL = 1e-6  # the paper's, inside the logarithm


class AnswerStatistics(Instrument):
    """Token counts of greedy answers, means over samples (2506.13688, section 7.3 of our spec).

    With p_v the share of token v in one sample's answer,

    - `answers/entropy`: sum_v p_v ln(1 / (p_v + 1e-6)), nats; 0 where one token is written for
      ever, so a fall below the data's shows the bias of a plateau even where nothing repeats in a
      row;
    - `answers/entropy-data`: the same of the right answers. On prefix sums with n = 16 and modulus
      17 it is 2.30 in expectation;
    - `answers/count-check`: the share of tokens of the vocabulary that are written as often as the
      right answer holds them. 1 for every answer that is right up to its order.
    """

    kind: Literal["answer-statistics"] = "answer-statistics"
    cadence: AnyCadence = Cadence(every=500)  # the model writes: many forward passes

    def needs(self, task: Task) -> Needs:
        return Needs(generated=True)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        task, written = reading.task, reading.generated
        assert written is not None  # `needs` asked for it
        vocabulary = task.interface.vocabulary
        own = token_shares(written, vocabulary)
        right = token_shares(right_answer(task, reading.batch), vocabulary)
        return {
            "answers/entropy": entropy(own).mean(),
            "answers/entropy-data": entropy(right).mean(),
            "answers/count-check": (own == right).to(own.dtype).mean(),
        }

    def check(self, task: Task) -> None:
        if not writes(task):
            raise ValueError(f"task {task.kind} has no answers that a model could write")


def token_shares(
    tokens: Int[Tensor, "*batch answer"], vocabulary: int
) -> Float[Tensor, "*batch vocabulary"]:
    """The share of each token of the vocabulary among the tokens of an answer."""
    ids = torch.arange(vocabulary, device=tokens.device)
    return (tokens.unsqueeze(-1) == ids).float().mean(-2)


def entropy(shares: Float[Tensor, "*batch vocabulary"]) -> Float[Tensor, "*batch"]:
    """sum_v p_v ln(1 / (p_v + 1e-6)): at most 1e-6 for each token that occurs below the entropy."""
    return -(shares * (shares + SMALL).log()).sum(-1)
