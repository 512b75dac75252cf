"""Masked language modelling: hidden tokens from those around them, as RoBERTa is trained."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from saltus.random import Draws
from saltus.tasks.base import Batch
from saltus.tasks.sequence import token_losses
from saltus.tasks.text.tokens import MASK
from saltus.tasks.text.windows import TextTask

HIDDEN, RANDOM = 0.8, 0.1  # of the chosen tokens; the rest is kept


class MaskedText(TextTask):
    """Cross-entropy of the chosen tokens of a window, in nats per chosen token.

    A share `masking` of the tokens, one at least, is chosen; of these 80 % are replaced by the mask
    (id 0), 10 % by a random token and 10 % are left as they are (1810.04805, section 3.1), drawn
    anew every time as in RoBERTa (1907.11692). For models that see both sides.
    """

    kind: Literal["masked-text"] = "masked-text"
    masking: float = Field(default=0.15, gt=0, le=1, description="share of tokens to predict")

    @property
    def chosen(self) -> int:
        """Tokens of a window that are to be predicted."""
        return max(1, round(self.masking * self.length))

    def sample(self, draws: Draws, batch: int) -> Batch:
        """`inputs`, `targets` and `masked` (True where chosen) [..., batch, length]."""
        tokens = self.windows(draws, batch)
        chosen = draws.permutation(self.length, batch) < self.chosen
        fate = draws.uniform(batch, self.length)
        other = draws.integers(1, self.vocabulary, batch, self.length)
        changed = torch.where(fate < HIDDEN + RANDOM, other, tokens).masked_fill(
            fate < HIDDEN, MASK
        )
        inputs = torch.where(chosen, changed, tokens)
        return {"inputs": inputs, "targets": tokens, "masked": chosen}

    def loss(self, outputs: Tensor, batch: Batch) -> Float[Tensor, "*batch"]:
        losses = token_losses(outputs, batch["targets"])
        return losses.masked_fill(~batch["masked"], 0.0).sum(-1) / self.chosen

    def metrics(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`accuracy` of the chosen tokens. The perplexity is exp(loss)."""
        right = (outputs.argmax(-1) == batch["targets"]) & batch["masked"]
        return {"accuracy": right.to(outputs.dtype).sum(-1).mean(-1) / self.chosen}
