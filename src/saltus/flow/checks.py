"""What can be integrated; anything else is refused in one line."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from saltus.errors import SaltusError, unknown
from saltus.flow.tableaus import METHODS

SMALLEST_RTOL = 100 * math.ulp(1.0)  # below that, rounding is larger than the error allowed


def check_problem(start: Tensor, end: Sequence[float], rtol: float, atol: float) -> None:
    """A start for every row, its end, and tolerances that float64 can meet."""
    for name, value, least in (("rtol", rtol, SMALLEST_RTOL), ("atol", atol, 0.0)):
        if not (least <= value < math.inf and value > 0.0):
            allowed = f"{least!r} or more" if least else "a positive number"
            raise SaltusError(f"{name}: {value!r} is not allowed: {allowed}")
    if start.ndim != 2 or not start.numel() or start.dtype != torch.float64:
        raise SaltusError(
            f"start: {list(start.shape)} in {start.dtype} is not allowed: "
            "[row, state] in torch.float64, neither empty"
        )
    if not bool(start.isfinite().all()):
        row = int((~start.isfinite().all(dim=1)).nonzero()[0])
        raise SaltusError(f"start: row {row} holds NaN or infinity; allowed: finite numbers")
    if len(end) != start.shape[0]:
        raise SaltusError(f"end: {len(end)} times for {start.shape[0]} rows; allowed: one for each")
    for row, time in enumerate(end):
        if not 0.0 <= time < math.inf:
            raise SaltusError(f"end: {time!r} for row {row} is not allowed: a finite time from 0.0")


def check_choices(method: str, looks: int, largest: int, events: int, watched: bool) -> None:
    """How to integrate, and what to look for."""
    if method not in METHODS:
        raise SaltusError(f"method: {unknown('method', method, METHODS)}")
    for name, value, least in (("looks", looks, 0), ("largest", largest, 1), ("events", events, 0)):
        if value < least:
            raise SaltusError(f"{name}: {value!r} is not allowed: {least} or more")
    if watched != (events > 0):
        given = "with" if watched else "without"
        raise SaltusError(f"events: {events} {given} signals is not allowed: one for each signal")


def check_times(times: Sequence[float], asked: Sequence[float], end: Sequence[float]) -> None:
    """A time for every row, from the last one asked for to its end."""
    if len(times) != len(end):
        raise SaltusError(f"times: {len(times)} for {len(end)} rows; allowed: one for each")
    for row, (time, least, most) in enumerate(zip(times, asked, end, strict=True)):
        if not least <= time <= most:
            raise SaltusError(
                f"times: {time!r} for row {row} is not allowed: from {least!r}, the last time "
                f"asked for, to {most!r}, its end"
            )


def arrange(start: Tensor, times: Tensor | Sequence[float]) -> tuple[Tensor, Tensor]:
    """The start as [row, state] and the times as [row, time], if they make sense."""
    if start.ndim == 1:
        start = start[None]
    if start.ndim != 2:
        raise SaltusError(
            f"start: {list(start.shape)} is not allowed: [row, state], or [state] for one row"
        )
    grid = torch.as_tensor(times, dtype=torch.float64).cpu()
    if grid.ndim == 1:
        grid = grid.expand(start.shape[0], -1)
    if grid.ndim != 2 or grid.shape[0] != start.shape[0] or not grid.shape[1]:
        raise SaltusError(
            f"times: {list(grid.shape)} is not allowed: [time], or [row, time] with "
            f"{start.shape[0]} rows, and one time at least"
        )
    for row, own in enumerate(grid.tolist()):
        for before, time in zip([0.0, *own], own, strict=False):
            if not before <= time < float("inf"):
                raise SaltusError(
                    f"times: {time!r} after {before!r} in row {row} is not allowed: "
                    "finite times from 0.0 on that do not decrease"
                )
    return start, grid
