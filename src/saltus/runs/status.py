"""status.json of a shard: what its writer last said about itself. Sealed, written atomically.

This is the one file of a shard that knows the clock; nothing else depends on it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from saltus.runs.files import seal, unseal, write_atomic

STATES = ("running", "done", "failed")


def read_status(path: Path) -> dict[str, Any] | None:
    """The fields of a status file, {} if there is none, None if it is damaged."""
    try:
        raw = path.read_bytes()
    except OSError:
        return {}
    fields = unseal(raw[:-1]) if raw.endswith(b"\n") else None
    if fields is None:
        return None
    fields["diverged"] = {int(member): step for member, step in fields["diverged"].items()}
    return fields


def write_status(path: Path, fields: dict[str, Any], *, durable: bool) -> None:
    """Replace a status file. Raises OSError, and TypeError for what JSON cannot hold."""
    diverged = {str(member): int(step) for member, step in fields["diverged"].items()}
    write_atomic(path, seal({**fields, "diverged": diverged}) + b"\n", durable=durable)
