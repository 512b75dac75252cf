"""Repeat: blocks of one token each, all made from the first input."""

from __future__ import annotations

from math import log
from typing import Literal

import torch
from jaxtyping import Int
from pydantic import Field, model_validator
from torch import Tensor

from saltus.tasks.base import Batch, Planted
from saltus.tasks.planting import in_order, plant
from saltus.tasks.uniform_inputs import UniformInputs


class Repeat(UniformInputs):
    """k blocks of n/k answers; block b = 0 .. k-1 repeats (x_1 + b) mod modulus (REPEAT_k).

    Section 7 of our spec: n = 16, k = 1, 2 or 4, alphabet 16, modulus and separator 17, one layer,
    200 steps. All inputs but the first are noise. The paper states no oracle attention set.
    """

    kind: Literal["repeat"] = "repeat"
    blocks: int = Field(default=1, ge=1, description="k, the number of blocks; divides length")
    modulus: int = Field(default=17, ge=2)

    @model_validator(mode="after")
    def _blocks_divide_length(self) -> Repeat:
        if self.length % self.blocks:
            raise ValueError(f"length {self.length} must be a multiple of blocks {self.blocks}")
        return self

    @property
    def separator(self) -> int:
        return max(self.modulus, self.alphabet + 1)

    @property
    def vocabulary(self) -> int:
        return self.separator + 1

    def solve(self, prompt: Int[Tensor, "*batch length"]) -> Int[Tensor, "*batch length"]:
        block = torch.arange(self.length, device=prompt.device) // (self.length // self.blocks)
        return (prompt[..., :1] + block) % self.modulus

    def state_groups(self) -> tuple[tuple[int, ...], ...]:
        """Each block without its first answer: 105, 42 and 12 pairs for k = 1, 2, 4 of 16."""
        size = self.length // self.blocks
        return tuple(
            self.answer_positions(start + 1, start + size) for start in range(0, self.length, size)
        )

    def planted(self, batch: Batch, value: float) -> Planted:
        """x_1 of that value in every second sample: the first block copies it (see `plant`)."""
        first = in_order(batch, self.length) < self.length // self.blocks
        places = torch.where(first, 0, -1)
        return plant(self, batch, value, places, range(1, self.alphabet + 1))

    def levels(self) -> dict[str, float]:
        """The floor, and the start, where each answer costs the entropy of its own place,
        that of x_1 mod modulus: ln(alphabet) if the modulus is not below the alphabet."""
        entropy = 0.0
        for residue in range(self.modulus):
            share = len(range(residue or self.modulus, self.alphabet + 1, self.modulus))
            share /= self.alphabet
            entropy -= share * log(share) if share else 0.0
        return {"floor": self.level(0.0), "start": self.level(self.length * entropy)}
