"""Permutation: the inputs in the order that the prompt asks for."""

from __future__ import annotations

from math import lgamma, log
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from saltus.random import Draws
from saltus.tasks.base import Batch, Planted
from saltus.tasks.planting import plant
from saltus.tasks.sequence import SequenceTask, numbers


class Permutation(SequenceTask):
    """x_1..x_n; 0; pi(1)..pi(n); 0; answers y_i = x_{pi(i)}.

    The letters x ~ Unif{n+1 .. n+alphabet}, with replacement, and pi is a permutation of 1..n
    (section 7 of our spec: n = 16, alphabet 16, so 33 ids and 50 tokens; two layers, 2000 steps).
    `compositions: c` asks for pi applied c times, y_i = x_{pi(pi(i))} for c = 2.

    `oracle` says which of the paper's two solutions the oracle set is of: outputs look up pi(i)
    first and the letter after it, or the places of pi(i) fetch the letters first.
    """

    kind: Literal["permutation"] = "permutation"
    length: int = Field(default=16, ge=2, description="n, the number of letters")
    alphabet: int = Field(default=16, ge=2, description="letters are n+1 .. n+alphabet")
    compositions: int = Field(default=1, ge=1, description="how often pi is applied")
    oracle: Literal["index-first", "letter-first"] = "index-first"

    @property
    def vocabulary(self) -> int:
        return self.length + self.alphabet + 1

    @property
    def separator(self) -> int:
        return 0

    @property
    def prompt_length(self) -> int:
        return 2 * self.length + 2

    @property
    def answer_length(self) -> int:
        return self.length

    def prompts(self, draws: Draws, batch: int) -> Int[Tensor, "*members batch token"]:
        letters = draws.integers(*self._letters, batch, self.length)
        order = draws.permutation(self.length, batch) + 1
        return torch.cat([letters, torch.zeros_like(order[..., :1]), order], dim=-1)

    def solve(self, prompt: Int[Tensor, "*batch token"]) -> Int[Tensor, "*batch answer"]:
        return prompt.gather(-1, self._places(prompt))

    def _places(self, prompt: Tensor) -> Tensor:
        """Whose letter answer i is: pi(i), or where pi applied `compositions` times leads."""
        order = prompt[..., self.length + 1 :] - 1
        places = order
        for _ in range(self.compositions - 1):
            places = order.gather(-1, places)
        return places

    def planted(self, batch: Batch, value: float) -> Planted:
        """A letter of that value in every second place of x: answers copy letters (see `plant`)."""
        places = self._places(batch["inputs"][..., : self.prompt_length - 1])
        return plant(self, batch, value, places, range(*self._letters))

    @property
    def _letters(self) -> tuple[int, int]:
        return self.length + 1, self.length + 1 + self.alphabet

    def attended(self, layer: int = 0) -> Bool[Tensor, "query key"] | None:
        """The layer in which output i needs the place of pi(i), layer 0 or, letters first, layer 1.

        What the other layer needs depends on the sample: see `attended_in`. None for a permutation
        applied several times, for which the paper states no set.
        """
        if self.compositions > 1 or layer != self._index_layer:
            return None
        return self.needed_keys((i, self.length + 1 + i) for i in range(self.length))

    def attended_in(self, batch: Batch, layer: int = 0) -> Bool[Tensor, "*batch query key"] | None:
        """The same in every sample, and the layer that fetches letters: output i looks at x_{pi(i)}
        in layer 1, or, letters first, the place of pi(i) does in layer 0."""
        if self.compositions > 1 or layer != 1 - self._index_layer:
            return super().attended_in(batch, layer)
        inputs = batch["inputs"]
        places = self._places(inputs[..., : self.prompt_length - 1])
        positions, n = inputs.shape[-1], self.length
        first = self.prompt_length - 1 if self.oracle == "index-first" else n + 1
        needed = inputs.new_zeros((*inputs.shape, positions), dtype=torch.bool)
        keys = torch.arange(positions, device=inputs.device)
        needed[..., first : first + n, :] = places.unsqueeze(-1) == keys
        return needed

    @property
    def _index_layer(self) -> int:
        return 0 if self.oracle == "index-first" else 1

    def state_groups(self) -> tuple[tuple[int, ...], ...]:
        """Every pair of answers."""
        return (self.answer_positions(0, self.length),)

    def token_values(self) -> Float[Tensor, " vocabulary"]:
        return numbers(self.vocabulary, {self.separator})

    def levels(self) -> dict[str, float]:
        """The floor, and the start, where answers are known to be letters and no more.

        The prompt costs (n - 1) ln(alphabet) + ln n!: its first letter is never predicted, and of
        pi the numbers already seen are left out.
        """
        n = self.length
        prompt = (n - 1) * log(self.alphabet) + lgamma(n + 1)
        positions = self.interface.positions
        answers = n * log(self.alphabet)
        return {"floor": prompt / positions, "start": (prompt + answers) / positions}
