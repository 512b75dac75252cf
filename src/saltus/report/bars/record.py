"""Bars as data: means over seeds with their intervals, over names instead of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from saltus.report.axes import Axis, padded_log
from saltus.report.figure import Level
from saltus.report.text import count, listed, percent
from saltus.transitions.statistics.intervals import Interval, mean_interval

REACH = 1.0  # intervals may reach so many times beyond what values cover; longer ones are cut
AIR = 0.04
LEAST = 1e-290  # on a logarithmic axis: below, quotients are not finite

Seeds = Sequence[float] | Float[ndarray, " seed"]


@dataclass(frozen=True)
class BarSeries:
    """One number per category: its mean over seeds with an interval, and each seed's own."""

    label: str
    color: int
    means: tuple[Interval, ...]
    each: tuple[Float[ndarray, " _"], ...]

    @property
    def seeds(self) -> int:
        """The most that a category has."""
        return max((len(values) for values in self.each), default=0)


@dataclass(frozen=True)
class BarPanel:
    """Categories from top to bottom; several series stand below each other in every one."""

    title: str
    unit: str
    categories: tuple[str, ...]
    series: tuple[BarSeries, ...]
    log: bool = False
    zero: bool = True  # the axis begins at 0, and bars do; without it there are dots alone
    levels: tuple[Level, ...] = ()

    @property
    def filled(self) -> bool:
        """Whether lengths mean something: there are bars, and not dots alone."""
        return self.zero and not self.log


@dataclass(frozen=True)
class Bars:
    """Panels with one caption. `shared`: one axis for all of them."""

    title: str
    panels: tuple[BarPanel, ...]
    caption: str
    shared: bool = False

    @property
    def legend(self) -> dict[str, int]:
        """Label → colour of every series that is not alone in its panel, in their order."""
        several = [panel for panel in self.panels if len(panel.series) > 1]
        return {each.label: each.color for panel in several for each in panel.series}

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axis of every panel."""
        if self.shared:
            return (bar_axis(self.panels),) * len(self.panels)
        return tuple(bar_axis([panel]) for panel in self.panels)


def bar_panel(
    title: str,
    values: Mapping[str, Seeds] | Mapping[str, Mapping[str, Seeds]],
    unit: str = "",
    *,
    log: bool = False,
    zero: bool = True,
    levels: Sequence[tuple[str, float]] = (),
) -> BarPanel:
    """{category: value of every seed}, or {series: {category: value of every seed}}.

    Values that are not finite are left out. A category that a series lacks stays empty in it.
    """
    nested = any(isinstance(each, Mapping) for each in values.values())
    given = cast("Mapping[str, Mapping[str, Seeds]]", values if nested else {title: values})
    categories = tuple(dict.fromkeys(name for series in given.values() for name in series))
    series = []
    for color, (label, own) in enumerate(given.items()):
        each = tuple(_finite(own.get(name, ())) for name in categories)
        series.append(BarSeries(label, color, tuple(map(mean_interval, each)), each))
    lines = tuple(Level(label, float(value)) for label, value in levels)
    return BarPanel(title, unit, categories, tuple(series), log, zero, lines)


def bars(title: str, panels: Sequence[BarPanel], *notes: str, shared: bool = False) -> Bars:
    """Panels under one title, with the caption that they need, and the notes after it."""
    return Bars(title, tuple(panels), " ".join([caption(panels), *notes]), shared)


def caption(panels: Sequence[BarPanel]) -> str:
    """How many seeds, and what the dots, lines and bars are."""
    amounts = {len(own) for panel in panels for series in panel.series for own in series.each}
    known = sorted(amounts - {0})
    if not known:
        return "No values."
    if known == [1]:
        return "1 seed: single values, without an interval."
    if len(known) == 1:
        who = count(known[0], "seed")
    else:
        series = {each.label: each.seeds for panel in panels for each in panel.series}
        who = listed([f"{label}: {count(amount, 'seed')}" for label, amount in series.items()])
    shape = "Bar and dot" if any(panel.filled for panel in panels) else "Dot"
    text = (
        f"{who}. {shape}: mean over seeds. Line: its {percent(0.95)} t-interval. Small dots: "
        "single seeds."
    )
    if any(level for panel in panels for level in panel.levels):
        text += " Dashed: to compare with."
    return text


def bar_axis(panels: Sequence[BarPanel]) -> Axis:
    """From 0, or from the smallest, to the largest value or end of an interval."""
    series = [each for panel in panels for each in panel.series]
    log = all(panel.log for panel in panels)
    values = [v for each in series for own in each.each for v in own.tolist()]
    values += [level.value for panel in panels for level in panel.levels]
    values = [v for v in values if v > LEAST or not log]
    if not values:
        return Axis(1.0, 10.0, log=True) if log else Axis(0.0, 1.0)
    ends = [end for each in series for mean in each.means for end in (mean.low, mean.high)]
    ends = [end for end in ends if np.isfinite(end) and (end > LEAST or not log)]
    low, high = min(values), max(values)
    if log:
        ratio = max(high / low, 1.5)
        low = min([low, *(end for end in ends if end >= low / ratio**REACH)])
        high = max([high, *(end for end in ends if end <= high * ratio**REACH)])
        return padded_log(low, high)
    if any(panel.filled for panel in panels):
        low, high = min(low, 0.0), max(high, 0.0)
    reach = REACH * (high - low if high > low else abs(high) or 1.0)
    low = max(min([low, *ends]), low - reach)
    high = min(max([high, *ends]), high + reach)
    air = AIR * (high - low) if high > low else 0.5 * (abs(high) or 1.0)
    filled = any(panel.filled for panel in panels)
    return Axis(low - (0.0 if filled and low == 0 else air), high + air)


def _finite(values: Seeds) -> Float[ndarray, " _"]:
    array = np.asarray(values, dtype=np.float64)
    return array[np.isfinite(array)]
