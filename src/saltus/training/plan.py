"""How many members run together, and in how many processes.

Together, because small kernels cost more to start than to run; not too many, because activations
that leave the cache cost more than they save. Nothing here changes a result by one bit on CPU
eager, only when it arrives.
"""

from __future__ import annotations

import os
from itertools import pairwise
from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor

from saltus.experiment import Experiment
from saltus.training.ensemble import Ensemble
from saltus.training.isolation import is_separable

CHUNK_BYTES = 4 << 20  # the largest activation of a chunk: beyond it the cache costs more
DEVICE_SHARE = 0.5  # of free accelerator memory that a chunk may take


class Plan(NamedTuple):
    """Which members run together (`shards` of member indices) and how many processes run them."""

    shards: list[list[int]]
    workers: int


def plan(experiment: Experiment, separable: bool | None = None) -> Plan:
    """The shards and workers for an experiment on this machine.

    `separable` says whether members can be stacked, where that has been found out already.

    `engine.chunk` is an upper bound: shapes that cannot be stacked bit for bit run one by one.
    """
    count, engine, wanted = len(experiment.members()), experiment.engine, workers(experiment)
    on_cpu = torch.device(engine.device).type == "cpu"
    if count == 1:
        return Plan([[0]], 1)
    probe = single(experiment)
    if not probe.task.steady or (on_cpu and not engine.compile and not _stacks(probe, separable)):
        chunk = 1
    elif engine.chunk != "auto":
        chunk = engine.chunk
    else:
        chunk = min(comfortable_chunk(probe), ceil(count / wanted))
    pieces = ceil(count / chunk)
    # Even shares: 9 members in chunks of at most 4 are 3 + 3 + 3, not 4 + 4 + 1.
    edges = [round(i * count / pieces) for i in range(pieces + 1)]
    shards = [list(range(a, b)) for a, b in pairwise(edges)]
    return Plan(shards, min(wanted, len(shards)))


def _stacks(probe: Ensemble, separable: bool | None) -> bool:
    return is_separable(probe) if separable is None else separable


def workers(experiment: Experiment) -> int:
    """Processes to train in, each with one thread: one per core, one for an accelerator."""
    if experiment.engine.workers != "auto":
        return experiment.engine.workers
    return cores() if torch.device(experiment.engine.device).type == "cpu" else 1


def comfortable_chunk(probe: Ensemble) -> int:
    """Members per chunk for which the largest saved activation stays near the cache's size."""
    largest, total = activations(probe)
    device = torch.device(probe.device)
    if device.type == "cpu":
        return max(1, CHUNK_BYTES // max(1, largest))
    free, _ = torch.cuda.mem_get_info(device)
    state = probe.flat.numel() * probe.flat.element_size() * (2 + len(probe.slots))
    return max(1, int(free * DEVICE_SHARE) // (2 * total + state))


def activations(probe: Ensemble) -> tuple[int, int]:
    """Bytes that a single member's step saves for the backward pass: largest tensor, and all."""
    sizes: list[int] = [0]

    def note(value: Tensor) -> Tensor:
        sizes.append(value.numel() * value.element_size())
        return value

    batch = probe.training_batch(0)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        probe.losses(probe.parameters, batch, probe.tape(0))
    return max(sizes), sum(sizes)


def single(experiment: Experiment) -> Ensemble:
    """The first member alone, computed eagerly: what the plan is measured on."""
    engine = experiment.engine.model_copy(update={"compile": False})
    return Ensemble(
        experiment.model_copy(update={"engine": engine}).members()[:1], initialise=False
    )


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
