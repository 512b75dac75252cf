"""Holding a whole run for writing, whoever trains its shards."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from saltus.runs.layout import LOCK, read_members, require_fixed, shards_of
from saltus.runs.locks import Lock
from saltus.runs.shard_writer import ShardWriter


class RunWriter:
    """Holds the lock of the run at `path` until `close`; a context manager.

    The process that leads the training holds this one, each process that trains a shard holds a
    ShardWriter. Raises SaltusError if somebody else writes the run (naming the pid), or if a file
    that never changes has changed.
    """

    shards: list[int]  # the indices of the run's shards

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        require_fixed(self.path)
        self.shards = list(shards_of(read_members(self.path)))
        self._open: list[ShardWriter] = []
        self._lock = Lock(self.path / LOCK, str(path))

    def shard(self, index: int) -> ShardWriter:
        """The writer of one shard, for training in this process; closed with this one at last."""
        writer = ShardWriter(self.path, index)
        self._open.append(writer)
        return writer

    def close(self) -> None:
        """Close the shards that were opened here and let go of the run."""
        for writer in self._open:
            writer.close()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
