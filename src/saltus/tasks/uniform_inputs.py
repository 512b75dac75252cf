"""Tasks on n independent inputs whose answer is as long as the prompt."""

from __future__ import annotations

from math import log

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from saltus.random import Draws
from saltus.tasks.sequence import SequenceTask, numbers


class UniformInputs(SequenceTask):
    """x_1..x_n ~ Unif{1..alphabet}; separator 0; n answers (section 7 of our spec).

    All answers' states are compared with each other unless the task says otherwise.
    """

    length: int = Field(default=16, ge=2, description="n, the number of inputs and answers")
    alphabet: int = Field(default=16, ge=2, description="inputs are 1 .. alphabet")

    @property
    def vocabulary(self) -> int:
        return self.alphabet + 1

    @property
    def separator(self) -> int:
        return 0

    @property
    def prompt_length(self) -> int:
        return self.length + 1

    @property
    def answer_length(self) -> int:
        return self.length

    def prompts(self, draws: Draws, batch: int) -> Int[Tensor, "*members batch token"]:
        return draws.integers(1, self.alphabet + 1, batch, self.length)

    def state_groups(self) -> tuple[tuple[int, ...], ...]:
        """Every pair of answers."""
        return (self.answer_positions(0, self.length),)

    def token_values(self) -> Float[Tensor, " vocabulary"]:
        return numbers(self.vocabulary, {self.separator})

    @property
    def prompt_cost(self) -> float:
        """Nats that the random prompt costs for ever: its first token is never predicted."""
        return (self.length - 1) * log(self.alphabet)

    def level(self, answers: float) -> float:
        """The loss when the answers of a sequence cost so many nats together."""
        return (self.prompt_cost + answers) / (2 * self.length)
