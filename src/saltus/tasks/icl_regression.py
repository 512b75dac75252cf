"""In-context regression: find the weights from examples, and apply them to the query."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from saltus.models.base import Interface
from saltus.random import Draws
from saltus.tasks.base import Batch, Task


class IclRegression(Task):
    """x_1, w.x_1, ..., x_n, w.x_n, x_q with x and w ~ N(0, I_d), w drawn anew in every sequence.

    Inputs are vectors of d + 1 numbers: (x_i, 0) at position 2 i and (0, y_i) at 2 i + 1. The
    output at x's position is the prediction of its y, outputs elsewhere are not read. The loss is
    the squared error of the predictions, by default the mean over all n + 1 of them as in
    2208.01066, which states this task; with `loss_on: query` that of the last one. What 2310.12956
    trained in context is not established, and all of this is our choice (section 3.5 of our spec).
    """

    kind: Literal["icl-regression"] = "icl-regression"
    dimensions: int = Field(default=5, ge=1, description="d, the numbers of an x")
    pairs: int = Field(default=10, ge=1, description="n, the examples before the query")
    loss_on: Literal["query", "all"] = Field(default="all", description="which predictions count")

    @property
    def interface(self) -> Interface:
        return Interface(0, 2 * self.pairs + 1, 1, features=self.dimensions + 1)

    def sample(self, draws: Draws, batch: int) -> Batch:
        """`inputs` [..., batch, 2 n + 1, d + 1] and `targets` [..., batch, n + 1], every y."""
        x = draws.normal(batch, self.pairs + 1, self.dimensions)
        w = draws.normal(batch, 1, self.dimensions)
        return self._written(x, (x * w).sum(-1))

    def loss(self, outputs: Tensor, batch: Batch) -> Float[Tensor, "*batch"]:
        errors = self._errors(outputs, batch)
        return errors[..., -1] if self.loss_on == "query" else errors.mean(-1)

    def metrics(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`loss/query`, the mean squared error of the last prediction, and the array
        `loss/by-examples` [n + 1], of the prediction after 0, ..., n examples."""
        errors = self._errors(outputs, batch).mean(-2)
        return {"loss/query": errors[..., -1], "loss/by-examples": errors}

    def output_rows(self) -> slice:
        return slice(2 * self.pairs, 2 * self.pairs + 1)

    def oracle(self, batch: Batch) -> Float[Tensor, "*batch example"]:
        """The best prediction of every y from the examples before it: the least-squares weights
        of least norm, which is their mean given what was seen. Computed in float64."""
        x, y = self._examples(batch)
        seen = torch.ones(self.pairs + 1, self.pairs, dtype=torch.bool, device=x.device).tril(-1)
        shown = x[..., None, :-1, :] * seen.unsqueeze(-1)  # [..., example, earlier, d]
        weights = torch.linalg.pinv(shown) @ y[..., None, :-1, None]
        return (x.unsqueeze(-2) @ weights)[..., 0, 0].to(batch["targets"].dtype)

    def corrupted(self, batch: Batch) -> Batch:
        """The same x with the examples and weights of -w."""
        inputs = torch.cat([batch["inputs"][..., :-1], -batch["inputs"][..., -1:]], dim=-1)
        return {**batch, "inputs": inputs, "targets": -batch["targets"]}

    def levels(self) -> dict[str, float]:
        """`start`, predicting 0: E y^2 = d. `floor`, least squares: k examples leave d - k
        directions of w unknown, each worth 1, so max(d - k, 0), of the query or in the mean."""
        left = [float(max(self.dimensions - k, 0)) for k in range(self.pairs + 1)]
        floor = left[-1] if self.loss_on == "query" else sum(left) / len(left)
        return {"start": float(self.dimensions), "floor": floor}

    def _written(
        self, x: Float[Tensor, "*batch example d"], y: Float[Tensor, "*batch example"]
    ) -> Batch:
        """A sample as the model sees it: (x, 0) and (0, y) in turn, without the last y."""
        zero = torch.zeros_like(x)
        first = torch.cat([x, zero[..., :1]], dim=-1)
        second = torch.cat([zero, y.unsqueeze(-1)], dim=-1)
        inputs = torch.stack([first, second], dim=-2).flatten(-3, -2)[..., :-1, :]
        return {"inputs": inputs, "targets": y}

    def _examples(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Every x [..., n + 1, d] and y [..., n + 1] in float64."""
        return batch["inputs"][..., ::2, :-1].double(), batch["targets"].double()

    def _errors(self, outputs: Tensor, batch: Batch) -> Float[Tensor, "*batch example"]:
        return (outputs[..., ::2, 0] - batch["targets"]).square()
