"""The reading side of a run: cheap to open, never writes, works while the run is being trained."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from saltus.errors import SaltusError, unknown
from saltus.runs.files import reason
from saltus.runs.layout import (
    EXPERIMENT,
    LOCK,
    PROVENANCE,
    ShardFiles,
    fixed_problems,
    is_run,
    read_fixed,
    read_members,
    shard_files,
)
from saltus.runs.locks import is_held
from saltus.runs.merge import Series, merge
from saltus.runs.shard import Shard, size_of
from saltus.transitions.offline import find
from saltus.transitions.transition import Direction, Transition


class Run:
    """What an experiment left on disk. Raises SaltusError for what is not a run, or is damaged."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not is_run(self.path):
            raise SaltusError(f"{path} is not a run: it has no {EXPERIMENT}")
        self.name = self.path.resolve().name

    @cached_property
    def experiment_yaml(self) -> str:
        """The exact text of what ran, as it stands in the file: `experiment` is proven."""
        try:
            return (self.path / EXPERIMENT).read_text("utf-8", errors="replace")
        except OSError as error:
            raise SaltusError(f"cannot read {self.path / EXPERIMENT}: {reason(error)}") from error

    @cached_property
    def experiment(self) -> dict[str, Any]:
        """The experiment as plain data."""
        try:
            value = yaml.safe_load(read_fixed(self.path, EXPERIMENT).decode())
        except yaml.YAMLError as error:
            first = str(error).splitlines()[0]
            raise SaltusError(f"{self.path / EXPERIMENT} is damaged: {first}") from error
        return value if isinstance(value, dict) else {}

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Versions, platform, threads, code revision, time of creation."""
        try:
            return json.loads(read_fixed(self.path, PROVENANCE))
        except ValueError as error:
            raise SaltusError(f"{self.path / PROVENANCE} is damaged: it is not JSON") from error

    @cached_property
    def members(self) -> list[dict[str, Any]]:
        """{"member", "seed", "overrides", "shard"} of each member, in run order."""
        return read_members(self.path)

    @cached_property
    def seeds(self) -> np.ndarray:
        """The seed of each member, int64 [members]."""
        return np.array([member["seed"] for member in self.members], dtype=np.int64)

    @cached_property
    def shards(self) -> list[Shard]:
        """Its shards, each with its members, its progress and whether it is done."""
        indices = sorted({member["shard"] for member in self.members})
        return [Shard(self.path, index, self.members) for index in indices]

    def files(self, shard: int) -> ShardFiles:
        """The paths of one shard."""
        return shard_files(self.path, shard)

    @property
    def status(self) -> dict[str, Any]:
        """Where the run stands, read afresh each time.

        state: new, running (somebody holds a lock right now), interrupted, done or failed;
        step: of the shard that is least far; steps: of the experiment, or None (where that is
        damaged: of the shard that is farthest);
        diverged: {member: step}; seconds, instrument_seconds: summed over shards.
        """
        said = [shard.status for shard in self.shards]
        return {
            "state": self._state([status.get("state") for status in said]),
            "step": min(shard.step for shard in self.shards),
            "steps": self._total_steps(said),
            "diverged": {k: v for s in said for k, v in s.get("diverged", {}).items()},
            "seconds": float(sum(s.get("seconds", 0.0) for s in said)),
            "instrument_seconds": float(sum(s.get("instrument_seconds", 0.0) for s in said)),
        }

    @property
    def damage(self) -> list[str]:
        """What cannot be read, or is not what was written, one line each; a torn tail is common
        in a run that was killed, and nothing to worry about: resuming cuts it off. The content of
        checkpoints is proven when they are read; `verify` reads them all."""
        shards = [line for shard in self.shards for line in shard.damage]
        return [*fixed_problems(self.path), *shards]

    def names(self) -> list[str]:
        """The names of all metrics that some shard has recorded, sorted."""
        return sorted({name for shard in self.shards for name in shard.names})

    def series(self, name: str) -> Series:
        """A scalar metric: steps [S], values float64 [members, S]."""
        found = self.array(name)
        if found.values.ndim != 2:
            shape = found.values.shape[2:]
            raise SaltusError(f"metric {name} is not a scalar but has shape {shape}: use array")
        return Series(name, found.steps, found.values.astype(np.float64))

    def transitions(
        self, name: str, direction: Direction = "down", changes: Sequence[float] = ()
    ) -> list[tuple[Transition, ...]]:
        """The leaps of each member in a scalar metric, or its censored transition; see
        `transitions.offline`."""
        series = self.series(name)
        return [find(series.steps, values, direction, changes) for values in series.values]

    def array(self, name: str) -> Series:
        """Any metric: steps [S], values [members, S, *shape] in the type they were recorded in."""
        columns = [shard.columns.get(name) for shard in self.shards]
        if all(column is None for column in columns):
            raise SaltusError(f"{self.path}: {unknown('metric', name, self.names())}")
        return merge(name, columns, [shard.members for shard in self.shards], self.path)

    def checkpoints(self) -> list[int]:
        """The steps for which every shard still has a file, rising."""
        return sorted(set.intersection(*(set(shard.checkpoints()) for shard in self.shards)))

    def checkpoint(self, step: int | None = None) -> dict[str, np.ndarray]:
        """The parameters at `step` (None: the last), each [members, ...] in run order.

        Tensors under "state/" (the optimiser's) are left out. Every file is checked against the
        chain before it is used. Raises SaltusError, also where the last one of a finished run is
        gone: one before it is not what was asked for.
        """
        steps = self.checkpoints()
        said = [shard.status for shard in self.shards]
        done = all(status.get("state") == "done" for status in said)
        if step is None and done and steps[-1:] < [max(status.get("step", 0) for status in said)]:
            there = ", ".join(map(str, steps)) or "none"
            raise SaltusError(f"{self.path} has lost its last checkpoint; allowed: {there}")
        if not steps or (step is not None and step not in steps):
            wanted = "checkpoint" if step is None else f"checkpoint of step {step}"
            there = ", ".join(map(str, steps)) or "none"
            raise SaltusError(f"{self.path} has no {wanted}; allowed: {there}")
        parts = [shard.checkpoint(steps[-1] if step is None else step) for shard in self.shards]
        order = np.argsort(np.concatenate([shard.members for shard in self.shards]))
        names = [name for name in parts[0] if not name.startswith("state/")]
        return {name: np.concatenate([part[name] for part in parts])[order] for name in names}

    def frames(self, member: int) -> list[int]:
        """The steps of a member's frames, rising: its states across each of its leaps.

        Empty where it did not leap or no microscope was on (`checkpoints.microscope`). Raises
        SaltusError if there is no such member, or if frames of a finished run are lost.
        """
        return [frame.step for frame in self._shard_of(member).frames if frame.member == member]

    def frame(self, member: int, step: int) -> dict[str, np.ndarray]:
        """The parameters of one member in one of its frames, without an axis of members.

        The file is checked against the chain of frames. Raises SaltusError.
        """
        return self._shard_of(member).frame(member, step)

    def _shard_of(self, member: int) -> Shard:
        for shard in self.shards:
            if member in shard.members:
                return shard
        raise SaltusError(f"member {member} is not allowed: 0 to {len(self.members) - 1}")

    def _state(self, states: list[str | None]) -> str:
        if all(state == "done" for state in states):
            return "done"
        if is_held(self.path / LOCK) or any(shard.held for shard in self.shards):
            return "running"
        if "failed" in states:
            return "failed"
        begun = any(states) or any(size_of(shard.files.chain) for shard in self.shards)
        begun = begun or any(size_of(shard.files.metrics) for shard in self.shards)
        return "interrupted" if begun else "new"

    def _total_steps(self, said: list[dict[str, Any]]) -> int | None:
        try:
            experiment = self.experiment
        except SaltusError:  # how far a run is can be told without it, and no more
            return max(1, *(shard.step for shard in self.shards))
        training = experiment.get("training")
        nested = training.get("steps") if isinstance(training, dict) else None
        candidates = [*(s.get("steps") for s in said), experiment.get("steps"), nested]
        return next((steps for steps in candidates if isinstance(steps, int)), None)


def open_run(path: Path | str) -> Run:
    """The run at `path`; SaltusError if there is none."""
    return Run(path)


def list_runs(root: Path | str) -> list[Run]:
    """All runs at or below `root`, sorted by path; none if there is no such directory."""
    return [Run(path) for path in sorted(_run_directories(Path(root)))]


def _run_directories(root: Path) -> Iterable[Path]:
    for directory, below, _ in os.walk(root):
        if is_run(Path(directory)):
            below.clear()
            yield Path(directory)
        below[:] = [name for name in below if not name.startswith(".")]
