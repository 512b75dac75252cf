"""Finding the point a shard can continue from, and removing what lies beyond it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from saltus.runs.chain import Chain, Record, read_chain, releasable
from saltus.runs.files import sha256, sync_directory
from saltus.runs.frames import Frame, load_frames
from saltus.runs.layout import ShardFiles
from saltus.runs.metrics_log import Log, read_log


@dataclass(frozen=True)
class ResumePoint:
    """Where to continue. Without records: from nothing. `notes` say what had to be given up."""

    records: list[Record] = field(default_factory=list)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    log: Log | None = None
    notes: list[str] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)

    @property
    def metrics_length(self) -> int:
        return self.records[-1].metrics_length if self.records else 0

    @property
    def chain_length(self) -> int:
        return self.records[-1].end if self.records else 0

    @property
    def frames_length(self) -> int:
        return self.frames[-1].end if self.frames else 0


def find_resume_point(files: ShardFiles, genesis: str, experiment: str) -> ResumePoint:
    """The newest checkpoint whose file, whose metrics and whose list of frames verify.

    Changes nothing. A frame's own file is not looked at: nothing goes on from it.

    Raises OSError if a file is there but cannot be read.
    """
    chain = load_chain(files, genesis, experiment)
    log = load_log(files, genesis)
    boundaries = log.boundaries()
    frames = load_frames(files, genesis)
    said = {files.chain: chain.damage, files.metrics: log.damage, files.frames_log: frames.damage}
    notes = [f"{path.name}: {damage}" for path, damage in said.items() if damage]
    for position, record in reversed(list(enumerate(chain.records, start=1))):
        if boundaries.get(record.metrics_length) != record.metrics_digest:
            notes.append(f"{record.file}: its metrics are missing or altered")
            continue
        taken = frames.upto(record.frames_length, record.frames_digest)
        if taken is None:
            notes.append(f"{record.file}: the list of its frames is missing or altered")
            continue
        path = files.checkpoints / record.file
        try:
            data = path.read_bytes()
            if sha256(data) == record.sha256:
                tensors = safetensors.numpy.load(data)
                return ResumePoint(chain.records[:position], tensors, log, notes, taken)
            notes.append(f"{record.file}: truncated or altered")
        except FileNotFoundError:
            notes.append(f"{record.file}: {'missing' if record.kept else 'released'}")
        except SafetensorError:
            notes.append(f"{record.file}: not a safetensors file")
    return ResumePoint(notes=notes)


def newest_before(
    files: ShardFiles, records: list[Record], step: int
) -> tuple[int, dict[str, np.ndarray]] | None:
    """(step, tensors) of the newest of some checkpoints, of `step` or earlier, that verifies.

    Raises OSError if a file is there but cannot be read.
    """
    for record in reversed(records):
        if record.step <= step:
            with suppress(FileNotFoundError, SafetensorError):
                data = (files.checkpoints / record.file).read_bytes()
                if sha256(data) == record.sha256:
                    return record.step, safetensors.numpy.load(data)
    return None


def discard_beyond(files: ShardFiles, point: ResumePoint) -> None:
    """Delete every file in the shard that a run unbroken up to `point` would not have.

    Truncating the log and the chain is the writer's business; it may happen before or after, and
    a crash in between only means that the same point is found again. Raises OSError.
    """
    released = {record.file for record in releasable(point.records)}
    wanted = {record.file for record in point.records} - released
    for path in files.checkpoints.iterdir():
        ours = path.name.startswith("step-") and path.suffix == ".safetensors"
        temporary = path.name.startswith(".") and path.suffix == ".tmp"
        if temporary or (ours and path.name not in wanted):
            path.unlink(missing_ok=True)
    _discard_frames(files, point.frames)
    for path in files.directory.glob(".*.tmp"):
        with suppress(FileNotFoundError):
            path.unlink()
    sync_directory(files.checkpoints)
    sync_directory(files.directory)


def _discard_frames(files: ShardFiles, frames: list[Frame]) -> None:
    wanted = {files.frame(frame.member, frame.step) for frame in frames}
    for folder in sorted(files.frames.glob("member-*")):
        for path in [path for path in folder.iterdir() if path not in wanted]:
            path.unlink(missing_ok=True)
        sync_directory(folder)


def load_chain(files: ShardFiles, genesis: str, experiment: str) -> Chain:
    """The chain of a shard; a missing file reads as empty.

    Read it before the log: a live writer appends to the log first, so a log that is read later
    holds everything that the chain speaks of.
    """
    return read_chain(_content(files.chain), genesis, experiment)


def load_log(files: ShardFiles, genesis: str) -> Log:
    """The metrics of a shard; a missing file reads as empty."""
    return read_log(_content(files.metrics), genesis)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
