"""Attention entropy: how widely each head looks."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.captured import PATTERNS, attention_patterns
from saltus.tasks.base import Task


class AttentionEntropy(Instrument):
    """H = - sum_k p_qk ln p_qk with p_qk = |A_qk| / sum_k |A_qk| and 0 ln 0 = 0, in nats.

    Gives the array `entropy/blocks.i` [head], the mean over samples and queries: 0 when each query
    looks at one key, ln(number of visible keys) when it looks at all alike. For softmax p = A. For
    attention that is not normalised (linear attention has negative weights and any row sum) p is
    the share of a key in the sum of magnitudes; a row of zeros looks at nothing and counts as 0.

    `normalised: true` gives `entropy/blocks.i.normalised` [head] in [0, 1] instead: H divided by
    ln(number of visible keys), over the queries that see more than one key.
    """

    kind: Literal["attention-entropy"] = "attention-entropy"
    normalised: bool = False
    cadence: AnyCadence = Cadence(every=200)

    def needs(self, task: Task) -> Needs:
        return Needs(sites=PATTERNS)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        results = {}
        for block, pattern in attention_patterns(reading).items():
            entropies = row_entropies(pattern)
            if self.normalised:
                results[f"entropy/{block}.normalised"] = _normalised(entropies, pattern)
            else:
                results[f"entropy/{block}"] = entropies.mean((0, 2))
        return results


def row_entropies(
    pattern: Float[Tensor, "batch head query key"],
) -> Float[Tensor, "batch head query"]:
    """Entropy in nats of every row of attention weights."""
    weights = pattern.abs()
    total = weights.sum(-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
    return torch.special.entr(weights / total).sum(-1)


def _normalised(
    entropies: Float[Tensor, "batch head query"], pattern: Float[Tensor, "batch head query key"]
) -> Float[Tensor, " head"]:
    visible = visible_keys(pattern)
    several = visible > 1
    # From a table that all members share: logarithms of each member's own row would be rounded
    # otherwise in a stack than alone.
    counts = torch.arange(1, pattern.shape[-1] + 1, device=pattern.device, dtype=entropies.dtype)
    ceiling = counts.log()[torch.where(several, visible, 2) - 1]
    share = torch.where(several, entropies / ceiling, 0.0)
    return share.mean(0).sum(-1) / several.sum()


def visible_keys(pattern: Float[Tensor, "batch head query key"]) -> Int[Tensor, " query"]:
    """The number of keys each query could look at: all, or those up to itself.

    An instrument is not told whether the model is causal. It is when no weight of any sample and
    head lies in the future: counting nonzero weights instead would call saturated heads blind.
    """
    queries, keys = pattern.shape[-2:]
    causal: Bool[Tensor, ""] = (pattern.triu(1) == 0).all()
    own = torch.arange(1, queries + 1, device=pattern.device).clamp_max(keys)
    return torch.where(causal, own, keys)
