"""Tensors in files: where each one lies, and reading it in pieces.

Pieces are read into one buffer and not mapped into memory: mapped pages of a 6 GB file count as
resident until the system wants them back, and copying a piece that stays in the cache costs little.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saltus.errors import SaltusError

OPEN_FILES = 128
BYTES = torch.uint8


class Damage(Exception):
    """A file that is not what was written: `kind` is "truncated" or "corrupt", the text says why.

    Whoever lists a series catches it: one bad file does not spoil the others.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True)
class Entry:
    """One contiguous tensor in a file: its numbers of `dtype` from byte `offset` on."""

    file: Path
    offset: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Its size in the file."""
        return self.numel * self.dtype.itemsize


class Reader:
    """Reads pieces of tensors; keeps the files used last open. Close it, or use `with`."""

    def __init__(self, capacity: int) -> None:
        """For pieces of up to `capacity` numbers, whatever their type."""
        self._bytes = bytearray(8 * capacity)
        self._view, self._raw = memoryview(self._bytes), torch.frombuffer(self._bytes, dtype=BYTES)
        self._open: OrderedDict[Path, int] = OrderedDict()
        self.bytes_read = 0

    def read(self, entry: Entry, start: int, into: Tensor) -> int:
        """Fill `into`, of any floating-point type, with the numbers from `start` on, in order.

        Returns how many of them are zero with all their bits: a -0.0 is none.
        """
        size = into.numel() * entry.dtype.itemsize
        at, done = entry.offset + start * entry.dtype.itemsize, 0
        while done < size:
            got = os.preadv(self._descriptor(entry.file), [self._view[done:size]], at + done)
            if not got:
                raise SaltusError(f"{entry.file}: became shorter while it was read")
            done += got
        into.copy_(self._raw[:size].view(entry.dtype))
        self.bytes_read += size
        words = np.frombuffer(self._bytes, f"u{entry.dtype.itemsize}", into.numel())
        return into.numel() - int(np.count_nonzero(words))

    def _descriptor(self, file: Path) -> int:
        if file in self._open:
            self._open.move_to_end(file)
            return self._open[file]
        if len(self._open) == OPEN_FILES:
            os.close(self._open.popitem(last=False)[1])
        try:
            self._open[file] = os.open(file, os.O_RDONLY)
        except OSError as error:
            raise SaltusError(f"cannot read {file}: {error.strerror}") from error
        return self._open[file]

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            os.close(self._open.popitem()[1])
