"""Parity: is the number of ones odd?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from jaxtyping import Int
from torch import Tensor

from saltus.tasks.formal.answered import AnsweredTask


class Parity(AnsweredTask):
    """Fair bits, then the parity of the number of ones. Nothing short of all bits tells it."""

    kind: Literal["parity"] = "parity"

    @property
    def symbol_names(self) -> tuple[str, ...]:
        return ("0", "1")

    @property
    def answer_names(self) -> tuple[str, ...]:
        return ("even", "odd")

    def answer_to(self, symbols: Sequence[int]) -> int:
        return sum(symbols) % 2

    def answers_to(self, symbols: Int[Tensor, "*batch place"]) -> Int[Tensor, "*batch place"]:
        return symbols.cumsum(-1) % 2

    def answer_law(self, size: int) -> list[float]:
        return [0.5, 0.5]
