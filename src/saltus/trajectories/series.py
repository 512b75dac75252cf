"""A series of checkpoints of one model: which files, at which steps, in which order.

Only names and headers are read here; `measure.analyse` reads the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from saltus.errors import SaltusError
from saltus.runs.layout import is_run
from saltus.trajectories.places import places, read_place
from saltus.trajectories.run_places import read_member, run_places
from saltus.trajectories.steps import STEP, step_of
from saltus.trajectories.tensors import Damage, Entry


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
    if not paths:
        raise SaltusError("checkpoints: none given; allowed: 1 or more files or folders")
    if len(paths) == 1 and is_run(Path(paths[0])):
        return _series(_of_run(Path(paths[0]), member or 0), numbered=True)
    if member is not None:
        raise SaltusError(f"member: {member} is not allowed: {paths[0]} is not one run of Saltus")
    found = [place for path in paths for place in places(path, steps_from)]
    names = _names(found)
    steps = [step_of(name, steps_from) for name in names]
    if None in steps:
        if not in_given_order and len(found) > 1:
            raise SaltusError(
                f"{names[steps.index(None)]}: no step in its name by '{steps_from}'; give another "
                "regular expression with one group, or say that they are in order"
            )
        listed = list(zip(range(len(names)), names, found, strict=True))
    else:
        listed = list(zip((step or 0 for step in steps), names, found, strict=True))
        if not in_given_order:
            listed.sort(key=lambda each: each[0])
            _check_steps([(step, name) for step, name, _ in listed])
    return _series([_read(*each) for each in listed], numbered=None not in steps)


def _series(found: Sequence[Checkpoint | Damaged], numbered: bool) -> Series:
    sound = tuple(each for each in found if isinstance(each, Checkpoint))
    for each in sound[1:]:
        _check_same(each, sound[0])
    return Series(
        sound,
        tuple(each for each in found if isinstance(each, Damaged)),
        tuple(sound[0].entries) if sound else (),
        numbered,
    )


def _read(step: int, name: str, place: Path) -> Checkpoint | Damaged:
    try:
        entries, stated = read_place(place)
    except Damage as damage:
        return Damaged(name, place, step, damage.kind, str(damage))
    if not entries:
        raise SaltusError(f"{place}: holds no floating-point tensors")
    return Checkpoint(name, place, step, entries, stated)


def _of_run(path: Path, member: int) -> list[Checkpoint | Damaged]:
    files, row = run_places(path, member)
    found: list[Checkpoint | Damaged] = []
    for step, file in files:
        try:
            found.append(Checkpoint(file.stem, file, step, read_member(file, row)))
        except Damage as damage:
            found.append(Damaged(file.stem, file, step, damage.kind, str(damage)))
    return found


def _names(found: Sequence[Path]) -> list[str]:
    """The last parts of each path, as many as it takes to tell all of them apart."""
    parts = [path.absolute().parts for path in found]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-count:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    twice = next(path for path in found if found.count(path) > 1)
    raise SaltusError(f"{twice}: given twice")


def _check_steps(listed: Sequence[tuple[int, str]]) -> None:
    for (step, name), (following, other) in pairwise(listed):
        if step == following:
            raise SaltusError(f"step {step} is that of two checkpoints: {name} and {other}")


def _check_same(checkpoint: Checkpoint, first: Checkpoint) -> None:
    """Every one must be of the first one's architecture: the odd one is told by one line."""
    here, there = checkpoint.entries, first.entries
    if odd := next((name for name in there if name not in here), None):
        raise _other(checkpoint, f"{odd} is missing", first)
    if odd := next((name for name in here if name not in there), None):
        raise _other(checkpoint, f"{odd} is new", first)
    for name, entry in here.items():
        if entry.shape != there[name].shape:
            said = f"{name} has shape {list(entry.shape)}, allowed: {list(there[name].shape)}"
            raise _other(checkpoint, said, first)
        if entry.dtype != there[name].dtype:
            said = f"{name} is {_type(entry)}, allowed: {_type(there[name])}"
            raise _other(checkpoint, said, first)


def _other(checkpoint: Checkpoint, what: str, first: Checkpoint) -> SaltusError:
    return SaltusError(f"{checkpoint.name}: another architecture than {first.name}: {what}")


def _type(entry: Entry) -> str:
    return str(entry.dtype).removeprefix("torch.")
