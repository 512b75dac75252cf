"""Histogram: each answer is how often its input occurs."""

from __future__ import annotations

from math import comb, log
from typing import Literal

from jaxtyping import Bool, Int
from pydantic import Field
from torch import Tensor

from saltus.tasks.uniform_inputs import UniformInputs


class Histogram(UniformInputs):
    """y_i = #{j: x_j = x_i}, between 1 and n.

    Section 7 of our spec: n = 16, alphabet 12, separator 0, 17 ids, two layers, 5000 steps with
    gradients clipped at norm 1. Counts and inputs share their ids.
    """

    kind: Literal["histogram"] = "histogram"
    alphabet: int = Field(default=12, ge=2, description="inputs are 1 .. alphabet")

    @property
    def vocabulary(self) -> int:
        return max(self.alphabet, self.length) + 1

    def solve(self, prompt: Int[Tensor, "*batch length"]) -> Int[Tensor, "*batch length"]:
        return (prompt.unsqueeze(-1) == prompt.unsqueeze(-2)).sum(-1)

    def attended(self, layer: int = 0) -> Bool[Tensor, "query key"] | None:
        """In the first layer output i needs x_i; what the second needs depends on the sample."""
        return self.needed_keys((i, i) for i in range(self.length)) if layer == 0 else None

    def levels(self) -> dict[str, float]:
        """The floor, and the start, where each answer costs the entropy of its own place: a count
        is 1 + Binomial(n - 1, 1/alphabet)."""
        others, chance = self.length - 1, 1 / self.alphabet
        entropy = 0.0
        for k in range(others + 1):
            share = comb(others, k) * chance**k * (1 - chance) ** (others - k)
            entropy -= share * log(share) if share else 0.0
        return {"floor": self.level(0.0), "start": self.level(self.length * entropy)}
