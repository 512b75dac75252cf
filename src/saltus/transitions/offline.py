"""Finding leaps in a finished series: a plateau, then a fall that is out of proportion to it.

A leap is judged against its own plateau, so no scale has to be given. In words:

1. *Proportion.* Before the leap lies a stretch at least as long as the leap itself on which the
   series falls, at its pace, by less than a quarter of the leap's own pace. A ramp has equal paces;
   an exponential or a power-law decay has the greater one before.
2. *Significance.* The fall stands out of the noise, and of what the stretch's own trend predicts.
   Standard errors come from block medians at the same scale, so that slow (autocorrelated) noise
   counts for what it is, and from the local spread, so that noise may grow or shrink.
3. *Evidence*, once its shape is known (`evidence.py`): a leap explains the series around it better
   than a trend that bends, and both its levels last. Spikes recover.
4. *Size.* At least `SMALLEST` of the range that the series covers.

Stretches are counted in points: for moments spaced evenly in log time, long is long in log time.
Robust throughout: levels are medians, spreads median absolute deviations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Real
from numpy import ndarray

from saltus.errors import SaltusError
from saltus.transitions.evidence import CONTRAST, accepted
from saltus.transitions.noise import block_medians, block_spread, spread
from saltus.transitions.refine import Shape, joined, settled, shape_of
from saltus.transitions.transition import Direction, Plateau, Transition

FEWEST = 12  # points of a series in which a leap can be told from noise
SIGNIFICANCE = 5.0  # standard errors of a fall; some thousand places and scales are tried
BEYOND = 3.5  # standard errors by which a fall exceeds what the trend before it predicts
SMALLEST = 0.04  # of the range of the series
BLOCKS = 4  # into which the stretch before a leap is divided
GAPS = (0.0, 0.5, 1.0)  # lengths of a leap that are tried, in stretches before it
NEAR = 3  # points around a change of the learning rate that a leap may be due to it


def find(
    steps: Real[ndarray, " point"],
    values: Real[ndarray, " value"],
    direction: Direction = "down",
    changes: Sequence[float] = (),
) -> tuple[Transition, ...]:
    """All leaps of a series in order; where there is none, one censored transition.

    `steps` rise; points that are not finite are left out. `direction` "up" finds rises. `changes`
    are steps at which something known happened to the training (the learning rate was cut): what
    falls there and then is no leap. Raises SaltusError for steps that do not rise, and lengths or
    directions that do not fit.
    """
    at, series = checked(steps, values, direction)
    if not len(at):
        return (Transition(None, float(steps[0]) if len(steps) else 0.0),)  # nothing was seen
    shapes = [shape for shape in leaps(series) if not _explained(at, shape, changes)]
    found = [_transition(at, series, shape, direction) for shape in shapes]
    return tuple(found) or (_censored(at, series, direction),)


def checked(
    steps: Real[ndarray, " point"], values: Real[ndarray, " value"], direction: str
) -> tuple[Float[ndarray, " finite"], Float[ndarray, " finite"]]:
    """The finite points, turned so that leaps fall."""
    if len(steps) != len(values):
        raise SaltusError(f"transitions: {len(steps)} steps do not fit {len(values)} values")
    if direction not in ("down", "up"):
        raise SaltusError(f"direction: '{direction}' is not allowed: down or up")
    at, series = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if not (np.isfinite(at).all() and (np.diff(at) > 0).all()):
        raise SaltusError("steps: they must be finite and rise")
    finite = np.isfinite(series)
    return at[finite], series[finite] if direction == "down" else -series[finite]


@dataclass(frozen=True)
class Scale:
    """One way of looking: stretches of `length` points before, `gap` points for the leap itself."""

    length: int
    block: int
    gap: int

    @property
    def span(self) -> float:
        """Points from the middle of the stretch before to the middle of the one after."""
        return self.length / 2 + self.gap + self.block


def scales(points: int) -> Iterator[Scale]:
    """From the shortest stretch to half of the series."""
    block = 1
    while BLOCKS * block <= points // 2:
        for gap in sorted({round(share * BLOCKS * block) for share in GAPS}):
            yield Scale(BLOCKS * block, block, gap)
        block = max(block + 1, round(block * 1.5))


def leaps(series: Float[ndarray, " point"]) -> list[Shape]:
    """The falls that are leaps, in order.

    Short stretches are tried first, so that of two leaps in a row each is found on its own; what
    is found divides the series, and its parts are searched in the same way.
    """
    low, high = np.quantile(series, (0.02, 0.98))
    least = SMALLEST * float(high - low)
    found: list[Shape] = []
    parts = [(0, len(series))]
    while parts:
        start, stop = parts.pop()
        shape = one_leap(series, start, stop, least)
        if shape is not None:
            found.append(shape)
            parts += [(start, int(shape.onset)), (max(shape.flat, int(shape.late)), stop)]
    whole = merged(sorted(found, key=lambda shape: shape.onset))
    stops = [*(int(shape.onset - shape.width / 2) for shape in whole[1:]), len(series)]
    return [settled(series, shape, stop) for shape, stop in zip(whole, stops, strict=False)]


def merged(found: Sequence[Shape]) -> list[Shape]:
    """Falls with less than a leap's own width of rest between them are one leap."""
    whole: list[Shape] = []
    for shape in found:
        while whole and shape.onset - whole[-1].late < max(whole[-1].width, shape.width):
            shape = joined(whole.pop(), shape)
        whole.append(shape)
    return whole


