"""Causal language modelling: every token from those before it, as GPT-2 is trained."""

from __future__ import annotations

from math import log
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from saltus.random import Draws
from saltus.tasks.base import Batch
from saltus.tasks.sequence import token_losses
from saltus.tasks.text.windows import TextTask


class CausalText(TextTask):
    """Next-token cross-entropy at every position of a window, in nats per token.

    For causal models: any other sees what it is to predict.
    """

    kind: Literal["causal-text"] = "causal-text"

    @property
    def window(self) -> int:
        return self.length + 1  # the last token is only predicted

    def sample(self, draws: Draws, batch: int) -> Batch:
        """`inputs` and `targets` [..., batch, length], the same window one token on."""
        tokens = self.windows(draws, batch)
        return {"inputs": tokens[..., :-1], "targets": tokens[..., 1:]}

    def loss(self, outputs: Tensor, batch: Batch) -> Float[Tensor, "*batch"]:
        return token_losses(outputs, batch["targets"]).mean(-1)

    def metrics(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`accuracy` of the likeliest token, and `bits-per-character`: the loss in bits over the
        mean characters of a token, which does not depend on how the text is cut into tokens.

        The perplexity is exp(loss).
        """
        right = outputs.argmax(-1) == batch["targets"]
        loss = self.loss(outputs, batch).mean(-1)
        return {
            "accuracy": right.to(outputs.dtype).mean((-2, -1)),
            "bits-per-character": loss / (log(2) * self.characters_per_token()),
        }
