"""a^n b^n: the smallest language that needs counting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saltus.random import Draws
from saltus.tasks.base import Batch
from saltus.tasks.formal.base import BOS, EOS, FIRST, PAD, FormalTask, one_hot

A, B = FIRST, FIRST + 1


class ANBN(FormalTask):
    """BOS a^n b^n EOS, n uniform in 2, ..., floor((T - 3) / 2) (section 2.2 of our spec).

    The size is n. Behind the first b everything is determined.
    """

    kind: Literal["a-n-b-n"] = "a-n-b-n"

    @property
    def names(self) -> tuple[str, ...]:
        return ("a", "b")

    @property
    def sizes(self) -> range:
        return range(2, (self.length - 3) // 2 + 1)

    def tokens_in(self, size: int) -> int:
        return 2 * size + 2

    def strings(
        self, draws: Draws, size: Int[Tensor, "*members batch"]
    ) -> Int[Tensor, "*members batch token"]:
        place, n = torch.arange(self.length, device=size.device), size.unsqueeze(-1)
        tokens = torch.where(place <= n, A, B).masked_fill(place > 2 * n, EOS)
        return tokens.masked_fill(place == 0, BOS).masked_fill(place > 2 * n + 1, PAD)

    def recognises(self, tokens: Sequence[int]) -> bool:
        n = list(tokens).count(A)
        return n in self.sizes and list(tokens) == [BOS, *[A] * n, *[B] * n, EOS]

    def chances(self, prefix: Sequence[int], size: int) -> dict[int, float]:
        whole = [BOS, *[A] * size, *[B] * size, EOS]
        return {whole[len(prefix)]: 1.0} if len(prefix) < len(whole) else {}

    def entropy(self, size: int) -> float:
        """None: the size says it all."""
        return 0.0

    def possible(
        self, inputs: Int[Tensor, "*batch position"]
    ) -> Bool[Tensor, "*batch position vocabulary"]:
        a, b = (inputs == A).cumsum(-1), (inputs == B).cumsum(-1)
        rising, falling = (inputs == BOS) | (inputs == A), inputs == B
        may_be = {
            A: rising & (a < self.sizes[-1]),
            B: ((inputs == A) & (a >= self.sizes[0])) | (falling & (b < a)),
            EOS: falling & (b == a),
        }
        found = [one_hot(torch.full_like(inputs, t), w, self.vocabulary) for t, w in may_be.items()]
        return torch.stack(found).any(0)

    def probe_targets(self, batch: Batch) -> dict[str, Float[Tensor, "*batch position feature"]]:
        """`balance`: a's less b's so far."""
        steps = (batch["inputs"] == A).int() - (batch["inputs"] == B).int()
        return {"balance": steps.cumsum(-1).float().unsqueeze(-1)}
