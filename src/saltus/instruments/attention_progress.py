"""Attention progress measure: how much of the attention is where the task needs it."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.captured import PATTERNS, attention_patterns
from saltus.random import Draws
from saltus.tasks.base import Batch, Task
from saltus.tasks.sequence import SequenceTask

LAYERS = 64  # how deep `check` looks for a layer with an oracle set


class AttentionProgress(Instrument):
    """APM = sum over Omega of |A_qk| / sum of |A_qk| (2506.13688, section 7.3 of our spec).

    q runs over the rows that predict outputs (`Task.output_rows`), k over all keys, and Omega is
    the task's oracle set (`Task.attended`). In a layer whose keys depend on the sample, Omega is
    the sample's own set (`SequenceTask.attended_in`) and q runs over the rows that it is about,
    which may stand in the prompt. The ratio of sums is taken per sample and head, then averaged
    over samples. In [0, 1]: 1 when only needed keys are looked at. Read on the evaluation batch,
    where the paper reads it on the training batch (both are fresh samples).

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
            heads = _heads(reading.task, reading.batch, int(block.rpartition(".")[2]), pattern)
            if heads is not None:
                results[f"attention-progress/{block}"] = heads.mean()
                results[f"attention-progress/{block}.heads"] = heads
        return results

    def check(self, task: Task) -> None:
        if task.output_rows() is not None:
            if any(task.attended(layer) is not None for layer in range(LAYERS)):
                return
            if isinstance(task, SequenceTask):
                batch = task.sample(Draws(0, "check"), 1)
                if any(task.attended_in(batch, layer) is not None for layer in range(LAYERS)):
                    return
        raise ValueError(f"task {task.kind} has no oracle attention set")


def progress(
    pattern: Float[Tensor, "batch head query key"],
    needed: Bool[Tensor, "query key"] | Bool[Tensor, "batch 1 query key"],
) -> Float[Tensor, " head"]:
    """Mean over samples of the share of |A| that lies on the needed keys, per head."""
    weights = pattern.abs()
    total = weights.sum((-2, -1)).clamp_min(torch.finfo(weights.dtype).tiny)
    return ((weights * needed).sum((-2, -1)) / total).mean(0)


def _heads(
    task: Task, batch: Batch, layer: int, pattern: Float[Tensor, "batch head query key"]
) -> Float[Tensor, " head"] | None:
    """The progress of a layer's heads; None where the task does not know what they need."""
    rows, needed = task.output_rows(), task.attended(layer)
    if rows is not None and needed is not None:
        return progress(pattern[:, :, rows], needed[rows].to(pattern.device))
    own = task.attended_in(batch, layer) if isinstance(task, SequenceTask) else None
    if own is None:
        return None
    own = own.unsqueeze(1)  # the same for all heads
    return progress(pattern * own.any(-1, keepdim=True), own)
