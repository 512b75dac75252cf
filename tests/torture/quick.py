"""A little of everything, for the ordinary suite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import damage
import disks
import frames
import kills
import writers
from row import Row


def faults(root: Path, count: int) -> Iterator[Row]:
    """Each kind of fault that needs no second import of the libraries, `count` times or so."""
    yield kills.at_every_write(root / "writes", stride=19)
    yield disks.full_at_every_write(root / "disk", stride=19)
    yield writers.together(root / "writers", count, "at the same instant", 0.0)
    yield from damage.faults(root / "damage", count)
    yield frames.killed(root / "frames", stride=97, first=60)
    yield from frames.changed(root / "frames", 2 * count)
