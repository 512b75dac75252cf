"""The checkpoints of one member of a run of ours: a slice of each tensor of its shard's files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from saltus.errors import SaltusError
from saltus.runs.run import open_run
from saltus.trajectories.safetensors_file import read_safetensors
from saltus.trajectories.tensors import Damage, Entry


def run_places(path: Path, member: int) -> tuple[list[tuple[int, Path]], int]:
    """(step and file of each kept checkpoint, rising) and the member's row in those files.

    SaltusError if `path` is no run, has no such member, or kept no checkpoint.
    """
    run = open_run(path)
    for shard in run.shards:
        if member in shard.members:
            kept = [each.step for each in shard.records if each.kept]  # not those to resume from
            files = [(step, shard.files.checkpoint(step)) for step in kept]
            files = [(step, file) for step, file in files if file.is_file()]
            if not files:
                raise SaltusError(f"{path}: the run has no checkpoints")
            return files, shard.members.index(member)
    raise SaltusError(f"member {member} is not allowed: 0 to {len(run.members) - 1}")


def read_member(file: Path, row: int) -> dict[str, Entry]:
    """One member's parameters in a checkpoint of its shard, without the optimiser's state."""
    stacked, _ = read_safetensors(file)
    return {
        name: _row(file, name, entry, row)
        for name, entry in stacked.items()
        if not name.startswith("state/")
    }


def _row(file: Path, name: str, entry: Entry, row: int) -> Entry:
    if not entry.shape or row >= entry.shape[0]:
        why = f"{name} of shape {list(entry.shape)} has no member {row}"
        raise Damage("corrupt", f"{file.name}: {why}")
    size = entry.nbytes // entry.shape[0]
    return replace(entry, offset=entry.offset + row * size, shape=entry.shape[1:])
