"""Matrix completion for a GPT: the masked matrix, a separator, the whole matrix (2410.22244)."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from saltus.random import Draws
from saltus.tasks.base import Batch, Planted
from saltus.tasks.low_rank import MASK, LowRankTask
from saltus.tasks.planting import allowed_token
from saltus.tasks.sequence import SequenceTask


class MatrixSequence(LowRankTask, SequenceTask):
    """Next-token prediction of `masked cells, separator, all cells` (section 2.5 of our spec).

    With the default precision and limit 2 there are 405 ids: 0 is the mask, 201 + 100 x the value
    x, 404 the separator (402 and 403 stand for nothing, as in the paper). Cross-entropy counts on
    every token, the masked matrix included.
    """

    kind: Literal["matrix-sequence"] = "matrix-sequence"
    limit: int = Field(default=2, ge=1, description="tokens stand for -limit .. limit")

    @property
    def separator(self) -> int:
        return 2 * self.zero + 2

    @property
    def vocabulary(self) -> int:
        return self.separator + 1

    @property
    def prompt_length(self) -> int:
        return self.cells + 1

    @property
    def answer_length(self) -> int:
        return self.cells

    @property
    def grid(self) -> None:  # a position is not a cell here
        return None

    def sequences(self, draws: Draws, batch: int) -> Int[Tensor, "*members batch token"]:
        values, observed = self.matrices(draws, batch)
        answer = self.encode(values)
        prompt = answer.masked_fill(~observed, MASK)
        separator = torch.full_like(prompt[..., :1], self.separator)
        return torch.cat([prompt, separator, answer], dim=-1)

    def answer_parts(self, batch: Batch) -> dict[str, Bool[Tensor, "*batch answer"]]:
        """`observed` and `masked`: the answers whose entry the prompt shows, and the others."""
        observed = batch["inputs"][..., : self.cells] != MASK
        return {"observed": observed, "masked": ~observed}

    def token_values(self) -> Float[Tensor, " vocabulary"]:
        return self.decode(torch.arange(self.vocabulary)).float()

    def planted(self, batch: Batch, value: float) -> Planted:
        """The token `value` in place of every mask of the prompt; a model that copies gives it back
        as the answer of that cell. The answers in the batch stay those of the matrix itself."""
        token = allowed_token(self, value, range(MASK + 1, 2 * self.zero))
        missing = self.answer_parts(batch)["masked"]
        inputs, where = batch["inputs"].clone(), torch.zeros_like(batch["targets"]).bool()
        inputs[..., : self.cells].masked_fill_(missing, token)
        where[..., self.output_rows()] = missing
        return Planted({**batch, "inputs": inputs}, where, float(token))

    def attended(self, layer: int = 0) -> Bool[Tensor, "query key"]:
        """Answer k needs cell k of the prompt, if that is shown."""
        needed = torch.zeros(self.interface.positions, self.interface.positions, dtype=torch.bool)
        cells = torch.arange(self.cells)
        needed[self.cells + cells, cells] = True
        return needed
