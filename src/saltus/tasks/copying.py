"""Copy and reverse: the answers are the inputs, in order or from the last to the first."""

from __future__ import annotations

from math import log
from typing import Literal

from jaxtyping import Bool, Int
from torch import Tensor

from saltus.tasks.base import Batch, Planted
from saltus.tasks.planting import in_order, plant
from saltus.tasks.uniform_inputs import UniformInputs


class Copy(UniformInputs):
    """y_i = x_i (section 7 of our spec; the paper trains one layer for 100 steps)."""

    kind: Literal["copy"] = "copy"

    def solve(self, prompt: Int[Tensor, "*batch length"]) -> Int[Tensor, "*batch length"]:
        return prompt

    def attended(self, layer: int = 0) -> Bool[Tensor, "query key"] | None:
        """Output i needs x_i."""
        return self.needed_keys((i, i) for i in range(self.length))

    def planted(self, batch: Batch, value: float) -> Planted:
        """An input of that value in every second place: answer i copies x_i (see `plant`)."""
        places = in_order(batch, self.length)
        return plant(self, batch, value, places, range(1, self.alphabet + 1))

    def levels(self) -> dict[str, float]:
        """The floor, and the start, where the answers are known to be inputs and no more."""
        return {"floor": self.level(0.0), "start": self.level(self.length * log(self.alphabet))}


class Reverse(Copy):
    """y_i = x_{n+1-i} (section 7 of our spec; the paper trains one layer for 100 steps)."""

    kind: Literal["reverse"] = "reverse"

    def solve(self, prompt: Int[Tensor, "*batch length"]) -> Int[Tensor, "*batch length"]:
        return prompt.flip(-1)

    def attended(self, layer: int = 0) -> Bool[Tensor, "query key"] | None:
        """Output i, counted from 0, needs the input at n - 1 - i."""
        return self.needed_keys((i, self.length - 1 - i) for i in range(self.length))

    def planted(self, batch: Batch, value: float) -> Planted:
        """An input of that value in every second place: answer i copies x_{n+1-i} (see `plant`)."""
        places = in_order(batch, self.length).flip(-1)
        return plant(self, batch, value, places, range(1, self.alphabet + 1))
