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

CACHE = 2 << 20  # bytes: the largest activation of a chunk should stay near one core's L2
DEVICE_SHARE = 0.5  # of free accelerator memory that a chunk may take


class Plan(NamedTuple):
    """Which members run together (`shards` of member indices) and how many processes run them."""

    shards: list[list[int]]
    workers: int


def plan(experiment: Experiment) -> Plan:
    """The shards and workers for an experiment on this machine.

    `engine.chunk` is an upper bound: shapes that cannot be stacked bit for bit run one by one.
    """
    count, engine = len(experiment.members()), experiment.engine
    on_cpu = torch.device(engine.device).type == "cpu"
    wanted = engine.workers if engine.workers != "auto" else (cores() if on_cpu else 1)
    if count == 1:
        return Plan([[0]], 1)
    probe = single(experiment)
    if on_cpu and not engine.compile and not is_separable(probe):
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


def comfortable_chunk(probe: Ensemble) -> int:
    """Members per chunk for which the largest saved activation stays near the cache's size."""
    largest, total, state = footprint(probe)
    device = torch.device(probe.device)
    if device.type == "cpu":
        return max(1, CACHE // max(1, largest))
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, int(free * DEVICE_SHARE) // (2 * total + state))


def footprint(probe: Ensemble) -> tuple[int, int, int]:
    """One member's bytes: largest activation saved for backward, all of them, and its state."""
    sizes: list[int] = [0]

    def note(value: Tensor) -> Tensor:
        sizes.append(value.numel() * value.element_size())
        return value

    batch = probe.draw("data", 0, probe.experiment.batch)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        probe.losses(probe.parameters, batch, probe.tape(0))
    row = probe.flat.numel() * probe.flat.element_size()
    return max(sizes), sum(sizes), row * (2 + len(probe.slots))


def single(experiment: Experiment) -> Ensemble:
    """The first member alone, computed eagerly: what the plan is measured on."""
    engine = experiment.engine.model_copy(update={"compile": False})
    return Ensemble(experiment.model_copy(update={"engine": engine}).members()[:1])


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
