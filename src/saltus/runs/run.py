"""The reading side of a run: cheap to open, never writes, works while the run is being trained."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import yaml
from safetensors import SafetensorError

from saltus.errors import SaltusError, unknown
from saltus.runs.chain import Record
from saltus.runs.files import reason, sha256
from saltus.runs.layout import (
    EXPERIMENT,
    LOCK,
    PROVENANCE,
    ShardFiles,
    genesis,
    is_run,
    read_members,
    shard_files,
    shards_of,
)
from saltus.runs.locks import is_held
from saltus.runs.merge import Series, columns_by_name, merge
from saltus.runs.metrics_log import Column, Log
from saltus.runs.recovery import load_chain, load_log
from saltus.runs.status import read_status


class Run:
    """What an experiment left on disk. Raises SaltusError for what is not a run, or is damaged."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not is_run(self.path):
            raise SaltusError(f"{path} is not a run: it has no {EXPERIMENT}")
        self.name = self.path.resolve().name
        self._logs: dict[int, tuple[tuple[int, int], Log, dict[str, Column]]] = {}

    @cached_property
    def experiment_yaml(self) -> str:
        """The exact text of what ran."""
        return self._read(EXPERIMENT).decode("utf-8", errors="replace")

    @cached_property
    def experiment(self) -> dict[str, Any]:
        """The experiment as plain data."""
        try:
            value = yaml.safe_load(self.experiment_yaml)
        except yaml.YAMLError as error:
            first = str(error).splitlines()[0]
            raise SaltusError(f"{self.path / EXPERIMENT} is damaged: {first}") from error
        return value if isinstance(value, dict) else {}

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Versions, platform, threads, code revision, time of creation."""
        try:
            return json.loads(self._read(PROVENANCE))
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
    def shards(self) -> dict[int, list[int]]:
        """Shard index → its members."""
        return shards_of(self.members)

    @property
    def status(self) -> dict[str, Any]:
        """Where the run stands, read afresh each time.

        state: new, running (somebody holds a lock right now), interrupted, done or failed;
        step: of the shard that is least far; steps: of the experiment, or None;
        diverged: {member: step}; seconds, instrument_seconds: summed over shards.
        """
        files = [self.files(index) for index in self.shards]
        said = [read_status(shard.status) or {} for shard in files]
        states = [status.get("state") for status in said]
        steps = [s.get("step", _last_step(f)) for s, f in zip(said, files, strict=True)]
        if all(state == "done" for state in states):
            state = "done"
        elif any(is_held(p) for p in [self.path / LOCK, *(f.lock for f in files)]):
            state = "running"
        elif "failed" in states:
            state = "failed"
        else:
            begun = any(states) or any(_size(f.metrics) + _size(f.chain) for f in files)
            state = "interrupted" if begun else "new"
        return {
            "state": state,
            "step": min(steps),
            "steps": self._total_steps(said),
            "diverged": {k: v for s in said for k, v in s.get("diverged", {}).items()},
            "seconds": float(sum(s.get("seconds", 0.0) for s in said)),
            "instrument_seconds": float(sum(s.get("instrument_seconds", 0.0) for s in said)),
        }

    @property
    def damage(self) -> list[str]:
        """What could not be read of the metrics, one line per shard; a torn tail is common in a
        run that was killed, and nothing to worry about: resuming cuts it off."""
        logs = {index: self.log(index) for index in self.shards}
        where = {index: self.files(index).metrics.relative_to(self.path) for index in logs}
        return [f"{where[i]}: {log.damage}" for i, log in logs.items() if log.damage]

    def names(self) -> list[str]:
        """The names of all metrics that some shard has recorded, sorted."""
        return sorted({name for index in self.shards for name in self.columns(index)})

    def series(self, name: str) -> Series:
        """A scalar metric: steps [S], values float64 [members, S]."""
        found = self.array(name)
        if found.values.ndim != 2:
            shape = found.values.shape[2:]
            raise SaltusError(f"metric {name} is not a scalar but has shape {shape}: use array")
        return Series(name, found.steps, found.values.astype(np.float64))

    def array(self, name: str) -> Series:
        """Any metric: steps [S], values [members, S, *shape] in the type they were recorded in."""
        columns = [self.columns(index).get(name) for index in self.shards]
        if all(column is None for column in columns):
            raise SaltusError(f"{self.path}: {unknown('metric', name, self.names())}")
        return merge(name, columns, list(self.shards.values()), self.path)

    def checkpoints(self) -> list[int]:
        """The steps for which every shard still has a file, rising."""
        steps: list[set[int]] = []
        for index in self.shards:
            folder = self.files(index).checkpoints
            steps.append({r.step for r in self.records(index) if (folder / r.file).is_file()})
        return sorted(set.intersection(*steps))

    def checkpoint(self, step: int | None = None) -> dict[str, np.ndarray]:
        """The parameters at `step` (None: the last), each [members, ...] in run order.

        Tensors under "state/" (the optimiser's) are left out. Every file is checked against the
        chain before it is used.
        """
        steps = self.checkpoints()
        if not steps or (step is not None and step not in steps):
            raise SaltusError(
                f"{self.path} has no checkpoint of step {'any' if step is None else step}; "
                f"there are: {', '.join(map(str, steps)) or 'none'}"
            )
        wanted = steps[-1] if step is None else step
        parts = {index: self._load(index, wanted) for index in self.shards}
        order = np.argsort(np.concatenate([self.shards[index] for index in parts]), kind="stable")
        names = next(iter(parts.values())).keys()
        return {n: np.concatenate([part[n] for part in parts.values()])[order] for n in names}

    def files(self, shard: int) -> ShardFiles:
        """The paths of one shard."""
        return shard_files(self.path, shard)

    def log(self, shard: int) -> Log:
        """The verified metrics of one shard; read again only when the file has changed."""
        return self._read_log(shard)[0]

    def columns(self, shard: int) -> dict[str, Column]:
        """One shard's metrics by name: steps [n], values [n, members of the shard, *shape]."""
        return self._read_log(shard)[1]

    def records(self, shard: int) -> list[Record]:
        """The checkpoints of one shard as its chain tells them, the last ones last."""
        experiment, start = self._origin(shard)
        return load_chain(self.files(shard), start, experiment).records

    def _read_log(self, shard: int) -> tuple[Log, dict[str, Column]]:
        path = self.files(shard).metrics
        try:
            stat = path.stat()
            key = (stat.st_size, stat.st_mtime_ns)
        except FileNotFoundError:
            key = (0, 0)
        except OSError as error:
            raise SaltusError(f"cannot read {path}: {reason(error)}") from error
        if shard not in self._logs or self._logs[shard][0] != key:
            log = load_log(self.files(shard), self._origin(shard)[1])
            self._logs[shard] = (key, log, columns_by_name(log.blocks))
        return self._logs[shard][1:]

    def _origin(self, shard: int) -> tuple[str, str]:
        return genesis(self.path, self.members, shard)

    def _load(self, shard: int, step: int) -> dict[str, np.ndarray]:
        path = self.files(shard).checkpoint(step)
        try:
            data = path.read_bytes()
            if sha256(data) != next(r.sha256 for r in self.records(shard) if r.step == step):
                raise SaltusError(f"{path} is damaged: its sha256 is not the one in the chain")
            tensors = safetensors.numpy.load(data)
        except (OSError, StopIteration, SafetensorError) as error:
            raise SaltusError(f"cannot read {path}: {error}") from error
        return {name: t for name, t in tensors.items() if not name.startswith("state/")}

    def _total_steps(self, said: list[dict[str, Any]]) -> int | None:
        training = self.experiment.get("training")
        nested = training.get("steps") if isinstance(training, dict) else None
        candidates = [*(s.get("steps") for s in said), self.experiment.get("steps"), nested]
        return next((steps for steps in candidates if isinstance(steps, int)), None)

    def _read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise SaltusError(f"cannot read {self.path / name}: {reason(error)}") from error


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


def _last_step(files: ShardFiles) -> int:
    """The step of the last line of a chain, without proving anything: for display."""
    try:
        return json.loads(files.chain.read_bytes().splitlines()[-1])["step"]
    except (OSError, ValueError, LookupError, TypeError):
        return 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
