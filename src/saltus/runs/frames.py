"""Frames: the parameters of one member at one step of its leap, and the chain that ties them.

    shards/000/frames.jsonl     one sealed line per frame, in order of writing
    shards/000/frames/member-003/step-00000120.safetensors

A frame's file is whole and on the disk before its line is; lines wait for the next flush, so that
a leap costs one wait for the disk per frame and no more. What a checkpoint says of the frames is
the length and the digest of the lines before it, just as of the metrics; so a run that resumes cuts
the lines there, drops the files behind, and writes the same ones again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.numpy
from numpy import ndarray

from saltus.errors import SaltusError
from saltus.runs.files import (
    AppendFile,
    clear_write_errors,
    seal,
    sha256,
    sync,
    unseal,
    write_atomic,
)
from saltus.runs.layout import ShardFiles


@dataclass(frozen=True)
class Frame:
    """One frame as the chain remembers it; digests in hex, sizes in bytes."""

    member: int  # of the run
    step: int
    sha256: str
    size: int
    parent: str
    digest: str = ""
    end: int = 0  # where this line ends in the file


@dataclass(frozen=True)
class Frames:
    """The valid prefix of a file of frames; `damage` says where and why reading stopped, if it did.

    `torn` tells what a crash leaves (the last line is incomplete) from any other damage.
    """

    frames: list[Frame]
    genesis: str
    damage: str | None = None
    torn: bool = False

    @property
    def end(self) -> int:
        """The length of the valid prefix in bytes."""
        return self.frames[-1].end if self.frames else 0

    @property
    def digest(self) -> str:
        """The digest that a next line would be chained to."""
        return self.frames[-1].digest if self.frames else self.genesis

    def upto(self, length: int, digest: str) -> list[Frame] | None:
        """The frames of the first `length` bytes, or None if those are not what they were."""
        if length == 0:
            return []
        known = [frame for frame in self.frames if frame.end <= length]
        return known if known and (known[-1].end, known[-1].digest) == (length, digest) else None


class FrameLog:
    """The writing side; its file appears with the first frame."""

    def __init__(self, files: ShardFiles, run: Path, genesis: str) -> None:
        self.files, self.run, self.genesis = files, run, genesis
        self.known = Frames([], genesis)
        self.waiting: list[tuple[Path, bytes]] = []  # files that have no line yet
        self.file: AppendFile | None = None

    def resume(self, frames: list[Frame]) -> None:
        """Keep these frames, which the file begins with, and no others. Raises OSError."""
        self.close()
        self.known, self.waiting = Frames(frames, self.genesis), []
        if frames:
            self._opened().truncate(self.known.end)
        else:
            self.files.frames_log.unlink(missing_ok=True)

    def write(self, shots: list[tuple[int, int, Mapping[str, ndarray]]]) -> None:
        """Some (member of the run, step, parameters); durable with the next `flush`."""
        for member, step, tensors in shots:
            data = safetensors.numpy.save(dict(tensors))
            path, parent = self.files.frame(member, step), self.known.digest
            with clear_write_errors(path, self.run):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(path, data, durable=False)
            line = encode_frame(Frame(member, step, sha256(data), len(data), parent))
            (frame,) = read_frames(line, parent).frames
            self.known.frames.append(replace(frame, end=self.known.end + len(line)))
            self.waiting.append((path, line))

    def flush(self) -> None:
        """Wait until all frames are on the disk, then write their lines."""
        if not self.waiting:
            return
        folders = {path.parent for path, _ in self.waiting}
        with clear_write_errors(self.files.frames, self.run):
            for path, _ in self.waiting:
                sync(path)
            for folder in sorted({*folders, self.files.frames, self.files.directory}):
                sync(folder)
        with clear_write_errors(self.files.frames_log, self.run):
            self._opened().append(b"".join(line for _, line in self.waiting))
        self.waiting = []

    def close(self) -> None:
        """Give the file back; closing twice is fine."""
        if self.file is not None:
            self.file.close()
            self.file = None

    def _opened(self) -> AppendFile:
        if self.file is None:
            self.file = AppendFile(self.files.frames_log)
        return self.file


def encode_frame(frame: Frame) -> bytes:
    """The line of `frame`, its digest computed and its newline included."""
    return seal({name: getattr(frame, name) for name in _FIELDS}) + b"\n"


def read_frames(data: bytes, genesis: str) -> Frames:
    """Every frame of `data` up to the first that is torn, altered or not its parent's child."""
    frames: list[Frame] = []
    parent, position = genesis, 0
    newest: dict[int, int] = {}
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        end = position + len(line)
        frame = _decode(line[:-1], end) if line.endswith(b"\n") else None
        if frame is None:
            torn = end == len(data) and not line.endswith(b"\n") and unseal(line[:-1]) is None
            why = "is incomplete" if torn else "does not match its digest"
            return Frames(frames, genesis, f"line {number} {why}", torn)
        if frame.parent != parent:
            return Frames(frames, genesis, f"line {number} does not follow the line before it")
        if frame.step <= newest.get(frame.member, -1):
            return Frames(frames, genesis, f"line {number} goes back to step {frame.step}")
        parent, position, newest[frame.member] = frame.digest, end, frame.step
        frames.append(frame)
    return Frames(frames, genesis)


def load_frames(files: ShardFiles, genesis: str) -> Frames:
    """The frames of a shard; a missing file reads as empty. Raises OSError."""
    try:
        return read_frames(files.frames_log.read_bytes(), genesis)
    except FileNotFoundError:
        return Frames([], genesis)


def read_frame(files: ShardFiles, frame: Frame) -> dict[str, ndarray]:
    """The parameters of a frame, proven by the chain. Raises SaltusError."""
    path = files.frame(frame.member, frame.step)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SaltusError(f"cannot read {path}: {error.strerror or error}") from error
    if sha256(data) != frame.sha256:
        raise SaltusError(
            f"{path} is damaged: its sha256 is not the one in {files.frames_log.name}"
        )
    return safetensors.numpy.load(data)


_FIELDS = ("member", "step", "sha256", "size", "parent")


def _decode(line: bytes, end: int) -> Frame | None:
    fields: dict[str, Any] | None = unseal(line)
    if fields is None:
        return None
    try:
        return Frame(**fields, end=end)
    except TypeError:
        return None
