"""Matrix completion as masked regression: the leap from copying to computing (2410.22244)."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saltus.models.base import Interface
from saltus.random import Draws
from saltus.tasks.base import Batch, Planted
from saltus.tasks.low_rank import MASK, LowRankTask


class MatrixCompletion(LowRankTask):
    """Observed entries as tokens, missing ones as the mask token; one real number out per cell.

    Cell (i, j) is position i columns + j. Token 0 is the mask, the token of a value x is
    1001 + 100 x with the default precision (2002 ids, values -10.00 .. 10.00). The loss is the
    mean squared error over all cells, observed and missing (sections 1 and 2 of our spec). The
    paper's setting is 7 x 7, rank 2, a mask probability of 0.3, factors uniform on [-1, 1].
    """

    kind: Literal["matrix-completion"] = "matrix-completion"

    @property
    def interface(self) -> Interface:
        return Interface(2 * self.zero, self.cells, 1)

    def sample(self, draws: Draws, batch: int) -> Batch:
        values, observed = self.matrices(draws, batch)
        tokens = self.encode(values).masked_fill(~observed, MASK)
        return {"inputs": tokens, "targets": values, "observed": observed}

    def loss(self, outputs: Tensor, batch: Batch) -> Float[Tensor, "*batch"]:
        return (outputs.squeeze(-1) - batch["targets"]).square().mean(-1)

    def metrics(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`loss/observed` and `loss/masked`, the mean squared errors of the cells shown and
        missing, and `mask-value`, the mean |prediction| at the missing ones; NaN where there are
        no such cells."""
        predicted, observed = outputs.squeeze(-1), batch["observed"]
        error = (predicted - batch["targets"]).square()
        return {
            "loss/observed": mean_where(error, observed),
            "loss/masked": mean_where(error, ~observed),
            "mask-value": mean_where(predicted.abs(), ~observed),
        }

    def levels(self) -> dict[str, float]:
        """`plateau`: observed entries copied, missing ones guessed by their mean, exactly
        p Var(X); `start`: every entry guessed. Rounding adds 1/12 of a squared unit at most."""
        share = self.mask_probability
        if self.missing is not None:
            share = self.missing / self.cells
        if self.hidden_rows or self.hidden_columns:
            observed = self._observed(Draws(0, ""), 1, self.rows, self.columns)
            share = 1 - float(observed.double().mean())
        return {"plateau": share * self.variance, "start": self.variance}

    def token_values(self) -> Float[Tensor, " vocabulary"]:
        return self.decode(torch.arange(2 * self.zero)).float()

    def planted(self, batch: Batch, value: float) -> Planted:
        """`value` in the place of every missing entry; a model that copies gives it back."""
        token = self.encode(torch.tensor(float(value)))
        missing = ~batch["observed"]
        inputs = batch["inputs"].masked_fill(missing, int(token))
        return Planted({**batch, "inputs": inputs}, missing, float(self.decode(token)))

    def copy_error(self, outputs: Tensor, planted: Planted) -> Float[Tensor, "*batch position"]:
        return (outputs.squeeze(-1) - planted.value).square()

    def corrupted(self, batch: Batch) -> Batch:
        """-X with the same mask."""
        tokens = batch["inputs"]
        mirrored = torch.where(tokens == MASK, MASK, 2 * self.zero - tokens)
        return {**batch, "inputs": mirrored, "targets": -batch["targets"]}

    def probe_targets(self, batch: Batch) -> dict[str, Float[Tensor, "*batch position feature"]]:
        """`row`: the row of the cell with its missing entries set to 0; `element`: the cell's own
        value, missing or not; `svd`: the matrix's first left singular vector, the same for all
        cells, its largest entry made positive (section 6.7 of our spec; there its sign is left
        open)."""
        if self.grid is None:
            return {"element": batch["targets"].unsqueeze(-1)}
        values = batch["targets"].unflatten(-1, self.grid)
        shown = values * batch["observed"].unflatten(-1, self.grid)
        row = shown.repeat_interleave(self.columns, dim=-2)
        left = torch.linalg.svd(values.double(), full_matrices=False).U[..., :, 0]
        largest = left.gather(-1, left.abs().argmax(-1, keepdim=True))
        vector = (left * largest.sign()).to(values.dtype).unsqueeze(-2)
        return {
            "row": row,
            "element": batch["targets"].unsqueeze(-1),
            "svd": vector.expand(*vector.shape[:-2], self.cells, self.rows),
        }


def mean_where(
    values: Float[Tensor, "*members batch cell"], chosen: Bool[Tensor, "*members batch cell"]
) -> Float[Tensor, "*members"]:
    """The mean over the chosen cells of a batch."""
    total = values.masked_fill(~chosen, 0).sum((-2, -1))
    return total / chosen.sum((-2, -1))
