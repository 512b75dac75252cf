"""The reading side of one shard: its log, its chain, its checkpoints, its own word on itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from saltus.errors import SaltusError
from saltus.runs.chain import Record
from saltus.runs.files import reason, sha256
from saltus.runs.layout import genesis, shard_files
from saltus.runs.locks import is_held
from saltus.runs.merge import columns_by_name
from saltus.runs.metrics_log import Column, Log
from saltus.runs.recovery import load_chain, load_log
from saltus.runs.status import read_status


class Shard:
    """A chunk of a run's members, read afresh from disk at each question; never writes."""

    def __init__(self, run: Path, index: int, table: list[dict[str, Any]]) -> None:
        self.index = index
        self.members = [each["member"] for each in table if each["shard"] == index]
        self.files = shard_files(run, index)
        self._experiment, self._genesis = genesis(run, table, index)
        self._read: tuple[tuple[int, int], Log, dict[str, Column]] | None = None

    @property
    def status(self) -> dict[str, Any]:
        """What its writer last said: state, step, diverged, seconds, …; {} if nothing readable."""
        return read_status(self.files.status) or {}

    @property
    def held(self) -> bool:
        """Whether a process is writing it right now."""
        return is_held(self.files.lock)

    @property
    def done(self) -> bool:
        """Whether it was trained to its end, and its log is as long as it was then."""
        status = self.status
        end = status.get("metrics", {}).get("length", 0)
        return status.get("state") == "done" and size_of(self.files.metrics) == end

    @property
    def step(self) -> int:
        """How far it says it is, without proof."""
        said = self.status.get("step", 0)
        try:
            last = self.files.chain.read_bytes().splitlines()[-1]
            return max(said, json.loads(last)["step"])
        except (OSError, ValueError, LookupError, TypeError):
            return said

    @property
    def log(self) -> Log:
        """The verified metrics; read again only when the file has changed."""
        return self._read_log()[0]

    @property
    def columns(self) -> dict[str, Column]:
        """Its metrics by name: steps [n], values [n, members of the shard, *shape]."""
        return self._read_log()[1]

    @property
    def records(self) -> list[Record]:
        """Its checkpoints as the chain tells them, the newest last; released ones included."""
        return load_chain(self.files, self._genesis, self._experiment).records

    def checkpoints(self) -> list[int]:
        """The steps whose checkpoints still have a file, rising."""
        folder = self.files.checkpoints
        return [record.step for record in self.records if (folder / record.file).is_file()]

    def checkpoint(self, step: int) -> dict[str, np.ndarray]:
        """The tensors of one checkpoint, optimiser state included, proven by the chain."""
        path = self.files.checkpoint(step)
        try:
            data = path.read_bytes()
            if sha256(data) != next(r.sha256 for r in self.records if r.step == step):
                raise SaltusError(f"{path} is damaged: its sha256 is not the one in the chain")
            return safetensors.numpy.load(data)
        except (OSError, StopIteration, SafetensorError) as error:
            raise SaltusError(f"cannot read {path}: {error or 'not in the chain'}") from error

    def _read_log(self) -> tuple[Log, dict[str, Column]]:
        path = self.files.metrics
        try:
            stat = path.stat()
            key = (stat.st_size, stat.st_mtime_ns)
            if self._read is None or self._read[0] != key:
                log = load_log(self.files, self._genesis)
                self._read = key, log, columns_by_name(log.blocks)
        except FileNotFoundError:
            return load_log(self.files, self._genesis), {}
        except OSError as error:
            raise SaltusError(f"cannot read {path}: {reason(error)}") from error
        return self._read[1:]


def size_of(path: Path) -> int:
    """The length of a file in bytes, 0 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
