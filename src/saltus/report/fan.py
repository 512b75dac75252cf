"""A fan: how a curve spreads over seeds, point by point, and the points of it worth drawing."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Int, Real

LIMIT = 400  # points of a drawn curve: about two per pixel column of a panel


@dataclass(frozen=True)
class Fan:
    """Order statistics over the seeds that have a finite value; nan where none has."""

    x: Real[np.ndarray, " point"]  # training steps, times, settings; ascending
    median: Float[np.ndarray, " point"]
    quarter: Float[np.ndarray, " point"]  # a quarter of the seeds lies at or below
    three_quarters: Float[np.ndarray, " point"]
    low: Float[np.ndarray, " point"]  # the smallest
    high: Float[np.ndarray, " point"]  # the largest
    counts: Int[np.ndarray, " point"]  # seeds with a finite value

    def at(self, places: Int[np.ndarray, " some"]) -> Fan:
        """The fan at some of its points."""
        return Fan(**{field.name: getattr(self, field.name)[places] for field in fields(self)})

    def thinned(self, limit: int = LIMIT, x_log: bool = False) -> Fan:
        """At most `limit` points, with the extremes of the median and of both ends kept.

        For a logarithmic x axis (all x positive) they are spread over its length.
        """
        along = np.log10(self.x) if x_log else None
        return self.at(thin(limit, self.median, self.low, self.high, along=along))


def fan(x: Real[np.ndarray, " point"], values: Float[np.ndarray, "member point"]) -> Fan:
    """The fan of a curve. Values that are not finite (a diverged member) are left out."""
    known = np.isfinite(values)
    counts = known.sum(axis=0)
    levels = np.full((5, len(x)), np.nan)
    shares = [0.0, 0.25, 0.5, 0.75, 1.0]
    full = (counts == len(values)) & (counts > 0)
    some = (counts > 0) & ~full
    if full.any():  # by far the most, and nanquantile is a hundred times slower
        levels[:, full] = np.quantile(values[:, full], shares, axis=0)
    if some.any():
        shown = np.where(known, values, np.nan)[:, some]
        levels[:, some] = np.nanquantile(shown, shares, axis=0)
    low, quarter, median, three_quarters, high = levels
    return Fan(x, median, quarter, three_quarters, low, high, counts)


def thin(
    limit: int,
    *curves: Float[np.ndarray, " point"],
    along: Float[np.ndarray, " point"] | None = None,
) -> Int[np.ndarray, " some"]:
    """Places of at most `limit` points that keep the look of curves on one grid.

    The grid is cut into stretches, of equally many points or, where `along` says where the points
    stand on the axis (ascending), of equal length there; of each stretch every curve's smallest and
    largest value stay, and so do the two ends of the grid. Nothing is averaged: a spike of one
    point survives. A gap shorter than a stretch may close.
    """
    count = len(curves[0])
    if count <= limit:
        return np.arange(count)
    stretches = max(1, (limit - 2) // (2 * len(curves)))
    if along is None:
        parts = np.array_split(np.arange(count), stretches)
    else:
        edges = np.linspace(along[0], along[-1], stretches + 1)[1:-1]
        parts = np.split(np.arange(count), np.searchsorted(along, edges))
    kept = {0, count - 1}
    for stretch in (part for part in parts if len(part)):
        for curve in curves:
            part = curve[stretch]
            finite = np.isfinite(part)
            if finite.any():
                kept.add(int(stretch[np.where(finite, part, np.inf).argmin()]))
                kept.add(int(stretch[np.where(finite, part, -np.inf).argmax()]))
            else:
                kept.add(int(stretch[0]))  # a point without a value keeps the gap open
    return np.array(sorted(kept))
