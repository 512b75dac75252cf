"""Attention received: which keys all queries look at, and how much falls on what matters."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from saltus.errors import SaltusError
from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.captured import PATTERNS, attention_patterns
from saltus.tasks.base import Task


class AttentionReceived(Instrument):
    """r_k = sum over all queries of the weight on key k, divided by the largest of them
    (2310.12956, section 8 of our spec), and the shares of weight on indicators and targets.

    Gives, per layer, the array `attention-received/blocks.i` [head, key] in [0, 1]. Every sample's
    r is divided by its own maximum, per head, and then averaged over the samples: samples count
    alike, and an average that stays below 1 says that they differ in their most seen key.

    Where the task has `roles`, for each of them (`indicator`, `target`), as scalars the mean over
    heads, and with `.heads` at the end one number per head [head]:

    - `attention-received/blocks.i/<role>`: the share of a query's weight that falls on tokens of
      the role, mean over samples and queries, the class token's among them;
    - `attention-received/blocks.i/<role>.readout`: the same of the query that the answer is read
      from: the class token's, or the last one of a causal model. Left out for other models.

    Attention that is the same on all keys gives the role's part of the tokens: 0.5 * 196 / 197 for
    half of the patches of the paper's ViT. Weights that are not normalised (linear attention)
    count by magnitude, over the sum of a query's magnitudes. `samples` is the number of samples
    read, if not the experiment's `evaluation_batch`. The shares are a choice of this project.
    """

    kind: Literal["attention-received"] = "attention-received"
    samples: int | None = Field(default=None, ge=1, description="evaluation_batch if not given")
    cadence: AnyCadence = Cadence(every=200)

    def needs(self, task: Task) -> Needs:
        return Needs(sites=PATTERNS, samples=self.samples)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        results = {}
        for block, pattern in attention_patterns(reading).items():
            weights = shares(pattern)
            results[f"{self.kind}/{block}"] = received(weights).mean(0)
            for role, mask in token_roles(self.kind, reading, weights.shape[-1]).items():
                per_query = on(weights, mask).mean(0)
                found = {role: per_query.mean(-1)}
                if (query := readout_query(reading)) is not None:
                    found[f"{role}.readout"] = per_query[:, query]
                for name, value in found.items():
                    results[f"{self.kind}/{block}/{name}"] = value.mean()
                    results[f"{self.kind}/{block}/{name}.heads"] = value
        return results


def shares(pattern: Float[Tensor, "*batch query key"]) -> Float[Tensor, "*batch query key"]:
    """|w| / sum |w| per query; all 0 for a query that looks at nothing."""
    weights = pattern.abs()
    return weights / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)


def received(
    weights: Float[Tensor, "*batch query key"],
) -> Float[Tensor, "*batch key"]:
    """The sum over queries of the weight on each key, divided by the maximum over keys."""
    sums = weights.sum(-2)
    return sums / sums.amax(-1, keepdim=True).clamp_min(torch.finfo(sums.dtype).tiny)


def on(
    weights: Float[Tensor, "batch head query key"], mask: Bool[Tensor, "batch key"]
) -> Float[Tensor, "batch head query"]:
    """The weight of each query on the keys that a sample's mask names."""
    return (weights * mask[:, None, None]).sum(-1)


def token_roles(
    kind: str, reading: Reading, tokens: int
) -> dict[str, Bool[Tensor, "*batch token"]]:
    """The task's roles. SaltusError where it cannot say what these tokens are."""
    try:
        return reading.task.roles(reading.batch, tokens)
    except ValueError as error:
        raise SaltusError(f"instrument {kind}: task {reading.task.kind}: {error}") from None


def readout_query(reading: Reading) -> int | None:
    """The query that the answer is read from, where the model has one such."""
    if "class_token" in reading.parameters:
        return 0
    causal = reading.model is not None and reading.model.is_causal
    return -1 if causal else None
