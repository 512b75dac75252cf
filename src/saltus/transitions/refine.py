"""The shape of a fall whose whereabouts are known: its levels, and when 10, 50, 90 % are done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from saltus.transitions.noise import MEDIAN, block_medians, spread

STILL = 0.1  # of its height: a fall has ended that does not fall by more over its own duration
SMOOTH = 0.08  # of its height: what noise may leave of itself in the smoothed series
EVEN = 0.2  # of its height: what a plateau may differ from its level
SHORTEST = 3  # points from which a level is taken


@dataclass(frozen=True)
class Shape:
    """Places are in points, between two points where the series crosses a share there."""

    level: float  # of the plateau
    after: float  # the new level
    start: int  # of the plateau
    onset: float  # 10 %
    half: float  # 50 %
    late: float  # 90 %
    flat: int  # the first point of the new level
    complete: bool  # whether the new level was seen to last

    @property
    def height(self) -> float:
        return self.level - self.after

    @property
    def width(self) -> float:
        """Points from 10 % to 90 %."""
        return self.late - self.onset

    def moved(self, by: int) -> Shape:
        """The same fall in a longer series that begins `by` points earlier."""
        places = ("start", "onset", "half", "late", "flat")
        return replace(self, **{name: getattr(self, name) + by for name in places})


def shape_of(series: Float[ndarray, " point"], place: int, length: int, first: int) -> Shape | None:
    """The fall after the stretch [place - length, place); None where it does not hold up.

    Most of the points next to `first` are lower.
    """
    level = float(np.median(series[place - length : place]))
    noise = spread(series[max(0, place - max(length, 16)) : first + length])
    flat, after, complete = _new_level(series, place, first, level, noise)
    height = level - after
    if height <= 0:
        return None
    window = _smoothing(noise, height, max(1, length // 2))
    smooth = _running(series, window)
    middle = _crossing(smooth, level - height / 2, place - length // 2, flat)
    if middle is None:
        return None
    onset = _last_above(smooth, level - 0.1 * height, middle)
    late = _first_below(smooth, level - 0.9 * height, middle)
    begin = _plateau_start(series, int(onset), level, height, noise)
    if onset - begin < 2:
        return None
    whole = float(np.median(series[begin : int(onset) + 1]))
    late = max(late, middle)
    return Shape(whole, after, begin, onset, middle, late, max(flat, ceil(late)), complete)


def joined(first: Shape, last: Shape) -> Shape:
    """Two falls as one, from the plateau of the first to the new level of the last.

    Only its ends are right; `settled` finds the places between them.
    """
    half = (first.half + last.half) / 2
    begun = replace(first, after=last.after, half=half, late=last.late)
    return replace(begun, flat=last.flat, complete=last.complete)


def settled(series: Float[ndarray, " point"], shape: Shape, stop: int) -> Shape:
    """The shape with levels taken at a distance from the fall, where it no longer shows.

    A logistic fall is within 1.3 % of its levels half a width before its onset and after its late.
    `stop` is where the next fall begins, or the end of the series.
    """
    noise = spread(series[shape.start : min(stop, shape.flat + int(shape.onset) - shape.start)])
    for _ in range(2):
        width = shape.width
        before = series[shape.start : max(0, int(shape.onset - width / 2)) + 1]
        first = ceil(shape.late + width / 2)
        enough = max(3 * width, noise_points_of(noise, shape.height), SHORTEST)
        behind = series[first : min(stop, first + ceil(enough))]
        level = float(np.median(before)) if len(before) >= SHORTEST else shape.level
        after = float(np.median(behind)) if len(behind) >= SHORTEST else shape.after
        height = level - after
        if height <= 0:
            return shape
        smooth = _running(series, _smoothing(noise, height, max(1, round(width / 2))))
        low, high = int(shape.onset - width), min(ceil(shape.late + width), len(series) - 1)
        half = _crossing(smooth, level - height / 2, low, high)
        if half is None:
            return shape
        onset = max(_last_above(smooth, level - 0.1 * height, half), shape.start + 1.0)
        late = max(_first_below(smooth, level - 0.9 * height, half), half)
        if onset > half:
            return shape
        flat = min(max(shape.flat, ceil(late)), len(series) - 1)
        shape = Shape(level, after, shape.start, onset, half, late, flat, shape.complete)
    return shape


def smoothed(series: Float[ndarray, " point"], shape: Shape) -> Float[ndarray, " point"]:
    """The running median over so many points that its noise is small beside the fall."""
    noise = spread(series[shape.start : shape.flat + round(shape.onset) - shape.start])
    return _running(series, _smoothing(noise, shape.height, max(1, len(series) // 16)))


def _new_level(
    series: Float[ndarray, " point"], place: int, first: int, level: float, noise: float
) -> tuple[int, float, bool]:
    """Where the fall has ended, on which level, and whether that level was seen to last."""
    points, at = len(series), min(first, len(series) - 1)
    while True:
        width = max(SHORTEST, at - place, ceil(noise_points(noise, level, series, at)))
        here, then = series[at : at + width], series[at + width : at + 2 * width]
        if len(then) < SHORTEST:
            rest = series[at:]
            half = len(rest) // 2
            if half < SHORTEST:
                return at, float(np.median(rest)), False
            now, later = float(np.median(rest[:half])), float(np.median(rest[half:]))
            error = MEDIAN * noise * np.sqrt(2 / half)
            still = now - later <= STILL * (level - later) + 2 * error
            return at, (float(np.median(rest)) if still else later), bool(still)
        now, later = float(np.median(here)), float(np.median(then))
        error = MEDIAN * noise * np.sqrt(1 / len(here) + 1 / len(then))
        if now - later <= STILL * (level - now) + 2 * error:
            return at, float(np.median(series[at : at + 2 * width])), True
        at += max(1, width // 2)
        if at >= points:
            return points - 1, later, False


def noise_points(noise: float, level: float, series: Float[ndarray, " point"], at: int) -> float:
    """How many points a median needs for an error of a tenth of the fall so far."""
    fall = level - float(np.median(series[at : at + SHORTEST]))
    return min((10 * MEDIAN * noise / fall) ** 2, len(series) / 4) if fall > 0 else SHORTEST


def _smoothing(noise: float, height: float, most: int) -> int:
    """The odd window over which the noise's median is small beside the fall."""
    wanted = (MEDIAN * noise / (SMOOTH * height)) ** 2
    return 1 if wanted <= 1 else 2 * round(min(wanted, most) / 2) + 1


