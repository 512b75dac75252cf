"""Files that survive a crash: whole or absent, flushed to the disk, sealed with a digest.

Every write of a run goes through this file, so that there is one place that knows about full
disks, half-written files and what `fsync` is for.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from saltus.errors import SaltusError

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Make `path` hold exactly `data`: readers see the old file or the new one, never a mixture.

    With `durable`, the bytes and the name are on the disk before this returns. Raises OSError;
    the temporary sibling (`.NAME.tmp`) is then gone and the old file untouched.
    """
    temporary = temporary_of(path)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            write_all(descriptor, data)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


class AppendFile:
    """A file that only grows, one durable piece at a time; a piece is appended whole or not at all.

    A crash can still tear the last piece: whoever reads the file must be able to tell.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self.length = os.fstat(self._descriptor).st_size

    def append(self, data: bytes) -> None:
        """Write and flush `data`; on any error cut the file back to where it was, and raise."""
        start = self.length
        try:
            write_all(self._descriptor, data)
            os.fsync(self._descriptor)
            self.length = start + len(data)
        except BaseException:
            with suppress(OSError):
                self.truncate(start)
            raise

    def truncate(self, length: int) -> None:
        """Cut the file to `length` bytes."""
        self.length = length
        os.ftruncate(self._descriptor, length)
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Give the descriptor back; closing twice is fine."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@contextmanager
def clear_write_errors(path: Path, run: Path) -> Iterator[None]:
    """Turn an OSError while writing `path` of `run` into one line that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise SaltusError(
                f"disk full while writing {path}; nothing is lost: "
                f"free space and run `saltus resume {run}`"
            ) from error
        raise SaltusError(f"cannot write {path}: {reason(error)}") from error


def reason(error: OSError) -> str:
    """The plain words of an OSError, without its number and its path."""
    return (error.strerror or str(error)).lower()


def write_all(descriptor: int, data: bytes) -> None:
    """`os.write` until nothing is left: a disk that fills up writes a part first."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_directory(directory: Path) -> None:
    """Make names just created, renamed or removed in `directory` survive a power cut."""
    sync(directory)


def sync(path: Path) -> None:
    """Wait until a file's content, or a directory's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_of(path: Path) -> Path:
    """Where `path` is written before it gets its name; one writer at a time holds the lock."""
    return path.with_name(f".{path.name}.tmp")


def sha256(data: bytes) -> str:
    """The sha256 of `data` in hex."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    """The sha256 of a file's content in hex, read in pieces. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical(value: Any) -> bytes:
    """The one JSON text that stands for `value`: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def seal(fields: dict[str, Any]) -> bytes:
    """`fields` and their own sha256 (as "digest"), as one line of canonical JSON."""
    return canonical({**fields, "digest": sha256(canonical(fields))})


def unseal(line: bytes) -> dict[str, Any] | None:
    """What `seal` wrote, "digest" included, or None if a single bit of the line differs."""
    try:
        fields = json.loads(line)
        digest = fields.pop("digest")
        intact = digest == sha256(canonical(fields)) and seal(fields) == line
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return None
    return {**fields, "digest": digest} if intact else None
