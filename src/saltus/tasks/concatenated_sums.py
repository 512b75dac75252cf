"""Moving-window sums of several windows, one after the other."""

from __future__ import annotations

from math import log
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from saltus.errors import FieldProblem
from saltus.parts import Record
from saltus.random import Draws
from saltus.tasks.base import Batch, Planted
from saltus.tasks.planting import plant
from saltus.tasks.sequence import SequenceTask, numbers


class Segment(Record):
    """Sums of `window` inputs that end at x_first, ..., x_last, counted from 1; 1 is a copy."""

    window: int = Field(ge=1)
    first: int = Field(ge=1)
    last: int = Field(ge=1)

    @model_validator(mode="after")
    def _places_fit(self) -> Segment:
        if self.first < self.window:
            raise ValueError(f"first {self.first} must be at least window {self.window}")
        if self.last < self.first:
            raise ValueError(f"last {self.last} must be at least first {self.first}")
        return self

    @property
    def count(self) -> int:
        """Answers of the segment."""
        return self.last - self.first + 1


class ConcatenatedSums(SequenceTask):
    """x_1..x_n ~ Unif{1..alphabet}; separator; segment after segment of moving-window sums.

    The sums are taken modulo `modulus`, copies (window 1) are not. Section 7 of our spec: n = 16,
    alphabet 16, modulus and separator 17, and 13 answers: x_1..x_4, the 2-sums that end at
    x_6..x_10, the 3-sums that end at x_13..x_16; one layer, 5000 steps. The paper states no oracle
    attention set for it.
    """

    kind: Literal["concat-moving-window-sum"] = "concat-moving-window-sum"
    length: int = Field(default=16, ge=2, description="n, the number of inputs")
    alphabet: int = Field(default=16, ge=2, description="inputs are 1 .. alphabet")
    modulus: int = Field(default=17, ge=2)
    segments: tuple[Segment, ...] = Field(
        default=(
            Segment(window=1, first=1, last=4),
            Segment(window=2, first=6, last=10),
            Segment(window=3, first=13, last=16),
        ),
        min_length=1,
    )

    @model_validator(mode="after")
    def _segments_fit(self) -> ConcatenatedSums:
        for number, segment in enumerate(self.segments):
            if segment.last > self.length:
                problem = f"{segment.last} must be at most length {self.length}"
                raise FieldProblem(f"segments.{number}.last", problem)
        return self

    @property
    def separator(self) -> int:
        return max(self.modulus, self.alphabet + 1)

    @property
    def vocabulary(self) -> int:
        return self.separator + 1

    @property
    def prompt_length(self) -> int:
        return self.length + 1

    @property
    def answer_length(self) -> int:
        return sum(segment.count for segment in self.segments)

    def prompts(self, draws: Draws, batch: int) -> Int[Tensor, "*members batch token"]:
        return draws.integers(1, self.alphabet + 1, batch, self.length)

    def solve(self, prompt: Int[Tensor, "*batch length"]) -> Int[Tensor, "*batch answer"]:
        answers = []
        for segment in self.segments:
            inputs = prompt[..., segment.first - segment.window : segment.last]
            sums = inputs.unfold(-1, segment.window, 1).sum(-1)
            answers.append(sums if segment.window == 1 else sums % self.modulus)
        return torch.cat(answers, dim=-1)

    def state_groups(self) -> tuple[tuple[int, ...], ...]:
        """Each segment's answers."""
        groups, start = [], 0
        for segment in self.segments:
            groups.append(self.answer_positions(start, start + segment.count))
            start += segment.count
        return tuple(groups)

    def token_values(self) -> Float[Tensor, " vocabulary"]:
        return numbers(self.vocabulary, {self.separator})

    def planted(self, batch: Batch, value: float) -> Planted:
        """An input of that value in every second place that ends a window: an answer may copy the
        last input of its window (see `plant`)."""
        ends = [end for one in self.segments for end in range(one.first - 1, one.last)]
        inputs = batch["inputs"]
        places = torch.tensor(ends, device=inputs.device).expand(*inputs.shape[:-1], len(ends))
        return plant(self, batch, value, places, range(1, self.alphabet + 1))

    def levels(self) -> dict[str, float]:
        """The floor; the plateau, where only copies are known; the start, where nothing is.

        Sums are taken as uniform over the modulus, and as unrelated to each other.
        """
        copies = sum(one.count for one in self.segments if one.window == 1)
        prompt = (self.length - 1) * log(self.alphabet)
        sums = (self.answer_length - copies) * log(self.modulus)
        positions = self.interface.positions
        return {
            "floor": prompt / positions,
            "plateau": (prompt + sums) / positions,
            "start": (prompt + sums + copies * log(self.alphabet)) / positions,
        }
