"""The past of many growing series in constant memory: means of blocks that grow as they do."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

BLOCKS = 64  # that a history holds; when it is full, neighbours become one
FEWEST = 6  # blocks through which a line is drawn


class History:
    """Block means of every member since its `begin`, and a straight line through them.

    Members have blocks of their own size: 1 point at first, twice as many whenever `BLOCKS` are
    full. So a history spans all points since its begin, at a resolution of 1/64 to 1/32 of them.
    """

    def __init__(self, members: int) -> None:
        self.means: Float[ndarray, "member block"] = np.zeros((members, BLOCKS))
        self.filled: Int[ndarray, " member"] = np.zeros(members, dtype=np.int64)
        self.size: Int[ndarray, " member"] = np.ones(members, dtype=np.int64)
        self.total: Float[ndarray, " member"] = np.zeros(members)  # of the block under way
        self.count: Int[ndarray, " member"] = np.zeros(members, dtype=np.int64)
        self.begin: Float[ndarray, " member"] = np.zeros(members)  # in points

    def add(
        self, values: Float[ndarray, " member"], who: Bool[ndarray, " member"]
    ) -> Bool[ndarray, " member"]:
        """Take in a point of the members in `who`; returns whose block it completed."""
        self.total += np.where(who, values, 0.0)
        self.count += who
        complete = self.count >= self.size
        places = np.flatnonzero(complete)
        if len(places):
            self.means[places, self.filled[places]] = self.total[places] / self.size[places]
            self.filled[places] += 1
            self.total[places], self.count[places] = 0.0, 0
            for member in np.flatnonzero(self.filled == BLOCKS).tolist():
                self._halve(member)
        return complete

    def _halve(self, member: int) -> None:
        pairs = self.means[member].reshape(-1, 2).mean(axis=1)
        self.means[member, : len(pairs)] = pairs
        self.filled[member] = len(pairs)
        self.size[member] *= 2

    def restart(self, member: int, point: float) -> None:
        """Forget everything before a point."""
        self.filled[member], self.size[member], self.begin[member] = 0, 1, point
        self.total[member], self.count[member] = 0.0, 0

    def forget(self, member: int, blocks: int) -> None:
        """Forget the oldest blocks."""
        kept = self.filled[member] - blocks
        self.means[member, :kept] = self.means[member, blocks : blocks + kept]
        self.filled[member] = kept
        self.begin[member] += blocks * self.size[member]

    def line(
        self,
        first: Int[ndarray, " member"],
        stop: Float[ndarray, " member"],
        members: Int[ndarray, " some"],
    ) -> tuple[Float[ndarray, "4 some"], Bool[ndarray, " some"]]:
        """The line through each member's blocks from number `first` on that end by point `stop`.

        (middle in points, value there, slope per point, standard deviation of a block's residual),
        and which members have enough blocks for it.
        """
        size, begin = self.size[members, None], self.begin[members, None]
        order = np.arange(BLOCKS)
        used = (order >= first[members, None]) & (order < self.filled[members, None])
        used &= begin + (order + 1) * size <= stop[members, None]
        number = used.sum(axis=1)
        enough = number >= FEWEST
        number = np.maximum(number, FEWEST)
        at = begin + (order + 0.5) * size
        means = self.means[members]
        middle = np.where(used, at, 0.0).sum(axis=1) / number
        value = np.where(used, means, 0.0).sum(axis=1) / number
        across = np.where(used, at - middle[:, None], 0.0)
        spread = (across**2).sum(axis=1)
        slope = (across * means).sum(axis=1) / np.where(spread > 0, spread, 1.0)
        rest = np.where(used, means - value[:, None] - slope[:, None] * across, 0.0)
        deviation = np.sqrt((rest**2).sum(axis=1) / (number - 2))
        return np.stack([middle, value, slope, deviation]), enough

    def recent(self, member: int, points: float) -> Float[ndarray, " block"]:
        """The newest blocks of a member that cover at least so many points; all, if need be."""
        wanted = max(1, int(np.ceil(points / self.size[member])))
        return self.means[member, max(0, self.filled[member] - wanted) : self.filled[member]]
