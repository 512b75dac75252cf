"""Attention progress measure: how much of the attention is where the task needs it."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.captured import PATTERNS, attention_patterns
from saltus.tasks.base import Task

LAYERS = 64  # how deep `check` looks for a layer with an oracle set


class AttentionProgress(Instrument):
    """APM = sum over Omega of |A_qk| / sum of |A_qk| (2506.13688, section 7.3 of our spec).

    q runs over the rows that predict outputs (`Task.output_rows`), k over all keys, and Omega is
    the task's oracle set (`Task.attended`). The ratio of sums is taken per sample and head, then
    averaged over samples. In [0, 1]: 1 when only needed keys are looked at. Read on the
    evaluation batch, where the paper reads it on the training batch (both are fresh samples).

    Gives `attention-progress/blocks.i`, the mean over heads (the paper's model has one head), and
    the array `attention-progress/blocks.i.heads` [head]; layers without an oracle set are left
    out. Reads the pattern after interventions, as the paper does.
    """

    kind: Literal["attention-progress"] = "attention-progress"
    cadence: AnyCadence = Cadence(every=100)

    def needs(self, task: Task) -> Needs:
        return Needs(sites=PATTERNS)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        results = {}
        for block, pattern in attention_patterns(reading).items():
            needed = _needed(reading.task, int(block.rpartition(".")[2]))
            if needed is None:
                continue
            rows = reading.task.output_rows()
            heads = progress(pattern[:, :, rows], needed.to(pattern.device))
            results[f"attention-progress/{block}"] = heads.mean()
            results[f"attention-progress/{block}.heads"] = heads
        return results

    def check(self, task: Task) -> None:
        if all(_needed(task, layer) is None for layer in range(LAYERS)):
            raise ValueError(f"task {task.kind} has no oracle attention set")


def progress(
    pattern: Float[Tensor, "batch head query key"], needed: Bool[Tensor, "query key"]
) -> Float[Tensor, " head"]:
    """Mean over samples of the share of |A| that lies on the needed keys, per head."""
    weights = pattern.abs()
    total = weights.sum((-2, -1)).clamp_min(torch.finfo(weights.dtype).tiny)
    return ((weights * needed).sum((-2, -1)) / total).mean(0)


def _needed(task: Task, layer: int) -> Bool[Tensor, "query key"] | None:
    """The oracle set of the output rows; None where the task does not know one."""
    needed, rows = task.attended(layer), task.output_rows()
    return None if needed is None or rows is None else needed[rows]
