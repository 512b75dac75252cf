"""One pass over a series: every byte of every checkpoint is read once, a piece at a time."""

from __future__ import annotations

from collections.abc import Callable

from saltus.trajectories.series import Series
from saltus.trajectories.trajectory import Trajectory


def analyse(series: Series, *, told: Callable[[int, int], None] | None = None) -> Trajectory:
    """The sums of `series`; `told(bytes read, bytes in all)` is called as it goes.

    Memory is a few megabytes whatever the size of the checkpoints.
    """
    raise NotImplementedError
