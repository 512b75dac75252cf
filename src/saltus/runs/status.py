"""status.json of a shard: what its writer last said about itself. Sealed, written atomically.

This is the one file of a shard that knows the clock; nothing else depends on it. It names the
shard's genesis, so that the status of another run is not believed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from saltus.runs.files import seal, unseal, write_atomic

STATES = ("running", "done", "failed")


def read_status(path: Path, genesis: str) -> dict[str, Any] | None:
    """The fields of a status file, {} if there is none, None if it is damaged or another's."""
    try:
        raw = path.read_bytes()
    except OSError:
        return {}
    fields = unseal(raw[:-1]) if raw.endswith(b"\n") else None
    # Older files do not name the shard; they are believed.
    if fields is None or fields.pop("genesis", genesis) != genesis:
        return None
    del fields["digest"]
    fields["diverged"] = {int(member): step for member, step in fields["diverged"].items()}
    return fields


def write_status(path: Path, fields: dict[str, Any], genesis: str, *, durable: bool) -> None:
    """Replace the status file of the shard that begins with `genesis`.

    Raises OSError, and TypeError for what JSON cannot hold.
    """
    diverged = {str(member): int(step) for member, step in fields["diverged"].items()}
    line = seal({**fields, "diverged": diverged, "genesis": genesis})
    write_atomic(path, line + b"\n", durable=durable)