def _running(series: Float[ndarray, " point"], window: int) -> Float[ndarray, " point"]:
    """The running median; at the ends of what there is."""
    if window <= 1 or len(series) < window:
        return series
    half = window // 2
    inner = block_medians(series, window)
    ends = [np.full(half, inner[0]), np.full(len(series) - half - len(inner), inner[-1])]
    return np.concatenate([ends[0], inner, ends[1]])


def _crossing(smooth: Float[ndarray, " point"], middle: float, low: int, flat: int) -> float | None:
    """Where the smoothed series passes the middle for good, seen from the new level."""
    low = max(low, 1)
    above = np.flatnonzero(smooth[low : flat + 1] > middle)
    last = low + int(above[-1]) if len(above) else low - 1
    return _between(smooth, last, middle)


def _last_above(smooth: Float[ndarray, " point"], share: float, half: float) -> float:
    """The last place before the middle at which the fall had not reached that share."""
    above = np.flatnonzero(smooth[: int(half) + 1] > share)
    return _between(smooth, int(above[-1]), share) or half if len(above) else 0.0


def _first_below(smooth: Float[ndarray, " point"], share: float, half: float) -> float:
    """The first place after the middle at which the fall has reached that share."""
    below = np.flatnonzero(smooth[int(half) + 1 :] <= share)
    if not len(below):
        return float(len(smooth) - 1)
    return _between(smooth, int(half) + int(below[0]), share) or half


def _between(smooth: Float[ndarray, " point"], last: int, value: float) -> float | None:
    """The place between point `last` and the next at which a straight line has the value."""
    if not 0 <= last < len(smooth) - 1:
        return None
    high, low = float(smooth[last]), float(smooth[last + 1])
    if high <= low:
        return float(last)
    return last + min(max((high - value) / (high - low), 0.0), 1.0)


def _plateau_start(
    series: Float[ndarray, " point"],
    onset: int,
    level: float,
    height: float,
    noise: float,
) -> int:
    """How far back from the onset the series keeps its level."""
    block = int(min(max(SHORTEST, noise_points_of(noise, height)), max(1, onset // 2)))
    near = EVEN * height + 2 * MEDIAN * noise / np.sqrt(block)
    begin = onset
    while begin > 0:
        piece = series[max(0, begin - block) : begin]
        if abs(float(np.median(piece)) - level) > near:
            break
        begin = max(0, begin - block)
    return begin


def noise_points_of(noise: float, height: float) -> float:
    """How many points a median needs for an error of a tenth of the height."""
    return (10 * MEDIAN * noise / height) ** 2
