"""Ranges, ticks and labels of a panel's axes: one answer for the page and for publication files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, floor, isfinite, log10

import numpy as np

from saltus.report.figure import Level, Mark, Panel, Stairs
from saltus.report.text import number, power_of_ten

CROWDED = 0.25  # of the width: what the name of a mark may take
ROOM = 0.17  # of the height, above the curves, for each name of a mark
# A band may reach this many times beyond what medians and quartiles cover; what lies further out
# (a member on its way to infinity) leaves the frame, or it would flatten all the others.
REACH = 3.0
BEFORE = 2.0  # times before the first event that a logarithmic axis of stairs begins
NAMED_MARKS = 3  # marks of a panel that get their name written above the curves
RISK_ROWS = 6  # of seeds at risk below a panel; with more stairs the readout alone has them


@dataclass(frozen=True)
class Axis:
    """A range and the way to 0 … 1 along it."""

    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """The fraction of the axis at which a value lies: 0 at `low`, 1 at `high`."""
        return float(self.places(np.array([value]))[0])

    def places(self, values: np.ndarray) -> np.ndarray:
        """The same for many; nan stays nan, and what a logarithm cannot show lies below."""
        given = np.asarray(values, dtype=np.float64)
        if not self.log:
            return (given - self.low) / (self.high - self.low)
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = (np.log10(given) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return np.where(given > 0, shares, np.where(np.isnan(given), np.nan, -1.0))

    def ticks(self, most: int = 5) -> list[float]:
        """Round numbers inside the range, at most `most` + 1 of them."""
        if self.log:
            decades = range(ceil(log10(self.low) - 1e-9), floor(log10(self.high) + 1e-9) + 1)
            stride = max(1, ceil(len(decades) / (most + 1)))
            found = [10.0**power for power in decades if power % stride == 0]
            fine = self._thirds()
            if len(found) < 3 and len(found) < len(fine) <= most + 1:
                return fine
            if len(found) >= 2:
                return found
        return _round_numbers(self.low, self.high, most)

    def labels(self, most: int = 5) -> list[tuple[float, str]]:
        """The ticks with their texts: on a wide logarithmic axis all of them as powers of ten."""
        ticks = self.ticks(most)
        powers = [log10(tick) for tick in ticks] if self.log else []
        whole = all(abs(power - round(power)) < 1e-9 for power in powers)
        if powers and whole and max(map(abs, powers)) > 3:
            return [
                (tick, power_of_ten(round(power)))
                for tick, power in zip(ticks, powers, strict=True)
            ]
        return [(tick, tick_label(tick)) for tick in ticks]

    def _thirds(self) -> list[float]:
        """1, 2, 5, 10, 20, … inside a logarithmic range: about three to a decade."""
        powers = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
        each = [digit * 10.0**power for power, digit in product(powers, (1, 2, 5))]
        return [v for v in each if self.low * (1 - 1e-9) <= v <= self.high * (1 + 1e-9)]


SHARES = Axis(-0.03, 1.05)  # of seeds: the lines at 0 and 1 are seen whole


def x_axes(panels: Sequence[Panel]) -> list[Axis]:
    """The x axis of every panel; panels over the same quantity share one."""
    alike: dict[tuple[str, bool], list[Panel]] = {}
    for panel in panels:
        alike.setdefault((panel.x_label, panel.x_log), []).append(panel)
    shared = {key: x_axis(group) for key, group in alike.items()}
    return [shared[panel.x_label, panel.x_log] for panel in panels]


def x_axis(panels: Sequence[Panel]) -> Axis:
    """From the first to the last point of any curve; with a little air where points are dots."""
    curves = [curve for panel in panels for curve in panel.curves]
    stairs = [each for panel in panels for each in panel.stairs]
    ends = [curve.fan.x[end] for curve in curves if len(curve.fan.x) for end in (0, -1)]
    log = any(panel.x_log for panel in panels)
    if stairs:
        ends += [each.end for each in stairs]
        ends += [_before(stairs)] if log else [0.0]
        ends = [end for end in ends if end > 0 or not log]
    low, high = (float(min(ends)), float(max(ends))) if ends else (0.0, 1.0)
    if log:
        low, high = (low, high) if ends else (1.0, 10.0)
        if any(curve.dots for curve in curves) or low == high:
            return padded_log(low, high)
        return Axis(low, high * (high / low) ** 0.015 if stairs else high, log=True)
    air = 0.04 * (high - low) if any(curve.dots for curve in curves) else 0.0
    right = max(air, 0.015 * (high - low)) if stairs else air  # the last step is seen whole
    return Axis(low - air, high + right if high > low else low + 1.0)


def value_axis(panels: Sequence[Panel]) -> Axis:
    """The values of one or more panels that share an axis, with a little air."""
    if all(panel.stairs for panel in panels):
        return SHARES
    log = all(panel.log for panel in panels)
    core = [v for p in panels for c in p.curves for v in (c.fan.quarter, c.fan.three_quarters)]
    ends = [v for p in panels for c in p.curves for v in (c.fan.low, c.fan.high)]
    ends += [reference.y for panel in panels for reference in panel.references]
    levels = [level.value for panel in panels for level in panel.levels]
    inner = _finite([*core, levels], log)
    if not len(inner):
        return Axis(0.0, 1.0)
    low, high = float(inner.min()), float(inner.max())
    reach = REACH * (high - low if high > low else abs(high) or 1.0)
    outer = _finite(ends, log)
    named = max(len(panel.marks) for panel in panels)
    room = ROOM * named if named <= NAMED_MARKS else 0.0
    if log:
        low, high = float(outer.min(initial=low)), float(outer.max(initial=high))
        axis = padded_log(low, high)
        return Axis(axis.low, axis.high * (high / low) ** room, log=True)
    low = min(low, max(float(outer.min(initial=low)), low - reach))
    high = max(high, min(float(outer.max(initial=high)), high + reach))
    air = 0.05 * (high - low) if high > low else 0.5 * (abs(high) or 1.0)
    return Axis(low - air, high + air + room * (high - low))


def leaves_frame(panel: Panel, axis: Axis) -> bool:
    """Whether some seed of a panel lies outside its axis."""
    ends = _finite([v for c in panel.curves for v in (c.fan.low, c.fan.high)], panel.log)
    return bool(((ends < axis.low) | (ends > axis.high)).any())


def place_levels(levels: Sequence[Level], axis: Axis, gap: float) -> list[tuple[str, float]]:
    """Labels and the fractions from the top at which they stand, `gap` apart at least."""
    wanted = sorted(((1 - axis.place(v.value), v) for v in levels), key=lambda pair: pair[0])
    placed, last = [], -1.0
    for top, level in wanted:
        last = max(top, last + gap)
        placed.append((f"{level.label} {number(level.value)}", last))
    excess = max(0.0, last - 1.0)
    return [(text, top - excess) for text, top in placed]


def marks_flipped(marks: Sequence[Mark], axis: Axis) -> list[bool]:
    """Whether each mark's name stands left of its line: at the right end, or before another mark.

    A mark without a median has no line.
    """
    places = [2.0 if mark.median is None else axis.place(mark.median) for mark in marks]
    flipped = []
    for place in places:
        crowded = any(0 < other - place < CROWDED for other in places)
        flipped.append(place > 0.6 or (crowded and place > CROWDED))
    return flipped


def tick_label(value: float) -> str:
    """0.25, 1500, 2·10⁻⁵, 50k: short, with a real minus sign."""
    if value and abs(value) >= 10_000 and value == int(value) and value % 1000 == 0:
        millions = value % 100_000 == 0 and abs(value) >= 1e6
        text = f"{value / 1e6:g}M" if millions else f"{value / 1000:g}k"
        return text.replace("-", "−")
    return number(value, 6)


def _before(stairs: Sequence[Stairs]) -> float:
    """Where a logarithmic axis begins, on which the start at 0 has no place."""
    times = np.concatenate([each.times for each in stairs])
    return float(min(times[times > 0], default=1.0)) / BEFORE


def padded_log(low: float, high: float) -> Axis:
    """A logarithmic axis with a little air at both ends."""
    ratio = (high / low) ** 0.04 if high > low else 2.0
    return Axis(low / ratio, high * ratio, log=True)


def _finite(parts: Sequence[np.ndarray | list[float]], positive: bool) -> np.ndarray:
    every = np.concatenate([np.asarray(part, dtype=np.float64) for part in parts] or [np.empty(0)])
    every = every[np.isfinite(every)]
    return every[every > 0] if positive else every


def _round_numbers(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / max(most, 1)
    if not isfinite(rough) or rough <= 0:
        return []
    unit = 10.0 ** floor(log10(rough))
    step = next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit >= rough * 0.999)
    first = ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, floor(high / step + 1e-9) + 1)]
