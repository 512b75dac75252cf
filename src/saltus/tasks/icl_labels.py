"""In-context labels: find the item seen before, and copy the label that stood behind it."""

from __future__ import annotations

from math import lgamma, log
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from saltus.models.base import Interface
from saltus.random import Draws
from saltus.tasks.base import Batch, Task
from saltus.tasks.sequence import token_losses


class IclLabels(Task):
    """x_1 l_1 x_2 l_2 ... x_n l_n x_q: n different items, each with a label, and one of them again.

    Labels are assigned anew in every sequence, so they can only be read from it. z is the pair
    that x_q repeats: step 1 is to find it, step 2 to give its label, y. A causal transformer needs
    two layers for that. The in-context form of the two-step task of 2310.12956; what the paper
    trained is not established, and all of this is our choice (section 3.5 of our spec).

    Ids: items 0 .. items - 1, then the labels. A sequence shows `shown` different labels (by
    default every pair its own), each equally often. The loss is that of the query's answer, or
    with `loss_on: all` the mean over the n labels before it as well, which nothing predicts but
    the labels that came earlier.
    """

    kind: Literal["icl-labels"] = "icl-labels"
    pairs: int = Field(default=8, ge=2, description="n, the examples before the query")
    items: int = Field(default=32, ge=2, description="items to draw x from")
    label_alphabet: int = Field(default=8, ge=2, description="labels to draw from")
    shown: int | None = Field(
        default=None, ge=2, description="different labels in a sequence; one a pair if not given"
    )
    loss_on: Literal["query", "all"] = Field(default="query", description="which answers count")

    @model_validator(mode="after")
    def _sizes_fit(self) -> IclLabels:
        shown = self.different
        if self.items < self.pairs:
            raise ValueError(f"items {self.items} must be at least pairs {self.pairs}")
        if self.pairs % shown:
            raise ValueError(f"pairs {self.pairs} must be a multiple of shown {shown}")
        if self.label_alphabet < shown:
            what = f"shown {shown}" if self.shown else f"pairs {shown}, or give shown"
            raise ValueError(f"label_alphabet {self.label_alphabet} must be at least {what}")
        return self

    @property
    def different(self) -> int:
        """Different labels in a sequence."""
        return self.shown or self.pairs

    @property
    def interface(self) -> Interface:
        vocabulary = self.items + self.label_alphabet
        return Interface(vocabulary, 2 * self.pairs + 1, vocabulary)

    def sample(self, draws: Draws, batch: int) -> Batch:
        """`inputs` [..., batch, 2 n + 1], `targets` of the same shape (the next token, then the
        answer) and `z` [..., batch], the place of the pair that is asked for."""
        items = draws.permutation(self.items, batch)[..., : self.pairs]
        palette = draws.permutation(self.label_alphabet, batch)[..., : self.different]
        # A permutation of the pairs, modulo their number, is every label equally often.
        labels = palette.gather(-1, draws.permutation(self.pairs, batch) % self.different)
        labels = labels + self.items
        z = draws.integers(0, self.pairs, batch, 1)
        examples = torch.stack([items, labels], dim=-1).flatten(-2)
        inputs = torch.cat([examples, items.gather(-1, z)], dim=-1)
        targets = torch.cat([inputs[..., 1:], labels.gather(-1, z)], dim=-1)
        return {"inputs": inputs, "targets": targets, "z": z.squeeze(-1)}

    def loss(self, outputs: Tensor, batch: Batch) -> Float[Tensor, "*batch"]:
        rows = slice(0, None, 2) if self.loss_on == "all" else self.output_rows()
        return token_losses(outputs[..., rows, :], batch["targets"][..., rows]).mean(-1)

    def metrics(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Of the query: `loss/query` in nats, `accuracy`, and `accuracy/shown`, how often the
        answer is a label of the sequence, whichever: without step 1 only that can be right."""
        rows = self.output_rows()
        losses = token_losses(outputs[..., rows, :], batch["targets"][..., rows])
        written = outputs[..., -1, :].argmax(-1, keepdim=True)
        right = (written == batch["targets"][..., -1:]).squeeze(-1)
        shown = (batch["inputs"][..., 1::2] == written).any(-1)
        return {
            "loss/query": losses.mean((-2, -1)),
            "accuracy": right.to(outputs.dtype).mean(-1),
            "accuracy/shown": shown.to(outputs.dtype).mean(-1),
        }

    def output_rows(self) -> slice:
        return slice(2 * self.pairs, 2 * self.pairs + 1)

    def label_classes(self) -> dict[str, int]:
        return {"y": self.label_alphabet, "z": self.pairs}

    def labels(self, batch: Batch) -> dict[str, Int[Tensor, "*batch"]]:
        """`y`, the label that answers, and `z`, the pair that it stands in."""
        return {"y": batch["targets"][..., -1] - self.items, "z": batch["z"]}

    def roles(self, batch: Batch, tokens: int) -> dict[str, Bool[Tensor, "*batch token"]]:
        """`indicator`: the item that the query repeats; `target`: all labels."""
        inputs = batch["inputs"]
        place = torch.arange(tokens, device=inputs.device)
        target = (place % 2 == 1).expand(*inputs.shape[:-1], tokens)
        return {"indicator": place == 2 * batch["z"].unsqueeze(-1), "target": target}

    def levels(self) -> dict[str, float]:
        """`start`, any label: ln(label_alphabet). `plateau`, one of the labels shown: ln(shown).
        `floor`: 0. With `loss_on: all` the labels before the query cost their joint entropy, the
        logarithm of the number of ways to choose and to arrange them, in all but the first."""
        start, plateau = log(self.label_alphabet), log(self.different)
        if self.loss_on == "query":
            return {"start": start, "plateau": plateau, "floor": 0.0}
        before, answers = self._joint_entropy(), self.pairs + 1
        return {
            "start": start,
            "plateau": (before + plateau) / answers,
            "floor": before / answers,
        }

    def _joint_entropy(self) -> float:
        """ln[(L choose m) n! / ((n/m)!)^m], m of L labels shown n/m times each."""
        n, m, alphabet = self.pairs, self.different, self.label_alphabet
        chosen = lgamma(alphabet + 1) - lgamma(m + 1) - lgamma(alphabet - m + 1)
        return chosen + lgamma(n + 1) - m * lgamma(n // m + 1)
