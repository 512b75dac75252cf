"""Attention logits: how far apart the keys of a query are before any normaliser."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from saltus.instruments.attention_entropy import visible_keys
from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.captured import PATTERNS, attention_patterns, captured
from saltus.tasks.base import Task

LOGITS = "blocks.*.attention.logits"


class AttentionLogits(Instrument):
    """The spread of the raw logits u = q . k over a query's keys (2310.12956, section 11 of our
    spec, claim C11: a variance of 0.10 to 0.40 in every block of the ViT as it starts).

    Gives, per layer, the scalars `attention-logits/blocks.i/variance`, the population variance of
    u, and `/deviation`, its square root taken query by query: means over samples, heads and
    queries. Only keys that a query may see count, and only queries that see more than one.
    `samples` is the number of samples read, if not the experiment's `evaluation_batch`.
    """

    kind: Literal["attention-logits"] = "attention-logits"
    samples: int | None = Field(default=None, ge=1, description="evaluation_batch if not given")
    cadence: AnyCadence = Cadence(every=200)

    def needs(self, task: Task) -> Needs:
        return Needs(sites=(LOGITS, *PATTERNS), samples=self.samples)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        logits, results = captured(reading, (LOGITS,)), {}
        for block, pattern in attention_patterns(reading).items():
            keys = visible_keys(pattern)
            variance = variances(logits[f"{block}.attention.logits"], keys)
            several = (keys > 1).to(variance.dtype)
            for name, value in {"variance": variance, "deviation": variance.sqrt()}.items():
                mean = (value.mean((0, 1)) * several).sum() / several.sum()
                results[f"{self.kind}/{block}/{name}"] = mean
        return results


def variances(
    logits: Float[Tensor, "*batch query key"], keys: Int[Tensor, " query"]
) -> Float[Tensor, "*batch query"]:
    """The population variance of every query's logits over the first so many keys."""
    return centred(logits, first(keys, logits.shape[-1])).square().sum(-1) / keys


def first(keys: Int[Tensor, " query"], of: int) -> Bool[Tensor, "query key"]:
    """True at the first so many keys of each query."""
    return torch.arange(of, device=keys.device) < keys.unsqueeze(-1)


def centred(
    logits: Float[Tensor, "*batch query key"], visible: Bool[Tensor, "query key"]
) -> Float[Tensor, "*batch query key"]:
    """u minus its mean over the visible keys, 0 at all others."""
    shown = torch.where(visible, logits, 0.0)
    mean = shown.sum(-1, keepdim=True) / visible.sum(-1, keepdim=True)
    return torch.where(visible, shown - mean, 0.0)
