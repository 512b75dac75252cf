"""The chain: one line of JSON per checkpoint, each with its parent's digest and its own.

A record ties together what was true at a step: the checkpoint's sha256, the length and digest of
the metrics log and of the frames, the experiment. The first record's parent is the shard's genesis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from saltus.runs.files import seal, unseal


@dataclass(frozen=True)
class Record:
    """One checkpoint as the chain remembers it; digests in hex, lengths in bytes.

    `kept` is False for a rolling checkpoint, whose file may have been released (deleted) since.
    `reach`: who resumes from it trains the last so many steps before it once more, from an earlier
    checkpoint, to have in memory what those steps left there. Records of runs that never had frames
    do not speak of `reach` and frames.
    """

    step: int
    file: str
    sha256: str
    size: int
    kept: bool
    parent: str
    experiment: str
    metrics_length: int
    metrics_digest: str
    reach: int = 0
    frames_length: int = 0
    frames_digest: str = ""  # empty where there are none
    digest: str = ""
    end: int = 0  # where this record ends in the chain file


@dataclass(frozen=True)
class Chain:
    """The valid prefix of a chain file; `damage` says where and why reading stopped, or is None.

    `torn` tells what a crash leaves (the last line is incomplete) from any other damage.
    """

    records: list[Record]
    damage: str | None
    torn: bool


def encode_record(record: Record) -> bytes:
    """The line of `record`, its digest computed and its newline included."""
    return seal(_fields(record)) + b"\n"


def read_chain(data: bytes, genesis: str, experiment: str) -> Chain:
    """Every record of `data` up to the first that is torn, altered or not its parent's child."""
    records: list[Record] = []
    parent, last_step, position = genesis, -1, 0
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        record = _decode(line[:-1], position + len(line)) if line.endswith(b"\n") else None
        if record is None:
            # A whole record with one odd byte behind it was altered; anything less was cut short.
            last = position + len(line) == len(data)
            torn = last and not line.endswith(b"\n") and unseal(line[:-1]) is None
            why = "is incomplete" if torn else "does not match its digest"
            return Chain(records, f"line {number} {why}", torn)
        if record.experiment != experiment:
            return Chain(records, f"line {number} belongs to another experiment", False)
        if record.parent != parent:
            return Chain(records, f"line {number} does not follow the line before it", False)
        if record.step <= last_step:
            return Chain(records, f"line {number} goes back to step {record.step}", False)
        parent, last_step, position = record.digest, record.step, record.end
        records.append(record)
    return Chain(records, None, False)


def releasable(records: list[Record]) -> list[Record]:
    """The records whose files are no longer needed: not kept, and behind all that is still needed.

    Needed are the newest two and, for going on from the older of them, what it reaches back to.
    """
    start = max(0, len(records) - 2)
    if start < len(records):
        back = records[start].step - records[start].reach
        while start and records[start].step > back:
            start -= 1
    return [record for record in records[:start] if not record.kept]


def _fields(record: Record) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "step": record.step,
        "file": record.file,
        "sha256": record.sha256,
        "size": record.size,
        "kept": record.kept,
        "parent": record.parent,
        "experiment": record.experiment,
        "metrics": {"length": record.metrics_length, "digest": record.metrics_digest},
    }
    if record.reach:
        fields["reach"] = record.reach
    if record.frames_length:
        fields["frames"] = {"length": record.frames_length, "digest": record.frames_digest}
    return fields


def _decode(line: bytes, end: int) -> Record | None:
    fields = unseal(line)
    if fields is None:
        return None
    try:
        metrics = fields.pop("metrics")
        frames = fields.pop("frames", {"length": 0, "digest": ""})
        return Record(
            **fields,
            metrics_length=metrics["length"],
            metrics_digest=metrics["digest"],
            frames_length=frames["length"],
            frames_digest=frames["digest"],
            end=end,
        )
    except (KeyError, TypeError):
        return None
