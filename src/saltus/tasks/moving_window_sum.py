"""Moving-window sum: the smallest task whose loss leaps (2506.13688)."""

from __future__ import annotations

from math import log
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from saltus.random import Draws
from saltus.tasks.base import Batch, Planted
from saltus.tasks.planting import in_order, plant
from saltus.tasks.sequence import SequenceTask, numbers


class MovingWindowSum(SequenceTask):
    """x_1..x_n ~ Unif{1..alphabet}; separator; y_i = (x_{i-k+1} + ... + x_i) mod modulus.

    The first k - 1 outputs copy their x (section 7 of our spec; the paper's setting is n = 16,
    k = 2, alphabet 16, modulus 17, so 18 ids with the separator 17 and 33 tokens).
    """

    kind: Literal["moving-window-sum"] = "moving-window-sum"
    length: int = Field(default=16, ge=2, description="n, the number of inputs")
    window: int = Field(default=2, ge=1, description="k, the number of summands")
    alphabet: int = Field(default=16, ge=2, description="inputs are 1 .. alphabet")
    modulus: int = Field(default=17, ge=2)

    @model_validator(mode="after")
    def _window_fits(self) -> MovingWindowSum:
        if self.window > self.length:
            raise ValueError(f"window {self.window} must be at most length {self.length}")
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
        return self.length

    def prompts(self, draws: Draws, batch: int) -> Int[Tensor, "*members batch token"]:
        return draws.integers(1, self.alphabet + 1, batch, self.length)

    def solve(self, prompt: Int[Tensor, "*batch length"]) -> Int[Tensor, "*batch length"]:
        """The answer to a prompt."""
        copied = prompt[..., : self.window - 1]
        sums = prompt.unfold(-1, self.window, 1).sum(-1) % self.modulus
        return torch.cat([copied, sums], dim=-1)

    def attended(self, layer: int = 0) -> Bool[Tensor, "query key"] | None:
        """Output i needs x_{i-k+1} .. x_i; the copied outputs need their own x."""
        pairs = []
        for index in range(self.length):
            first = index if index < self.window - 1 else index - self.window + 1
            pairs += [(index, key) for key in range(first, index + 1)]
        return self.needed_keys(pairs)

    def state_groups(self) -> tuple[tuple[int, ...], ...]:
        """All answers but the first, a mere copy: 105 pairs for n = 16, whatever the window."""
        return (self.answer_positions(1, self.length),)

    def token_values(self) -> Float[Tensor, " vocabulary"]:
        return numbers(self.vocabulary, {self.separator})

    def planted(self, batch: Batch, value: float) -> Planted:
        """An input of that value in every second place: answer i may copy x_i (see `plant`)."""
        places = in_order(batch, self.length)
        return plant(self, batch, value, places, range(1, self.alphabet + 1))

    def levels(self) -> dict[str, float]:
        """Loss floor, the plateau where only the copied outputs are known, and before that.

        The prompt is random, so its n - 1 predicted tokens cost ln(alphabet) each for ever; the
        separator is free. Summed outputs of a window > 1 are taken as uniform over the modulus,
        as the spec does.
        """
        n, copied = self.length, self.window - 1
        prompt, unknown = (n - 1) * log(self.alphabet), log(self.modulus)
        return {
            "floor": prompt / (2 * n),
            "plateau": (prompt + (n - copied) * unknown) / (2 * n),
            "start": (prompt + (n - copied) * unknown + copied * log(self.alphabet)) / (2 * n),
        }
