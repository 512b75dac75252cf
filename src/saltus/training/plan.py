"""How many members run together, and in how many processes.

Together, because small kernels cost more to start than to run; not too many, because activations
that leave the cache cost more than they save. Nothing here changes a result by one bit on CPU
eager, only when it arrives.
"""

from __future__ import annotations

import os
from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor

from saltus.experiment import Experiment
from saltus.training.ensemble import Ensemble

CACHE = 2 << 20  # bytes: the largest activation of a chunk should stay near one core's L2
DEVICE_SHARE = 0.5  # of free accelerator memory that a chunk may take


class Plan(NamedTuple):
    """Which members run together (`shards` of member indices) and how many processes run them."""

    shards: list[list[int]]
    workers: int


def plan(experiment: Experiment) -> Plan:
    """The shards and workers for an experiment on this machine."""
    count, engine = len(experiment.members()), experiment.engine
    on_cpu = torch.device(engine.device).type == "cpu"
    cores = (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()) or 1
    wanted = engine.workers if engine.workers != "auto" else (cores if on_cpu else 1)
    if engine.chunk != "auto":
        chunk = engine.chunk
    else:
        chunk = min(comfortable_chunk(experiment), ceil(count / wanted))
    pieces = ceil(count / max(1, chunk))
    # Even shares: 9 members in chunks of at most 4 are 3 + 3 + 3, not 4 + 4 + 1.
    edges = [round(i * count / pieces) for i in range(pieces + 1)]
    shards = [list(range(a, b)) for a, b in zip(edges, edges[1:], strict=False)]
    return Plan(shards, min(wanted, len(shards)))


def comfortable_chunk(experiment: Experiment) -> int:
    """Members per chunk for which the largest saved activation stays near the cache's size."""
    largest, total, state = footprint(experiment)
    device = torch.device(experiment.engine.device)
    if device.type == "cpu":
        return max(1, CACHE // max(1, largest))
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, int(free * DEVICE_SHARE) // (2 * total + state))


def footprint(experiment: Experiment) -> tuple[int, int, int]:
    """One member's bytes: largest activation saved for backward, all of them, and its state."""
    ensemble = Ensemble(experiment.model_copy(update={"engine": _eager(experiment)}).members()[:1])
    sizes: list[int] = [0]

    def note(value: Tensor) -> Tensor:
        sizes.append(value.numel() * value.element_size())
        return value

    batch = ensemble.draw("data", 0, experiment.batch)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        ensemble.losses(ensemble.parameters, batch, ensemble.tape(0))
    row = ensemble.flat.numel() * ensemble.flat.element_size()
    return max(sizes), sum(sizes), row * (2 + len(ensemble.slots))


def _eager(experiment: Experiment) -> object:
    return experiment.engine.model_copy(update={"compile": False})
