"""Making a run: every fixed file written and flushed in a hidden sibling, then one rename."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
from pathlib import Path
from typing import Any

from saltus.errors import SaltusError
from saltus.runs.files import DISK_FULL, reason, sync_directory, write_atomic
from saltus.runs.layout import (
    EXPERIMENT,
    MANIFEST,
    MEMBERS,
    PROVENANCE,
    encode_manifest,
    shard_files,
)
from saltus.runs.provenance import collect_provenance

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=-]*")


def create_run(
    root: Path,
    name: str,
    experiment_yaml: str,
    members: list[dict[str, Any]],
    shards: list[list[int]],
    provenance: dict[str, Any] | None = None,
) -> Path:
    """Make the directory of a new run below `root` and return its path.

    `members` are {"seed": s, "overrides": {...}} in run order ("member", if given, must be the
    position); `shards` are the member indices that are trained together, every member in exactly
    one. `provenance` adds to, and overrides, what is collected here. If `name` is taken, `name-2`,
    `name-3`, … is made. The run appears complete or not at all. Raises SaltusError.
    """
    root = Path(root)
    if not _NAME.fullmatch(name):
        raise SaltusError(
            f"run name '{name}' is not allowed: letters, digits and . _ + = - only, "
            "beginning with a letter, a digit or _"
        )
    table = _member_table(members, shards)
    fixed = {
        EXPERIMENT: experiment_yaml.encode(),
        PROVENANCE: _pretty({**collect_provenance(), **(provenance or {})}, "provenance"),
        MEMBERS: _pretty(table, "members"),
    }
    temporary = root / f".{name}.{secrets.token_hex(6)}.tmp"
    try:
        root.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        for file, data in {**fixed, MANIFEST: encode_manifest(fixed)}.items():
            write_atomic(temporary / file, data)
        for index in range(len(shards)):
            checkpoints = shard_files(temporary, index).checkpoints
            checkpoints.mkdir(parents=True)
            sync_directory(checkpoints.parent)
        sync_directory(temporary / "shards")
        sync_directory(temporary)
        path = _rename_to_free_name(temporary, root, name)
        sync_directory(root)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise SaltusError(f"disk full while creating run '{name}' in {root}") from error
        raise SaltusError(f"cannot create run '{name}' in {root}: {reason(error)}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return path


def _member_table(members: list[dict[str, Any]], shards: list[list[int]]) -> list[dict[str, Any]]:
    if not members:
        raise SaltusError("members: a run needs at least one")
    shard_of = {member: index for index, shard in enumerate(shards) for member in shard}
    if sorted(m for shard in shards for m in shard) != list(range(len(members))) or [] in shards:
        raise SaltusError(
            f"shards: {shards} is not allowed: each of the {len(members)} members belongs to "
            "exactly one shard, and no shard is empty"
        )
    table: list[dict[str, Any]] = []
    for index, member in enumerate(members):
        if member.get("member", index) != index:
            raise SaltusError(f"members: member {member['member']} stands at position {index}")
        if not isinstance(member.get("seed"), int):
            raise SaltusError(f"members: seed of member {index} is not an integer")
        table.append(
            {
                "member": index,
                "seed": member["seed"],
                "overrides": member.get("overrides") or {},
                "shard": shard_of[index],
            }
        )
    return table


def _pretty(value: Any, what: str) -> bytes:
    try:
        if isinstance(value, list):
            return ("[\n" + ",\n".join(json.dumps(item) for item in value) + "\n]\n").encode()
        return (json.dumps(value, indent=2) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise SaltusError(f"{what}: cannot be written as JSON: {error}") from error


def _rename_to_free_name(temporary: Path, root: Path, name: str) -> Path:
    number = 1
    while True:
        path = root / (name if number == 1 else f"{name}-{number}")
        number += 1
        if os.path.lexists(path):
            continue
        try:
            temporary.rename(path)
            return path
        except OSError as error:  # somebody took the name since we looked
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
