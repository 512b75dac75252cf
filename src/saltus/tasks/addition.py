"""Multi-digit addition, the sum written from its last digit to its first."""

from __future__ import annotations

from math import log
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from saltus.random import Draws
from saltus.tasks.sequence import SequenceTask, numbers

PLUS, EQUALS = 10, 11


class Addition(SequenceTask):
    """a + b = c with a, b ~ Unif{1 .. 10^d - 1}: d digits each with leading zeros, then the d + 1
    digits of the sum in reverse order.

    Tokens 0..9 are digits, 10 is '+', 11 is '=' (section 7 of our spec: d = 4, so 12 ids and 15
    tokens; one layer, 10000 steps).
    """

    kind: Literal["addition"] = "addition"
    # The sum of two numbers of 18 digits still fits into 63 bits.
    digits: int = Field(default=4, ge=1, le=18, description="d, of each summand")

    @property
    def vocabulary(self) -> int:
        return 12

    @property
    def separator(self) -> int:
        return EQUALS

    @property
    def prompt_length(self) -> int:
        return 2 * self.digits + 2

    @property
    def answer_length(self) -> int:
        return self.digits + 1

    def prompts(self, draws: Draws, batch: int) -> Int[Tensor, "*members batch token"]:
        first, second = (draws.integers(1, 10**self.digits, batch) for _ in range(2))
        plus = torch.full_like(first, PLUS).unsqueeze(-1)
        summands = [_reversed_digits(x, self.digits).flip(-1) for x in (first, second)]
        return torch.cat([summands[0], plus, summands[1]], dim=-1)

    def solve(self, prompt: Int[Tensor, "*batch token"]) -> Int[Tensor, "*batch answer"]:
        d = self.digits
        places = 10 ** torch.arange(d - 1, -1, -1, device=prompt.device)
        total = (prompt[..., :d] * places).sum(-1) + (prompt[..., d + 1 :] * places).sum(-1)
        return _reversed_digits(total, d + 1)

    def attended(self, layer: int = 0) -> Bool[Tensor, "query key"] | None:
        """Output k needs the two digits of its place and the two of the place before; the first
        has no place before, and the last, a mere carry, no digits of its own place.

        With the answer before it, which stands at its own place, that determines every digit: the
        place before and its answer tell the carry.
        """
        d = self.digits
        pairs = []
        for k in range(d + 1):
            for place in {max(k - 1, 0), min(k, d - 1)}:  # from the last digit on
                pairs += [(k, d - 1 - place), (k, 2 * d - place)]
        return self.needed_keys(pairs)

    def state_groups(self) -> tuple[tuple[int, ...], ...]:
        """All answers but the last, which is 0 or 1."""
        return (self.answer_positions(0, self.digits),)

    def token_values(self) -> Float[Tensor, " vocabulary"]:
        return numbers(self.vocabulary, {PLUS, EQUALS})

    def levels(self) -> dict[str, float]:
        """The floor, exactly, and the start, where each answer costs the entropy of its own place.

        For the start the sum's last d digits are taken as uniform; that summands are never 0 makes
        them so only nearly (with two digits or more to 1e-7 nats of loss).
        """
        largest = 10**self.digits - 1
        leading = [(largest + 1) // 10 / largest] * 10
        leading[0] -= 1 / largest  # no summand is 0
        # The very first token, the leading digit of a, is never predicted.
        prompt = 2 * log(largest) - _entropy(leading)
        carry = (largest + 1) / (2 * largest)
        answers = self.digits * log(10) + _entropy([carry, 1 - carry])
        positions = self.interface.positions
        return {"floor": prompt / positions, "start": (prompt + answers) / positions}


def _reversed_digits(value: Int[Tensor, "*batch"], count: int) -> Int[Tensor, "*batch digit"]:
    """The decimal digits of a number, the last first."""
    places = 10 ** torch.arange(count, device=value.device)
    return value.unsqueeze(-1) // places % 10


def _entropy(shares: list[float]) -> float:
    return -sum(share * log(share) for share in shares if share > 0)
