"""A series across the leap of its own seed: one clock on which every seed leaps at 1.

Seeds leap at different steps, so their average over steps shows a slow slope where each of them
jumps. Divided by the seed's own leap, steps become a clock on which they can be averaged. This is
an analysis of ours: no paper of the four has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Real
from numpy import ndarray

from saltus.transitions.transition import Transition


def on_leap_clock(
    steps: Real[ndarray, " point"],
    values: Float[ndarray, "seed point"],
    leaps: Sequence[Transition],
    grid: Float[ndarray, " place"],
) -> Float[ndarray, "seed place"]:
    """Each seed's values at `grid` times the step of its leap, linear between readings.

    NaN beyond its last reading, and everywhere for a seed that did not leap.
    """
    found = np.full((len(values), len(grid)), np.nan)
    for row, (series, leap) in enumerate(zip(values, leaps, strict=True)):
        if leap.step is not None:
            found[row] = np.interp(grid * leap.step, steps, series, right=np.nan)
    return found


def speed_up(
    steps: Real[ndarray, " point"],
    values: Float[ndarray, "seed point"],
    leaps: Sequence[Transition],
) -> Float[ndarray, " seed"]:
    """How much faster a series moves during the leap than on the plateau before it.

    The mean change per step from the leap's onset to its end, over the mean change per step in the
    second half of what came before the onset. 1: the leap does not show. NaN for a seed without a
    leap, or that does not move before it.
    """
    found = np.full(len(values), np.nan)
    for row, (series, leap) in enumerate(zip(values, leaps, strict=True)):
        if leap.onset is None or leap.late is None:
            continue
        # Between 10 % and 90 %; no shorter than the readings can tell apart.
        end = max(leap.late, leap.onset + _spacing(steps))
        at = np.interp([leap.onset / 2, leap.onset, end], steps, series, right=np.nan)
        before = (at[1] - at[0]) / (leap.onset / 2) if leap.onset else 0.0
        during = (at[2] - at[1]) / (end - leap.onset)
        found[row] = during / before if before else np.nan
    return found


def half_way(
    steps: Real[ndarray, " point"],
    values: Float[ndarray, "seed point"],
    leaps: Sequence[Transition],
) -> Float[ndarray, " seed"]:
    """When a series has made half of its way from its first reading to its last, over the leap's
    step: below 1 before the leap, above 1 after it.

    The first time, between readings by linear interpolation. NaN for a seed that did not leap, or
    whose series ends where it began.
    """
    found = np.full(len(values), np.nan)
    for row, (series, leap) in enumerate(zip(values, leaps, strict=True)):
        way = series[-1] - series[0]
        if leap.step is None or not leap.step or not np.isfinite(way) or way == 0:
            continue
        done = (series - series[0]) / way
        after = int(np.argmax(done >= 0.5))
        low, high = done[after - 1], done[after]
        part = (0.5 - low) / (high - low)
        found[row] = (steps[after - 1] + part * (steps[after] - steps[after - 1])) / leap.step
    return found


def _spacing(steps: Real[ndarray, " point"]) -> float:
    return float(np.median(np.diff(steps))) if len(steps) > 1 else 0.0
