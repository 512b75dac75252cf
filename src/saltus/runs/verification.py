"""Proving that a run is one unbroken trajectory, or naming the first file that is not.

What is proven: the fixed files are those the run was started with; each shard's chain leads from
them to its last checkpoint, every link intact; every checkpoint still present is the one that the
chain names; the metrics log and the list of frames are what they were when each checkpoint was
made, and every frame is the one that its list names. Digests find damage and mix-ups, not a forger
who recomputes them all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saltus.errors import SaltusError
from saltus.runs.chain import Chain, Record, releasable
from saltus.runs.files import reason, sha256_of_file
from saltus.runs.frames import Frames, load_frames
from saltus.runs.layout import (
    EXPERIMENT,
    FIXED,
    LOCK,
    MANIFEST,
    ShardFiles,
    fixed_problems,
    genesis,
    is_run,
    read_members,
    shard_files,
    shards_of,
)
from saltus.runs.locks import is_held
from saltus.runs.metrics_log import Log
from saltus.runs.recovery import load_chain, load_log
from saltus.runs.shard import frames_damage, size_of
from saltus.runs.status import read_status


@dataclass
class VerifyReport:
    """The verdict. `problems[0]` names the first file that breaks the trajectory, and why.

    `notes` are true of healthy runs too (it is live; a torn tail will be cut when it resumes).
    `checked` counts: files, shards, checkpoints, released, frames, blocks, bytes.
    """

    ok: bool = True
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checked: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("files", "shards", "checkpoints", "released", "frames", "blocks", "bytes"), 0
        )
    )

    def problem(self, where: Path | str, why: str) -> None:
        self.ok = False
        self.problems.append(f"{where}: {why}")


def verify(path: Path | str) -> VerifyReport:
    """Check every byte of the run at `path` that cannot be rebuilt; changes nothing.

    Raises SaltusError only if `path` is not a run at all.
    """
    run, report = Path(path), VerifyReport()
    if not is_run(run):
        raise SaltusError(f"{path} is not a run: it has no {EXPERIMENT}")
    for line in fixed_problems(run):
        report.problem(*line.split(": ", 1))
    for name in (MANIFEST, *FIXED):
        _count(report, run / name)
    if not report.ok:  # nothing below can be trusted to mean anything
        return report
    try:
        members = read_members(run)
    except SaltusError as error:
        report.problem("members.json", str(error))
        return report
    live = is_held(run / LOCK)
    for index in shards_of(members):
        experiment, start = genesis(run, members, index)
        try:
            _Shard(run, shard_files(run, index), report, live).check(start, experiment)
        except OSError as error:
            where = Path(error.filename or shard_files(run, index).directory)
            report.problem(_inside(where, run), reason(error))
        report.checked["shards"] += 1
    return report


@dataclass
class _Shard:
    run: Path
    files: ShardFiles
    report: VerifyReport
    live: bool

    def check(self, start: str, experiment: str) -> None:
        status = read_status(self.files.status, start)
        self.live = self.live or is_held(self.files.lock)
        said = status or {}
        done = said.get("state") == "done" and not self.live
        chain = load_chain(self.files, start, experiment)
        log = load_log(self.files, start)
        frames = load_frames(self.files, start)
        self._check_chain(chain, done, said.get("step") if done else None)
        if status is None:
            self._problem(self.files.status, "its digest does not match its content")
        self._check_metrics(log, chain.records, said.get("metrics", {}) if done else None)
        self._check_checkpoints(chain.records, done)
        self._check_frames(frames, chain.records, said if done else None)
        for path in (
            self.files.chain,
            self.files.metrics,
            self.files.status,
            self.files.frames_log,
        ):
            _count(self.report, path)
        if chain.records and not self.files.status.exists():
            self._note(self.files.status, "missing; the time spent so far is not known")
        if not done:
            last = chain.records[-1].step if chain.records else None
            upto = f"up to step {last}" if last is not None else "no checkpoint yet"
            state = "being written" if self.live else "not finished"
            self._note(self.files.directory, f"{state}; {upto}")

    def _check_chain(self, chain: Chain, done: bool, step: int | None) -> None:
        if chain.damage and chain.torn and not done:
            self._note(self.files.chain, chain.damage)
        elif chain.damage:
            self._problem(self.files.chain, chain.damage)
        elif done and not chain.records:
            self._problem(self.files.chain, "the run is done but has no checkpoint")
        elif step is not None and chain.records[-1].step < step:
            last = chain.records[-1].step
            self._problem(self.files.chain, f"ends at step {last}, but the run is done at {step}")

    def _check_metrics(self, log: Log, records: list[Record], end: dict[str, Any] | None) -> None:
        """`end`: the length and digest that a finished shard sealed, None while unfinished."""
        self.report.checked["blocks"] += len(log.blocks)
        boundaries = log.boundaries()
        for record in records:
            if boundaries.get(record.metrics_length) == record.metrics_digest:
                continue
            short = size_of(self.files.metrics) < record.metrics_length
            why = "it is truncated" if short else log.damage or "its blocks are not the same"
            step = record.step
            self._problem(self.files.metrics, f"not what it was at the checkpoint of {step}: {why}")
            return
        if log.damage:
            tell = self._note if end is None else self._problem
            tell(self.files.metrics, log.damage)
        elif end is not None and (log.end, log.digest) != (end.get("length"), end.get("digest")):
            self._problem(self.files.metrics, "does not end where it ended when the run was done")

    def _check_checkpoints(self, records: list[Record], done: bool) -> None:
        by_digest = {record.sha256: record for record in records}
        for record in records:
            path = self.files.checkpoints / record.file
            try:
                digest = sha256_of_file(path)
            except FileNotFoundError:
                self._check_absent(record, records, done)
                continue
            self.report.checked["checkpoints"] += 1
            _count(self.report, path)
            if digest == record.sha256:
                continue
            other = by_digest.get(digest)
            if other is not None:
                self._problem(path, f"holds the checkpoint of step {other.step} instead of its own")
            elif size_of(path) != record.size:
                self._problem(path, f"has {size_of(path)} bytes instead of {record.size}")
            else:
                self._problem(path, "its sha256 is not the one in the chain")
        known = {record.file for record in records}
        for path in sorted(self.files.checkpoints.glob("*")):
            if path.name not in known:
                # A crash between the rename and the chain leaves one; a finished run has none.
                tell = self._problem if done else self._note
                tell(path, "is not in the chain")

    def _check_absent(self, record: Record, records: list[Record], done: bool) -> None:
        path = self.files.checkpoints / record.file
        if record.kept:
            self._problem(path, "missing, though it is a kept checkpoint")
        elif record is records[-1] and not self.live:
            self._problem(path, "missing, though it is the newest checkpoint")
        elif record not in releasable(records) and not self.live:
            # A resume that fell back to the newest but one finds the one before it released.
            tell = self._problem if done else self._note
            tell(path, "missing, though it is one of the newest checkpoints")
        else:  # released; or a live writer has moved on since the chain was read
            self.report.checked["released"] += 1

    def _check_frames(
        self, frames: Frames, records: list[Record], said: dict[str, Any] | None
    ) -> None:
        """`said`: the status of a finished shard, None while unfinished."""
        sure = records[-1].frames_length if records else 0
        if why := frames_damage(frames, records, said):
            cut_off = said is None and frames.end >= sure  # behind the last checkpoint
            (self._note if cut_off else self._problem)(self.files.frames_log, why)
        names = {
            frame.sha256: f"member {frame.member}, step {frame.step}" for frame in frames.frames
        }
        known: set[Path] = set()
        for frame in frames.frames:
            path = self.files.frame(frame.member, frame.step)
            known.add(path)
            try:
                digest = sha256_of_file(path)
            except FileNotFoundError:
                if not self.live or frame.end <= sure:  # else it resumes, and writes it anew
                    self._problem(path, "missing")
                continue
            self.report.checked["frames"] += 1
            _count(self.report, path)
            if digest == frame.sha256:
                continue
            if digest in names:
                self._problem(path, f"holds the frame of {names[digest]} instead of its own")
            elif size_of(path) != frame.size:
                self._problem(path, f"has {size_of(path)} bytes instead of {frame.size}")
            else:
                self._problem(path, f"its sha256 is not the one in {self.files.frames_log.name}")
        for path in sorted(self.files.frames.glob("*/*")):
            if path not in known:
                tell = self._problem if said is not None else self._note
                tell(path, "is not in the list of frames")

    def _problem(self, path: Path, why: str) -> None:
        self.report.problem(_inside(path, self.run), why)

    def _note(self, path: Path, why: str) -> None:
        self.report.notes.append(f"{_inside(path, self.run)}: {why}")


def _inside(path: Path, run: Path) -> str:
    return path.relative_to(run).as_posix() if path.is_relative_to(run) else path.name


def _count(report: VerifyReport, path: Path) -> None:
    if path.is_file():
        report.checked["files"] += 1
        report.checked["bytes"] += path.stat().st_size
