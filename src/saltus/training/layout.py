"""Where every parameter lies in a member's row of the flat buffer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

import torch
from torch import Tensor

ALIGNMENT = 64  # bytes: every parameter of every member starts on a cache line


class Layout:
    """Packs named tensors into one vector, each on a cache line; gaps stay zero.

    One row per member makes an optimiser step one pass over memory, lets members be frozen,
    saved or dropped row by row, and keeps every weight equally aligned whatever K is.
    """

    def __init__(self, shapes: Mapping[str, Iterable[int]], dtype: torch.dtype) -> None:
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        quantum = ALIGNMENT // dtype.itemsize
        self.spans: dict[str, tuple[int, int]] = {}
        offset = 0
        for name, shape in self.shapes.items():
            self.spans[name] = (offset, offset + prod(shape))
            offset += -(-prod(shape) // quantum) * quantum
        self.size = offset

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Named views [members, *shape] of a buffer [members, size]."""
        return {
            name: flat[:, start:end].view(len(flat), *self.shapes[name])
            for name, (start, end) in self.spans.items()
        }

    def pieces(self, without: Iterable[str] = ()) -> list[slice]:
        """The contiguous stretches of a row that remain when some parameters are left out."""
        left_out = set(without)
        if not left_out:
            return [slice(0, self.size)]
        pieces: list[slice] = []
        for name, (start, end) in self.spans.items():
            if name in left_out:
                continue
            if pieces and self._adjacent(pieces[-1].stop, start):
                pieces[-1] = slice(pieces[-1].start, end)
            else:
                pieces.append(slice(start, end))
        return pieces

    def view(self, name: str, row: Tensor) -> Tensor:
        """One parameter in its shape, as a view of one member's row."""
        start, end = self.spans[name]
        return row[start:end].view(self.shapes[name])

    def _adjacent(self, end: int, start: int) -> bool:
        # Only padding lies between two neighbours.
        return not any(end <= a < start for a, _ in self.spans.values())