def one_leap(series: Float[ndarray, " point"], start: int, stop: int, least: float) -> Shape | None:
    """A leap between two places whose plateau lies there too; the sharpest that there is."""
    part = series[start:stop]
    for scale in scales(len(part)):
        tried = -1
        for place in np.flatnonzero(candidates(part, scale, least)).tolist():
            if place < tried:
                continue  # inside a fall that has just been judged
            first = place + scale.gap + scale.block
            shape = shape_of(part, place, scale.length, first)
            if shape is None:
                continue
            shape = shape.moved(start)
            if shape.height >= least and accepted(series, shape):
                return shape
            tried = int(shape.half) - start
    return None


def candidates(
    series: Float[ndarray, " point"], scale: Scale, least: float
) -> Bool[ndarray, " place"]:
    """Where a stretch may end and a leap begin: proportion and significance at one scale."""
    block, length, gap = scale.block, scale.length, scale.gap
    count = len(series) - length - gap - 2 * block + 1  # places that have all they need
    if count <= 0:
        return np.zeros(len(series), dtype=bool)
    medians = block_medians(series, block)
    before = np.stack([medians[i * block : i * block + count] for i in range(BLOCKS)])
    later = length + gap
    after = np.stack([medians[later + i * block : later + i * block + count] for i in range(2)])
    error = block_spread(series, medians, block)[: count + length].copy()
    error = np.maximum(error[:count], error[length : length + count])
    level = before.mean(0)
    fall = level - after.max(0)
    rank = np.arange(BLOCKS) - (BLOCKS - 1) / 2
    slope = -(rank @ before) / (rank @ rank) / block  # fall per point, on the stretch before
    trend = np.maximum(slope, 0.0)
    # The middle of the four blocks is known to error / 2, that of the two after to error / sqrt 2,
    # and what the trend adds between them to error * span / (block sqrt 5).
    proportion = fall >= CONTRAST * trend * (gap + 2 * block)
    significant = fall >= SIGNIFICANCE * error * np.sqrt(0.25 + 0.5)
    beyond = fall - trend * scale.span >= BEYOND * error * scale.span / (block * np.sqrt(5))
    passed = np.zeros(len(series), dtype=bool)
    passed[length : length + count] = proportion & significant & beyond & (fall >= least)
    return passed


def _explained(at: Float[ndarray, " point"], shape: Shape, changes: Sequence[float]) -> bool:
    """Whether the fall begins where something known happened."""
    places = np.interp(np.asarray(changes, dtype=np.float64), at, np.arange(len(at)))
    return bool(
        ((places >= shape.onset - max(NEAR, shape.width)) & (places <= shape.half + 1)).any()
    )


def _transition(
    at: Float[ndarray, " point"],
    series: Float[ndarray, " point"],
    shape: Shape,
    direction: Direction,
) -> Transition:
    sign, index = (1.0 if direction == "down" else -1.0), np.arange(len(at))
    onset, step, late = np.interp([shape.onset, shape.half, shape.late], index, at).tolist()
    plateau = Plateau(sign * shape.level, float(at[shape.start]), onset)
    end = float(at[shape.flat]) if shape.complete else None
    return Transition(plateau, float(at[-1]), onset, step, late, end, sign * shape.after)


def _censored(
    at: Float[ndarray, " point"], series: Float[ndarray, " point"], direction: Direction
) -> Transition:
    """The stretch at the end that keeps its level, if there is one of a quarter of the series."""
    budget, sign = float(at[-1]), (1.0 if direction == "down" else -1.0)
    if len(series) < FEWEST:
        return Transition(None, budget)
    level = float(np.median(series[-max(FEWEST // 2, len(series) // 4) :]))
    noise = spread(series[-len(series) // 2 :])
    low, high = np.quantile(series, (0.02, 0.98))
    near = np.abs(block_medians(series, 3) - level) <= max(3 * noise, 0.05 * float(high - low))
    away = np.flatnonzero(~near)
    start = int(away[-1]) + 1 if len(away) else 0
    if len(series) - start < len(series) // 4:
        return Transition(None, budget)
    return Transition(Plateau(sign * level, float(at[min(start, len(at) - 1)]), budget), budget)
