"""Where everything of a run lies, and what its fixed files are.

    RUN/
      experiment.yaml  provenance.json  members.json  manifest.json  lock
      shards/000/  metrics.log  chain.jsonl  status.json  lock
                   checkpoints/step-00000100.safetensors
                   frames.jsonl  frames/member-000/step-00000100.safetensors  (if it leapt)
      metrics.parquet, metrics.parquet.sha256  (rebuildable)

The first three never change once the run exists. manifest.json holds their sha256 and its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saltus.errors import SaltusError
from saltus.runs.files import canonical, reason, seal, sha256, unseal

EXPERIMENT, PROVENANCE, MEMBERS = "experiment.yaml", "provenance.json", "members.json"
MANIFEST, LOCK, PARQUET = "manifest.json", "lock", "metrics.parquet"
FIXED = (EXPERIMENT, PROVENANCE, MEMBERS)
FORMAT = 1


@dataclass(frozen=True)
class ShardFiles:
    """The paths of one shard: a chunk of members trained from start to end by one process."""

    directory: Path

    @property
    def metrics(self) -> Path:
        return self.directory / "metrics.log"

    @property
    def chain(self) -> Path:
        return self.directory / "chain.jsonl"

    @property
    def status(self) -> Path:
        return self.directory / "status.json"

    @property
    def lock(self) -> Path:
        return self.directory / LOCK

    @property
    def checkpoints(self) -> Path:
        return self.directory / "checkpoints"

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:08d}.safetensors"

    @property
    def frames_log(self) -> Path:
        return self.directory / "frames.jsonl"

    @property
    def frames(self) -> Path:
        return self.directory / "frames"

    def frame(self, member: int, step: int) -> Path:
        return self.frames / f"member-{member:03d}" / f"step-{step:08d}.safetensors"


def shard_files(run: Path, index: int) -> ShardFiles:
    """The paths of shard `index`; nothing is read."""
    return ShardFiles(run / "shards" / f"{index:03d}")


def is_run(path: Path) -> bool:
    """Whether `path` looks like the directory of a run."""
    return (path / MANIFEST).is_file() or (path / EXPERIMENT).is_file()


def encode_manifest(fixed: dict[str, bytes]) -> bytes:
    """The manifest of a run whose fixed files have this content, by name."""
    files = {name: sha256(data) for name, data in fixed.items()}
    return seal({"format": FORMAT, "files": files}) + b"\n"


def fixed_problems(run: Path) -> list[str]:
    """What is wrong with the files that never change: one line each, the first first."""
    try:
        digests = _digests(run)
    except SaltusError as error:
        return [str(error)]
    problems: list[str] = []
    for name in FIXED:
        try:
            _proven(run, name, digests)
        except SaltusError as error:
            problems.append(str(error))
    return problems


def read_fixed(run: Path, name: str) -> bytes:
    """The content of a file that never changes. Raises SaltusError unless the manifest proves it.

    A seed of which one bit has flipped is still a seed: nobody would notice by looking at it.
    """
    try:
        return _proven(run, name, _digests(run))
    except SaltusError as error:
        raise SaltusError(f"{run} is damaged: {error}") from error


def require_fixed(run: Path) -> None:
    """Raise SaltusError unless `run` is a run whose fixed files are as they were written."""
    if not is_run(run):
        raise SaltusError(f"{run} is not a run: it has no {EXPERIMENT}")
    problems = fixed_problems(run)
    if problems:
        raise SaltusError(f"{run} cannot be continued: {problems[0]}")


def read_members(run: Path) -> list[dict[str, Any]]:
    """The members of a run: member, seed, overrides and shard of each. Raises SaltusError."""
    path, content = run / MEMBERS, read_fixed(run, MEMBERS)
    try:
        members = json.loads(content)
        if not all({"member", "seed", "overrides", "shard"} <= set(each) for each in members):
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SaltusError(f"{path} is damaged: it is not a list of members") from error
    return members


def shards_of(members: list[dict[str, Any]]) -> dict[int, list[int]]:
    """Shard index → its members, both in rising order."""
    shards: dict[int, list[int]] = {}
    for member in members:
        shards.setdefault(member["shard"], []).append(member["member"])
    return {index: sorted(shards[index]) for index in sorted(shards)}


def genesis(run: Path, members: list[dict[str, Any]], shard: int) -> tuple[str, str]:
    """(sha256 of the experiment, the digest that a shard's metrics and checkpoints start from).

    The second covers the experiment's digest, the shard's index and its members with their seeds
    and overrides; so two shards, or two runs, cannot be exchanged without anyone noticing.
    Nothing here knows the clock or the machine: equal runs have equal bytes.
    """
    try:
        experiment = sha256((run / EXPERIMENT).read_bytes())
    except OSError as error:
        raise SaltusError(f"cannot read {run / EXPERIMENT}: {reason(error)}") from error
    own = [member for member in members if member["shard"] == shard]
    return experiment, sha256(canonical({"experiment": experiment, "shard": shard, "members": own}))


def _digests(run: Path) -> dict[str, str]:
    """What the manifest says of the fixed files: name → sha256. Raises SaltusError."""
    try:
        raw = (run / MANIFEST).read_bytes()
    except OSError as error:
        raise SaltusError(f"{MANIFEST}: {reason(error)}") from error
    manifest = unseal(raw[:-1]) if raw.endswith(b"\n") else None
    if manifest is None:
        raise SaltusError(f"{MANIFEST}: its digest does not match its content")
    if manifest["format"] != FORMAT:
        known = f"format {manifest['format']} is not known; allowed: {FORMAT}"
        raise SaltusError(f"{MANIFEST}: {known}")
    return manifest["files"]


def _proven(run: Path, name: str, digests: dict[str, str]) -> bytes:
    try:
        content = (run / name).read_bytes()
    except OSError as error:
        raise SaltusError(f"{name}: {reason(error)}") from error
    if sha256(content) != digests.get(name):
        raise SaltusError(f"{name}: not what the run was started with (sha256 differs)")
    return content
