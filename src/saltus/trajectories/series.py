"""A series of checkpoints of one model: which files, at which steps, in which order.

Only names and headers are read here; `measure.analyse` reads the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from saltus.trajectories.steps import STEP
from saltus.trajectories.tensors import Entry


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint that can be read: its name for people, its place, its step, its tensors.

    `step` is the number in its name, or its position where the series was taken as given. `stated`
    is the step that the files themselves state (safetensors metadata, trainer_state.json), None
    where they state none.
    """

    name: str
    path: Path
    step: int
    entries: Mapping[str, Entry]
    stated: int | None = None


@dataclass(frozen=True)
class Damaged:
    """A checkpoint that cannot be read, and why in one line: "truncated" or "corrupt"."""

    name: str
    path: Path
    step: int
    kind: str
    reason: str


@dataclass(frozen=True)
class Series:
    """Checkpoints of one architecture in their order, and those that could not be read.

    `names` are the floating-point tensors that all of them have, in the order of the first one.
    `numbered`: whether steps come from names; if not they are positions, 0 1 2 …
    """

    checkpoints: tuple[Checkpoint, ...]
    damaged: tuple[Damaged, ...]
    names: tuple[str, ...]
    numbered: bool

    @property
    def steps(self) -> np.ndarray:
        """Of the readable checkpoints, int64 [checkpoints]."""
        return np.array([each.step for each in self.checkpoints], dtype=np.int64)


def find_series(
    paths: Sequence[str | Path],
    *,
    steps_from: str = STEP,
    in_given_order: bool = False,
    member: int | None = None,
) -> Series:
    """The series in files, folders, glob patterns or one of our run directories.

    A path is a `.safetensors`, `.pt`, `.pth`, `.bin` or `.ckpt` file; a folder with weights of
    Hugging Face's names (one file, or shards with an index); a folder of such files or folders; a
    glob pattern; or a run directory of Saltus, of which `member` (0 unless given) is followed.

    They are sorted by the step in their names (`steps_from`, a regular expression with one group:
    its last match). `in_given_order` keeps the order of `paths`; steps may then repeat or fall (the
    audit says so), and if any name has none they are positions.

    Raises SaltusError for a path that is not there, for no checkpoint at all, for names without a
    step or two of the same step (unless in the given order), for checkpoints with other names,
    shapes or types of tensors than the first, and for a pickle of anything but weights. A file that
    is truncated or corrupt is one of `damaged`.
    """
    raise NotImplementedError
