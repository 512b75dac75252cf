"""Ranges, ticks and labels of a panel's axes: one answer for the page and for publication files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

import numpy as np

from saltus.report.figure import Level, Panel
from saltus.report.text import number

# A band may reach this many times beyond what medians and quartiles cover; what lies further out
# (a member on its way to infinity) leaves the frame, or it would flatten all the others.
REACH = 3.0
NAMED_MARKS = 2  # marks of a panel that get their name written above the curves


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
            stride = max(1, ceil(len(decades) / most))
            found = [10.0**power for power in decades if power % stride == 0]
            if len(found) >= 2:
                return found
        return _round_numbers(self.low, self.high, most)


def step_axis(panels: Sequence[Panel]) -> Axis:
    """Training steps, from the first to the last of any curve."""
    ends = [c.fan.x[i] for p in panels for c in p.curves if len(c.fan.x) for i in (0, -1)]
    low, high = (float(min(ends)), float(max(ends))) if ends else (0.0, 1.0)
    return Axis(low, high if high > low else low + 1.0)


def value_axis(panels: Sequence[Panel]) -> Axis:
    """The values of one or more panels that share an axis, with a little air."""
    log = all(panel.log for panel in panels)
    core = [v for p in panels for c in p.curves for v in (c.fan.quarter, c.fan.three_quarters)]
    ends = [v for p in panels for c in p.curves for v in (c.fan.low, c.fan.high)]
    levels = [level.value for panel in panels for level in panel.levels]
    inner = _finite([*core, levels], log)
    if not len(inner):
        return Axis(0.0, 1.0)
    low, high = float(inner.min()), float(inner.max())
    reach = REACH * (high - low if high > low else abs(high) or 1.0)
    outer = _finite(ends, log)
    if log:
        return _padded_log(float(outer.min(initial=low)), float(outer.max(initial=high)))
    low = min(low, max(float(outer.min(initial=low)), low - reach))
    high = max(high, min(float(outer.max(initial=high)), high + reach))
    air = 0.05 * (high - low) if high > low else 0.5 * (abs(high) or 1.0)
    named = max(len(panel.marks) for panel in panels)
    above = 0.13 * (high - low) * named if named <= NAMED_MARKS else 0.0
    return Axis(low - air, high + air + above)


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


def tick_label(value: float) -> str:
    """0.25, 1500, 2e-05, 50k: short, with a real minus sign."""
    if value and abs(value) >= 10_000 and value == int(value) and value % 1000 == 0:
        text = (
            f"{value / 1e6:g}M"
            if value % 100_000 == 0 and abs(value) >= 1e6
            else f"{value / 1000:g}k"
        )
    else:
        text = f"{value:.6g}"
    return text.replace("-", "−")


def _padded_log(low: float, high: float) -> Axis:
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
