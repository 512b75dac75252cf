"""Token attention: the weight that one token's queries give to another token's keys."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.captured import PATTERNS, attention_patterns
from saltus.tasks.base import Task


class TokenAttention(Instrument):
    """Mean attention from token q to token k over all places where a sample holds both.

    `token-attention/<layer>` [head, query token, key token] on the training batch, for the ids in
    `tokens` in that order; 0 where no sample holds both. (p_{q <- mu, k <- nu} of 2410.09605.)
    """

    kind: Literal["token-attention"] = "token-attention"
    tokens: tuple[int, ...] = Field(min_length=1)
    cadence: AnyCadence = Cadence(every=200)

    def needs(self, task: Task) -> Needs:
        return Needs(sites=PATTERNS, training=True)

    def check(self, task: Task) -> None:
        vocabulary = task.interface.vocabulary
        if not vocabulary:
            raise ValueError(f"task {task.kind} gives {task.interface.takes}, not tokens")
        for token in self.tokens:
            if not 0 <= token < vocabulary:
                raise ValueError(f"tokens: {token} is not allowed: 0 to {vocabulary - 1}")

    def read(self, reading: Reading) -> dict[str, Tensor]:
        held = [reading.batch["inputs"] == token for token in self.tokens]
        results = {}
        for layer, pattern in attention_patterns(reading).items():
            pairs = [[_mean_where(pattern, q, k) for k in held] for q in held]
            rows = [torch.stack(row, dim=-1) for row in pairs]
            results[f"token-attention/{layer}"] = torch.stack(rows, dim=-2)
        return results


def _mean_where(
    pattern: Float[Tensor, "sample head query key"],
    queries: Bool[Tensor, "sample query"],
    keys: Bool[Tensor, "sample key"],
) -> Float[Tensor, " head"]:
    """Sums rather than products of matrices: their shapes would be too odd to stack (isolation)."""
    both = (queries.unsqueeze(-1) & keys.unsqueeze(-2)).unsqueeze(1).to(pattern.dtype)
    return (pattern * both).sum((0, 2, 3)) / both.sum().clamp(min=1.0)
