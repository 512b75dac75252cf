"""Counting: how many a's are there?"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Literal

from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from saltus.tasks.formal.answered import AnsweredTask


class Counting(AnsweredTask):
    """Fair symbols a, b, c, then the number of a's, capped at `cap`. The cap is our choice: the
    spec leaves C open."""

    kind: Literal["counting"] = "counting"
    cap: int = Field(default=9, ge=1, le=1000, description="C, the largest answer")

    @property
    def symbol_names(self) -> tuple[str, ...]:
        return ("a", "b", "c")

    @property
    def answer_names(self) -> tuple[str, ...]:
        return (*map(str, range(self.cap)), f"{self.cap}+")

    def answer_to(self, symbols: Sequence[int]) -> int:
        return min(list(symbols).count(0), self.cap)

    def answers_to(self, symbols: Int[Tensor, "*batch place"]) -> Int[Tensor, "*batch place"]:
        return (symbols == 0).cumsum(-1).clamp(max=self.cap)

    def answer_law(self, size: int) -> list[float]:
        """Of a binomial count with chance 1/3."""
        law = [0.0] * (self.cap + 1)
        for count in range(size + 1):
            law[min(count, self.cap)] += comb(size, count) * 2 ** (size - count) / 3**size
        return law
