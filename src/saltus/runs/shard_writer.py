"""Writing one shard: metrics, checkpoints, and the chain that ties them together.

The order of writes is what makes `kill -9` harmless. A checkpoint is: metrics flushed; tensors
written under a temporary name, flushed, renamed, read back and compared; then one line appended to
the chain. Until that line is on the disk the checkpoint does not exist, and only afterwards may an
older file go.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors.numpy

from saltus.errors import SaltusError
from saltus.runs.buffer import MetricsBuffer
from saltus.runs.chain import Record, encode_record, read_chain, releasable
from saltus.runs.files import (
    AppendFile,
    clear_write_errors,
    sha256,
    sha256_of_file,
    sync_directory,
    write_atomic,
)
from saltus.runs.frames import FrameLog
from saltus.runs.layout import genesis, read_members, require_fixed, shard_files, shards_of
from saltus.runs.locks import Lock
from saltus.runs.merge import columns_by_name
from saltus.runs.metrics_log import Block, Column, encode_block
from saltus.runs.recovery import discard_beyond, find_resume_point, newest_before
from saltus.runs.shard import size_of
from saltus.runs.status import STATES, read_status, write_status


class ShardWriter:
    """The only writer of shard `index` of the run at `path`; a context manager.

    Holds the shard's lock from construction to `close`, waiting up to 5 s for an owner that is
    just dying. Call `resume` before anything else. After an interrupted `resume`, `record` or
    `checkpoint`, open a new writer: the files are always in order, this object may not be.
    Raises SaltusError, and only that, for anything the user can mend.
    """

    members: list[int]  # of the run, in the order of the leading axis of all that is written
    notes: list[str]  # what the last resume() found damaged and gave up

    def __init__(self, path: Path, index: int) -> None:
        self.path, self.index = Path(path), index
        require_fixed(self.path)
        table = read_members(self.path)
        shards = shards_of(table)
        if index not in shards:
            raise SaltusError(f"shard {index} is not in {path}; allowed: {list(shards)}")
        self.members, self.notes = shards[index], []
        self._experiment, self._genesis = genesis(self.path, table, index)
        self._files = shard_files(self.path, index)
        with clear_write_errors(self._files.directory, self.path):
            self._files.checkpoints.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(self._files.lock, f"shard {index} of {path}", wait=5.0)
        try:
            with clear_write_errors(self._files.directory, self.path):
                self._log = AppendFile(self._files.metrics)
                self._chain = AppendFile(self._files.chain)
        except BaseException:
            self._lock.close()
            raise
        self._frames = FrameLog(self._files, self.path, self._genesis)
        self._buffer = MetricsBuffer(len(self.members))
        said = read_status(self._files.status, self._genesis)
        self._status: dict[str, Any] = {"diverged": {}, **(said or {})}
        self._records: list[Record] = []
        self._digest = self._genesis
        self._past: list[Block] = []
        self._positioned = self._log.length == self._chain.length == 0

    def resume(self) -> tuple[int, dict[str, np.ndarray]] | None:
        """(step, tensors) of the newest checkpoint that verifies, or None to start from nothing.

        The shard then holds exactly what an unbroken run holds at that point: log and chain are
        cut there, later checkpoints, strays and temporary files are gone. Rows still buffered are
        dropped. A damaged newest checkpoint falls back to the one before; `notes` tells.
        """
        with clear_write_errors(self._files.directory, self.path):
            point = find_resume_point(self._files, self._genesis, self._experiment)
            ahead = (
                self._log.length > point.metrics_length
                or self._chain.length > point.chain_length
                or size_of(self._files.frames_log) > point.frames_length
            )
            if ahead and self._status.get("state") == "done":
                # First, so that no kill in between leaves a run that is "done" without its end.
                self._status["state"] = "running"
                write_status(self._files.status, self._status, self._genesis, durable=True)
            self._log.truncate(point.metrics_length)
            self._chain.truncate(point.chain_length)
            self._frames.resume(point.frames)
            discard_beyond(self._files, point)
        self.notes, self._records = point.notes, point.records
        self._buffer = MetricsBuffer(len(self.members))
        blocks = point.log.blocks if point.log else []
        self._past = [block for block in blocks if block.end <= point.metrics_length]
        for block in self._past:
            self._buffer.learn(block.columns)
        last = self._records[-1] if self._records else None
        self._digest = last.metrics_digest if last else self._genesis
        step = last.step if last else 0
        diverged: dict[int, int] = self._status["diverged"]
        self._status["diverged"] = {k: at for k, at in diverged.items() if at <= step}
        self._positioned = True
        return (step, point.tensors) if last else None

    def recorded(self, name: str) -> Column | None:
        """A metric up to the point that was resumed from: steps [n], values [n, members, ...]."""
        return columns_by_name(self._past).get(name)

    def before(self, step: int) -> tuple[int, dict[str, np.ndarray]] | None:
        """(step, tensors) of the newest checkpoint of a step or an earlier one, or None.

        Of those up to the one that was resumed from, and only one that verifies.
        """
        return newest_before(self._files, self._records, step)

    def record(self, step: int, values: dict[str, np.ndarray]) -> None:
        """Keep `values` (each [members, *shape]) of `step` in memory until the next flush.

        Each name may have its own cadence; its steps must rise, its shape and type stay. Floats
        of 32 and 64 bits are stored as they are, other numbers as float32 or int64.
        """
        self._require_position()
        self._buffer.add(step, values)

    def flush(self) -> None:
        """Append what was recorded since the last flush as one block, and wait for the disk.

        Blocks end where the caller flushes: flush at steps that a resumed run would also flush
        at, or the files of the two differ in where their blocks end.
        """
        self._require_position()
        self._frames.flush()
        columns = self._buffer.columns()
        if not columns:
            return
        block, digest = encode_block(columns, self._digest)
        with clear_write_errors(self._files.metrics, self.path):
            self._log.append(block)
        self._digest = digest
        self._buffer.clear()

    def frames(self, shots: list[tuple[int, int, Mapping[str, np.ndarray]]]) -> None:
        """Write some (row, step, parameters of that one member); durable with the next flush.

        The steps of a member must rise.
        """
        self._require_position()
        self._frames.write([(self.members[row], step, each) for row, step, each in shots])

    def checkpoint(
        self, step: int, tensors: dict[str, np.ndarray], keep: bool, reach: int = 0
    ) -> None:
        """Flush, then make `tensors` the checkpoint of `step`; durable when this returns.

        Names under "state/" are the optimiser's and may have any shape; all others lead with the
        members. Without `keep` the file is rolling: deleted once two newer ones are safe, and
        what those reach back to: to go on from this one takes a state `reach` steps older.
        Saving again what was just resumed from does nothing.
        """
        self._require_position()
        for name, tensor in tensors.items():
            if not name.startswith("state/") and tensor.shape[:1] != (len(self.members),):
                raise SaltusError(
                    f"checkpoint: {name} has shape {tensor.shape}; "
                    f"the first axis must be the {len(self.members)} members"
                )
        data = safetensors.numpy.save({k: np.asarray(v, order="C") for k, v in tensors.items()})
        path, digest = self._files.checkpoint(step), sha256(data)
        if self._records and step <= self._records[-1].step:
            last = self._records[-1]
            same = (last.step, last.sha256, last.kept) == (step, digest, keep)
            if same and last.metrics_length == self._log.length and not self._buffer.columns():
                return
            raise SaltusError(
                f"checkpoint: step {step} is not allowed: the last one is of step {last.step}"
            )
        self.flush()
        record = Record(
            step=step,
            file=path.name,
            sha256=digest,
            size=len(data),
            kept=keep,
            parent=self._records[-1].digest if self._records else self._genesis,
            experiment=self._experiment,
            metrics_length=self._log.length,
            metrics_digest=self._digest,
            reach=reach,
            frames_length=self._frames.known.end,
            frames_digest=self._frames.known.digest if self._frames.known.end else "",
        )
        line, chained = encode_record(record), self._chain.length
        try:
            with clear_write_errors(path, self.path):
                write_atomic(path, data)
                if sha256_of_file(path) != digest:
                    raise SaltusError(f"{path} reads back differently: the disk is not reliable")
            with clear_write_errors(self._files.chain, self.path):
                self._chain.append(line)
        except BaseException:
            if self._chain.length == chained:  # else the chain already speaks of the file
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            raise
        (written,) = read_chain(line, record.parent, record.experiment).records
        self._records.append(replace(written, end=self._chain.length))
        self._release()

    def status(self, **fields: Any) -> None:
        """Merge `fields` into status.json and replace it atomically.

        Known fields: state (running, done, failed), step, diverged {member of the run: step},
        seconds (training), instrument_seconds; any other that JSON can hold is kept with them.
        "done" says that the last checkpoint, at `step`, is the end of the training. It flushes,
        and seals how long the metrics and the list of frames are, which may go on a little after
        that checkpoint.
        """
        state = fields.setdefault("state", self._status.get("state", "running"))
        if state not in STATES:
            raise SaltusError(f"status: state '{state}' is not allowed; allowed: {STATES}")
        if state == "done":
            self.flush()
            fields["metrics"] = {"length": self._log.length, "digest": self._digest}
            if self._frames.known.end:
                frames = self._frames.known
                fields["frames"] = {"length": frames.end, "digest": frames.digest}
        durable = state != self._status.get("state")
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._status.update(fields, updated=now)
        with clear_write_errors(self._files.status, self.path):
            write_status(self._files.status, self._status, self._genesis, durable=durable)

    @property
    def spent(self) -> tuple[float, float]:
        """Seconds of training and of instruments that earlier writers of this shard reported."""
        seconds = self._status.get("seconds", 0.0), self._status.get("instrument_seconds", 0.0)
        return float(seconds[0]), float(seconds[1])

    def close(self) -> None:
        """Let go of the files and the lock. Rows that were not flushed are dropped."""
        self._log.close()
        self._chain.close()
        self._frames.close()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _require_position(self) -> None:
        if not self._positioned:
            raise SaltusError(
                f"shard {self.index} of {self.path} already holds data: call resume() first"
            )

    def _release(self) -> None:
        """Delete rolling files that newer, durable and verified checkpoints stand in for."""
        folder = self._files.checkpoints
        gone = [path for r in releasable(self._records) if (path := folder / r.file).exists()]
        with clear_write_errors(folder, self.path):
            for path in gone:
                path.unlink(missing_ok=True)
            if gone:
                sync_directory(folder)
