"""First token: what did the string begin with?"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase
from typing import Literal

from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from saltus.tasks.formal.answered import AnsweredTask


class FirstToken(AnsweredTask):
    """Fair symbols, then the first of them once more: one place decides, at any length."""

    kind: Literal["first-token"] = "first-token"
    symbols: int = Field(default=2, ge=2, le=26, description="symbols to draw from")

    @property
    def symbol_names(self) -> tuple[str, ...]:
        return tuple(ascii_lowercase[: self.symbols])

    @property
    def answer_names(self) -> tuple[str, ...]:
        return tuple(f"first-{name}" for name in self.symbol_names)

    def answer_to(self, symbols: Sequence[int]) -> int:
        return symbols[0]

    def answers_to(self, symbols: Int[Tensor, "*batch place"]) -> Int[Tensor, "*batch place"]:
        return symbols[..., :1].expand(symbols.shape)

    def answer_law(self, size: int) -> list[float]:
        return [1 / self.symbols] * self.symbols
