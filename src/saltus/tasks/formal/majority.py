"""Majority: are there more ones than zeros?"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from saltus.tasks.formal.answered import AnsweredTask


class Majority(AnsweredTask):
    """Fair bits, then 1 where there are more ones than zeros, else 0: strict majority."""

    kind: Literal["majority"] = "majority"

    @property
    def symbol_names(self) -> tuple[str, ...]:
        return ("0", "1")

    @property
    def answer_names(self) -> tuple[str, ...]:
        return ("no", "yes")

    def answer_to(self, symbols: Sequence[int]) -> int:
        return int(2 * sum(symbols) > len(symbols))

    def answers_to(self, symbols: Int[Tensor, "*batch place"]) -> Int[Tensor, "*batch place"]:
        seen = torch.arange(1, symbols.shape[-1] + 1, device=symbols.device)
        return (2 * symbols.cumsum(-1) > seen).long()

    def answer_law(self, size: int) -> list[float]:
        yes = sum(comb(size, ones) for ones in range(size // 2 + 1, size + 1)) / 2**size
        return [1 - yes, yes]
