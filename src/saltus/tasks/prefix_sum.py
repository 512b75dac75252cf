"""Prefix sum: each answer is the sum of all inputs so far."""

from __future__ import annotations

from math import lgamma, log
from typing import Literal

from jaxtyping import Bool, Int
from pydantic import Field, model_validator
from torch import Tensor

from saltus.random import Draws
from saltus.tasks.base import Batch, Planted
from saltus.tasks.planting import in_order, plant
from saltus.tasks.uniform_inputs import UniformInputs


class PrefixSum(UniformInputs):
    """y_i = (x_1 + ... + x_i) mod modulus.

    Section 7 of our spec: n = 16, alphabet 16, modulus and separator 17, one layer, 1000 steps.
    `inputs: permutation` draws the inputs as a permutation of 1..n instead. With the paper's sizes
    an answer never equals the one before it, so the data's repetition frequency is 0.
    """

    kind: Literal["prefix-sum"] = "prefix-sum"
    modulus: int = Field(default=17, ge=2)
    inputs: Literal["uniform", "permutation"] = "uniform"

    @model_validator(mode="after")
    def _inputs_fit(self) -> PrefixSum:
        if self.inputs == "permutation" and self.alphabet != self.length:
            raise ValueError(
                f"alphabet {self.alphabet} must equal length {self.length} where the inputs are a "
                "permutation"
            )
        return self

    @property
    def separator(self) -> int:
        return max(self.modulus, self.alphabet + 1)

    @property
    def vocabulary(self) -> int:
        return self.separator + 1

    def prompts(self, draws: Draws, batch: int) -> Int[Tensor, "*members batch token"]:
        if self.inputs == "permutation":
            return draws.permutation(self.length, batch) + 1
        return super().prompts(draws, batch)

    def solve(self, prompt: Int[Tensor, "*batch length"]) -> Int[Tensor, "*batch length"]:
        return prompt.cumsum(-1) % self.modulus

    def attended(self, layer: int = 0) -> Bool[Tensor, "query key"] | None:
        """Output 0 needs x_1; output i needs its input and the answer before, at its own place."""
        n = self.length
        inputs = [(i, i) for i in range(n)]
        return self.needed_keys(inputs + [(i, n + i) for i in range(1, n)])

    def state_groups(self) -> tuple[tuple[int, ...], ...]:
        """All answers but the first, a mere copy: 105 pairs for n = 16."""
        return (self.answer_positions(1, self.length),)

    def planted(self, batch: Batch, value: float) -> Planted:
        """An input of that value in every second place: answer i may copy x_i (see `plant`)."""
        places = in_order(batch, self.length)
        return plant(self, batch, value, places, range(1, self.alphabet + 1))

    @property
    def prompt_cost(self) -> float:
        if self.inputs == "permutation":
            return lgamma(self.length)  # ln (n - 1)!: all orders of what the first token left over
        return super().prompt_cost

    def levels(self) -> dict[str, float]:
        """The floor; and for uniform inputs the plateau and the start.

        Plateau: the first answer is known, and each later one is taken as uniform over the modulus,
        as the spec does for moving-window sum. Start: the first is known only to be an input. A
        permutation of 1..n ties the answers to one another, and has the floor alone.
        """
        found = {"floor": self.level(0.0)}
        if self.inputs == "uniform":
            later = (self.length - 1) * log(self.modulus)
            found["plateau"] = self.level(later)
            found["start"] = self.level(later + log(self.alphabet))
        return found
