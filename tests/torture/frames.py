"""The frames of a microscope: killed while they are written, and changed behind Saltus's back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from damage import KINDS_OF_FRAMES, Victim, deletions, flips, swaps, truncations
from kills import at_every_write
from row import Row
from victim import contents, finished, interrupted, leaps

STOP = 66  # in the leap, behind the checkpoint of step 60


def faults(root: Path, count: int) -> Iterator[Row]:
    """All faults of this file, `count` times or a multiple of it."""
    yield killed(root / "writes", stride=1)
    yield from changed(root / "changed", count)


def killed(root: Path, stride: int, first: int = 1) -> Row:
    """SIGKILL at every single write of a training that leaps under the microscope."""
    return at_every_write(root, stride, leaps(seeds=1), "a leap under the microscope", first)


def changed(root: Path, count: int) -> Iterator[Row]:
    """Frames and their lists, of a finished and of an interrupted run."""
    path = finished(root / "finished", leaps())
    ended = contents(path)
    whole = Victim(path, "finished", ended)
    stopped = Victim(interrupted(root / "interrupted", leaps(), STOP), "interrupted", ended)
    stranger = finished(root / "stranger", leaps(first_seed=7))
    for victim in (whole, stopped):
        for row in (
            *flips(victim, root, 2 * count, KINDS_OF_FRAMES),
            *truncations(victim, root, count, KINDS_OF_FRAMES),
            *deletions(victim, root, count, KINDS_OF_FRAMES),
            *swaps(victim, stranger, root, count, KINDS_OF_FRAMES),
        ):
            row.fault = f"frames: {row.fault}"
            yield row
