"""Writing a file that people look at: whole, or not at all."""

from __future__ import annotations

from pathlib import Path

from saltus.errors import SaltusError
from saltus.runs.files import reason, write_atomic


def save(path: Path, data: bytes) -> Path:
    """Make `path` hold `data`, with its directory; SaltusError where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data, durable=False)
    except OSError as error:
        raise SaltusError(f"cannot write {path}: {reason(error)}") from error
    return path
