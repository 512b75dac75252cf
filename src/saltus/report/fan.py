"""A fan: how a series spreads over seeds, step by step, and the points of it worth drawing."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Int

LIMIT = 400  # points of a drawn curve: about two per pixel column of a panel


@dataclass(frozen=True)
class Fan:
    """Order statistics over the seeds that have a finite value; nan where none has."""

    steps: Int[np.ndarray, " step"]
    median: Float[np.ndarray, " step"]
    quarter: Float[np.ndarray, " step"]  # a quarter of the seeds lies at or below
    three_quarters: Float[np.ndarray, " step"]
    low: Float[np.ndarray, " step"]  # the smallest
    high: Float[np.ndarray, " step"]  # the largest
    counts: Int[np.ndarray, " step"]  # seeds with a finite value

    def at(self, places: Int[np.ndarray, " point"]) -> Fan:
        """The fan at some of its steps."""
        return Fan(**{field.name: getattr(self, field.name)[places] for field in fields(self)})

    def thinned(self, limit: int = LIMIT) -> Fan:
        """At most `limit` steps, with the extremes of the median and of both ends kept."""
        return self.at(thin(limit, self.median, self.low, self.high))


def fan(steps: Int[np.ndarray, " step"], values: Float[np.ndarray, "member step"]) -> Fan:
    """The fan of a series. Values that are not finite (a diverged member) are left out."""
    known = np.isfinite(values)
    counts = known.sum(axis=0)
    levels = np.full((5, len(steps)), np.nan)
    some = counts > 0
    if some.any():
        shown = np.where(known, values, np.nan)[:, some]
        levels[:, some] = np.nanquantile(shown, [0.0, 0.25, 0.5, 0.75, 1.0], axis=0)
    low, quarter, median, three_quarters, high = levels
    return Fan(steps, median, quarter, three_quarters, low, high, counts)


def thin(limit: int, *curves: Float[np.ndarray, " step"]) -> Int[np.ndarray, " point"]:
    """Places of at most `limit` points that keep the look of curves on one grid.

    The grid is cut into stretches of equal length; of each stretch every curve's smallest and
    largest value stay, and so do the two ends of the grid. Nothing is averaged: a spike of one step
    survives. A gap shorter than a stretch may close.
    """
    count = len(curves[0])
    if count <= limit:
        return np.arange(count)
    stretches = max(1, (limit - 2) // (2 * len(curves)))
    kept = {0, count - 1}
    for stretch in np.array_split(np.arange(count), stretches):
        for curve in curves:
            part = curve[stretch]
            finite = np.isfinite(part)
            if finite.any():
                kept.add(int(stretch[np.where(finite, part, np.inf).argmin()]))
                kept.add(int(stretch[np.where(finite, part, -np.inf).argmax()]))
            else:
                kept.add(int(stretch[0]))  # a point without a value keeps the gap open
    return np.array(sorted(kept))
