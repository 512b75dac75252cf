"""Putting shards together again: members in run order, steps that every shard has."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np

from saltus.errors import SaltusError
from saltus.runs.metrics_log import Block, Column


@dataclass(frozen=True)
class Series:
    """One metric of a run: steps [S] (int64, rising), values [members, S, *shape]."""

    name: str
    steps: np.ndarray
    values: np.ndarray


def columns_by_name(blocks: list[Block]) -> dict[str, Column]:
    """Each metric of one shard from end to end: steps [n], values [n, members, *shape]."""
    parts: dict[str, list[Column]] = {}
    for block in blocks:
        for column in block.columns:
            parts.setdefault(column.name, []).append(column)
    return {
        name: Column(
            name,
            np.concatenate([part.steps for part in columns]),
            np.concatenate([part.values for part in columns]),
        )
        for name, columns in sorted(parts.items())
    }


def merge(name: str, columns: list[Column | None], shards: list[list[int]], run: Path) -> Series:
    """One metric of the whole run from its shards; None stands for a shard without it (yet).

    `shards` are the member indices of each. At least one column must be there. Raises SaltusError
    if the shards disagree about the metric's shape.
    """
    known = [column for column in columns if column is not None]
    shapes = {column.values.shape[2:] for column in known}
    if len(shapes) != 1:
        raise SaltusError(f"metric {name} of {run}: its shape differs between shards: {shapes}")
    none = np.empty(0, dtype=np.int64)
    steps = reduce(np.intersect1d, [none if c is None else c.steps for c in columns])
    values = np.empty(
        (sum(map(len, shards)), len(steps), *shapes.pop()),
        dtype=np.result_type(*(column.values.dtype.newbyteorder("=") for column in known)),
    )
    for column, members in zip(columns, shards, strict=True):
        if column is not None and len(steps):
            rows = column.values[np.searchsorted(column.steps, steps)]
            values[members] = np.moveaxis(rows, 0, 1)
    return Series(name, steps.astype(np.int64), values)
