"""The reading side of one shard: its log, its chain, its checkpoints, its own word on itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from saltus.errors import SaltusError
from saltus.runs.chain import Record, releasable
from saltus.runs.files import reason, sha256, unseal
from saltus.runs.frames import Frame, Frames, load_frames, read_frame
from saltus.runs.layout import genesis, shard_files
from saltus.runs.locks import is_held
from saltus.runs.merge import columns_by_name
from saltus.runs.metrics_log import Column, Log
from saltus.runs.recovery import load_chain, load_log
from saltus.runs.status import read_status


class Shard:
    """A chunk of a run's members, read afresh from disk at each question; never writes."""

    def __init__(self, run: Path, index: int, table: list[dict[str, Any]]) -> None:
        self.index, self._run = index, run
        self.members = [each["member"] for each in table if each["shard"] == index]
        self.files = shard_files(run, index)
        self._experiment, self._genesis = genesis(run, table, index)
        self._read: tuple[tuple[int, int], Log, dict[str, Column]] | None = None

    @property
    def status(self) -> dict[str, Any]:
        """What its writer last said: state, step, diverged, seconds, …; {} if nothing readable."""
        return read_status(self.files.status, self._genesis) or {}

    @property
    def held(self) -> bool:
        """Whether a process is writing it right now."""
        return is_held(self.files.lock)

    @property
    def done(self) -> bool:
        """Whether it was trained to its end, and what it says since then is still whole.

        What is not done is trained again, which mends it: `damage` sees all but the content of
        checkpoints, which only `verify` reads through.
        """
        return self.status.get("state") == "done" and not self.damage

    @property
    def step(self) -> int:
        """How far it says it is, without proof."""
        said = self.status.get("step", 0)
        try:
            last = unseal(self.files.chain.read_bytes().splitlines()[-1])
        except (OSError, LookupError):
            return said
        return max(said, last["step"]) if last else said

    @property
    def log(self) -> Log:
        """The verified metrics; read again only when the file has changed."""
        return self._read_log()[0]

    @property
    def names(self) -> list[str]:
        """The names of its metrics, as far as they can be read."""
        return list(self._read_log()[1])

    @property
    def columns(self) -> dict[str, Column]:
        """Its metrics by name: steps [n], values [n, members of the shard, *shape].

        Raises SaltusError for a finished shard that no longer has all of them: the last value of
        what is left would pass for the last of the training.
        """
        if self.status.get("state") == "done" and (why := self._metrics_damage()):
            raise SaltusError(f"{self._run} is damaged: {self._name(self.files.metrics)}: {why}")
        return self._read_log()[1]

    @property
    def damage(self) -> list[str]:
        """What cannot be read, or is not what was written: one line each, files named.

        A torn end of log or chain is common where a writer was killed; resuming cuts it off.
        """
        said = read_status(self.files.status, self._genesis)
        chain = load_chain(self.files, self._genesis, self._experiment)
        last, done = chain.records[-1:], self.status.get("state") == "done"
        wrong = {self.files.chain: chain.damage, self.files.metrics: self._metrics_damage()}
        if said is None:
            wrong[self.files.status] = "its digest does not match its content"
        if size_of(self.files.metrics) and not self.files.chain.exists():
            wrong[self.files.chain] = "missing"
        if done and not (last and last[0].step >= self.status.get("step", 0)):
            wrong[self.files.chain] = chain.damage or "ends before the training did"
        if last and not self.files.status.exists():
            wrong[self.files.status] = "missing"
        frames, why = self._read_frames()
        wrong[self.files.frames_log] = why
        gone = releasable(chain.records) if done else chain.records[:-1]
        for record in chain.records:
            path = self.files.checkpoints / record.file
            wanted = record.kept or (record not in gone and not self.held)
            if wanted and size_of(path) != record.size:
                wrong[path] = f"missing, or not of {record.size} bytes"
        for frame in frames.frames if not self.held else ():
            path = self.files.frame(frame.member, frame.step)
            if size_of(path) != frame.size:
                wrong[path] = f"missing, or not of {frame.size} bytes"
        return [f"{self._name(path)}: {why}" for path, why in wrong.items() if why]

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

    @property
    def frames(self) -> list[Frame]:
        """Its members' frames in the order in which they were written.

        Raises SaltusError for a finished shard that no longer has all of them.
        """
        frames, why = self._read_frames()
        if why and self.status.get("state") == "done":
            name = self._name(self.files.frames_log)
            raise SaltusError(f"{self._run} is damaged: {name}: {why}")
        return frames.frames

    def frame(self, member: int, step: int) -> dict[str, np.ndarray]:
        """The parameters of one member (of the run) in one of its frames, proven by the chain."""
        for frame in self.frames:
            if (frame.member, frame.step) == (member, step):
                return read_frame(self.files, frame)
        there = ", ".join(str(frame.step) for frame in self.frames if frame.member == member)
        raise SaltusError(
            f"{self._run}: member {member} has no frame of step {step}; allowed: {there or 'none'}"
        )

    def _read_frames(self) -> tuple[Frames, str | None]:
        """The list of frames, and what is wrong with it, given what chain and status say."""
        status, records = self.status, self.records  # before the frames, which are written first
        try:
            frames = load_frames(self.files, self._genesis)
        except OSError as error:
            raise SaltusError(f"cannot read {self.files.frames_log}: {reason(error)}") from error
        return frames, frames_damage(frames, records, status)

    def _metrics_damage(self) -> str | None:
        """What is wrong with the log, given what chain and status say of it; one line or None."""
        status = self.status
        if status.get("state") == "done":  # its end is sealed, and no chain need be read
            log, end = self.log, status.get("metrics", {})
            if (log.end, log.digest) != (end.get("length", 0), end.get("digest", log.digest)):
                return log.damage or "ends before the training did"
            return log.damage
        records = self.records  # before the log, which a live writer extends first
        log = self.log
        for record in records[-1:]:
            if log.boundaries().get(record.metrics_length) != record.metrics_digest:
                return log.damage or f"not what it was at the checkpoint of {record.step}"
        return log.damage

    def _name(self, path: Path) -> str:
        return path.relative_to(self._run).as_posix()

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


def frames_damage(
    frames: Frames, records: list[Record], status: dict[str, Any] | None
) -> str | None:
    """What is wrong with a list of frames, given what chain and status say of it; or None."""
    for record in records[-1:]:
        if frames.upto(record.frames_length, record.frames_digest) is None:
            return frames.damage or f"not what it was at the checkpoint of {record.step}"
    if status and status.get("state") == "done":
        end = status.get("frames", {"length": 0, "digest": frames.genesis})
        if (frames.end, frames.digest) != (end["length"], end["digest"]):
            return frames.damage or "does not end where it ended when the run was done"
    return frames.damage


def size_of(path: Path) -> int:
    """The length of a file in bytes, 0 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
