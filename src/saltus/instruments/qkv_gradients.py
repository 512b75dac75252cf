"""Gradients of queries, keys and values: which of the three the loss still pulls on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from saltus.errors import SaltusError
from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.captured import precise
from saltus.tasks.base import Task

PARTS = ("query", "key", "value")
QUERIES = ".attention.query.weight"


class QkvGradients(Instrument):
    """G_W = mean over the entries of |dL/dW_f|, f in query, key, value (2310.12956, G_W of section
    8 of our spec), of the training gradient before clipping and before it is rescaled.

    Gives, per layer, the scalars `qkv-gradients/blocks.i/query`, `/key` and `/value`, the mean of
    the three `/mean`, in units of loss per unit of weight, and the ratios `/query-to-value` and
    `/key-to-value`, by which starved queries and keys are known: 0 where the values have no
    gradient either. Weights only, not biases. SaltusError for a model without such weights.
    """

    kind: Literal["qkv-gradients"] = "qkv-gradients"
    cadence: AnyCadence = Cadence(every=50)

    def needs(self, task: Task) -> Needs:
        return Needs(gradients=True)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        blocks = [
            name.removesuffix(QUERIES) for name in reading.gradients if name.endswith(QUERIES)
        ]
        if not blocks:
            raise SaltusError(f"instrument {self.kind}: the model has no parameter '*{QUERIES}'")
        results = {}
        for block in blocks:
            for name, value in _of_block(reading.gradients, block).items():
                results[f"{self.kind}/{block}/{name}"] = value
        return results


def _of_block(gradients: Mapping[str, Tensor], block: str) -> dict[str, Tensor]:
    means = {
        part: precise(gradients[f"{block}.attention.{part}.weight"]).abs().mean() for part in PARTS
    }
    pulled = means["value"].clamp_min(torch.finfo(means["value"].dtype).tiny)
    return means | {
        "mean": torch.stack(list(means.values())).mean(0),
        "query-to-value": means["query"] / pulled,
        "key-to-value": means["key"] / pulled,
    }
