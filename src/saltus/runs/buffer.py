"""Rows of metrics that wait in memory for the next block."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from saltus.errors import SaltusError
from saltus.runs.metrics_log import Column


@dataclass
class _Pending:
    dtype: np.dtype
    shape: tuple[int, ...]  # without the members
    last_step: int
    steps: list[int] = field(default_factory=list)
    rows: list[np.ndarray] = field(default_factory=list)


class MetricsBuffer:
    """Collects rows per metric and checks that each metric keeps its type, shape and order."""

    def __init__(self, members: int) -> None:
        self._members = members
        self._pending: dict[str, _Pending] = {}

    def add(self, step: int, values: dict[str, np.ndarray]) -> None:
        """Copy one row per name. All or none: a row that does not fit raises SaltusError."""
        step = int(step)
        rows = {name: _storable(name, value) for name, value in values.items()}
        for name, row in rows.items():
            self._check(name, step, row)
        for name, row in rows.items():
            pending = self._pending.get(name)
            if pending is None:
                pending = self._pending[name] = _Pending(row.dtype, row.shape[1:], step)
            pending.steps.append(step)
            pending.rows.append(row)
            pending.last_step = step

    def learn(self, columns: list[Column]) -> None:
        """Take over type, shape and last step from rows that are already in the log."""
        for column in columns:
            dtype = column.values.dtype.newbyteorder("=")
            last = int(column.steps[-1])
            self._pending[column.name] = _Pending(dtype, column.values.shape[2:], last)

    def columns(self) -> list[Column]:
        """What was added since the last `clear`; steps [n], values [n, members, *shape]."""
        return [
            Column(name, np.array(pending.steps, dtype=np.int64), np.stack(pending.rows))
            for name, pending in self._pending.items()
            if pending.rows
        ]

    def clear(self) -> None:
        """Forget the rows, not what is known about their names."""
        for pending in self._pending.values():
            pending.steps, pending.rows = [], []

    def _check(self, name: str, step: int, row: np.ndarray) -> None:
        if row.shape[:1] != (self._members,):
            raise SaltusError(
                f"metric {name}: shape {row.shape} is not allowed; "
                f"the first axis must be the {self._members} members"
            )
        known = self._pending.get(name)
        if known is None:
            return
        if (row.dtype, row.shape[1:]) != (known.dtype, known.shape):
            raise SaltusError(
                f"metric {name}: {row.dtype} {row.shape[1:]} at step {step} is not allowed; "
                f"it was {known.dtype} {known.shape} before"
            )
        if step <= known.last_step:
            raise SaltusError(
                f"metric {name}: step {step} is not allowed; step {known.last_step} is recorded"
            )


def _storable(name: str, value: np.ndarray) -> np.ndarray:
    """A private copy as float32, float64 or int64: the caller may reuse its array at once."""
    array = np.asarray(value)
    if array.dtype in (np.float32, np.float64):
        return np.array(array, dtype=array.dtype.newbyteorder("="))
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype.kind in "biu":
        return array.astype(np.int64)
    raise SaltusError(
        f"metric {name}: type {array.dtype} is not allowed; allowed: floats, integers, booleans"
    )
