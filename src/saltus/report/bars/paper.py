"""Bars for papers and slides, drawn by matplotlib."""

from __future__ import annotations

from math import ceil, isfinite
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from saltus.report import style
from saltus.report.axes import Axis
from saltus.report.bars.page import THICK, height_of, line_of
from saltus.report.bars.record import BarPanel, Bars, BarSeries

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

ABREAST, WIDTH, ALONE = 3, 2.8, 4.2  # panels side by side, and their width in inches
ROW, LINE = 0.28, 0.15  # inches of a name at least, and of each series in it
TICKS = 4


def draw_bars(figure: Bars) -> Drawing:
    """Panels side by side, names from top to bottom."""
    from matplotlib.figure import Figure as Drawing

    columns = min(ABREAST, len(figure.panels))
    rows = ceil(len(figure.panels) / columns)
    high = max(
        len(panel.categories) * max(ROW, LINE * len(panel.series) + 0.1) for panel in figure.panels
    )
    size = ((ALONE if columns == 1 else WIDTH) * columns, (max(high, 0.6) + 0.6) * rows + 0.5)
    drawing = Drawing(figsize=size, layout="constrained")
    grid = drawing.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel, x in zip(grid, figure.panels, figure.axes, strict=False):
        draw_panel(axes, panel, x)
    for axes in grid[len(figure.panels) :]:
        axes.set_axis_off()
    if any(len(panel.series) > 1 for panel in figure.panels):
        handles = [
            grid[0].plot([], [], "o", markersize=4, color=style.color(color), label=label)[0]
            for label, color in figure.legend.items()
        ]
        made = drawing.legend(handles=handles, loc="outside upper left", ncols=min(4, len(handles)))
        for text in made.get_texts():
            text.set_parse_math(False)
    drawing.supxlabel(
        fill(figure.caption, round(17.7 * size[0])), x=0.01, ha="left", fontsize=6.5,
        color=style.SOFT, parse_math=False,
    )  # fmt: skip
    return drawing


def draw_panel(axes: Axes, panel: BarPanel, x: Axis) -> None:
    """Names, bars, intervals, means, seeds and levels on the page's axis."""
    axes.set_title(panel.title, loc="left", parse_math=False)
    axes.set_xlabel(panel.unit, parse_math=False)
    axes.set_xscale("log" if x.log else "linear")
    axes.set_xlim(x.low, x.high)
    axes.set_ylim(1, 0)
    axes.set_xticks([v for v, _ in x.labels(TICKS)], [text for _, text in x.labels(TICKS)])
    middles = [(n + 0.5) / len(panel.categories) for n in range(len(panel.categories))]
    axes.set_yticks(middles, panel.categories)
    for text in axes.get_yticklabels():
        text.set_parse_math(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(which="minor", labelbottom=False)
    for level in panel.levels:
        axes.axvline(level.value, color=style.SOFT, linewidth=0.7, linestyle=(0, (4, 3)))
        axes.annotate(
            level.label, (level.value, 1.0), (2, -1), xycoords=("data", "axes fraction"),
            textcoords="offset points", fontsize=6, color=style.SOFT, va="top", parse_math=False,
        )  # fmt: skip
    for place, series in enumerate(panel.series):
        draw_series(axes, panel, series, place, x)


def draw_series(axes: Axes, panel: BarPanel, series: BarSeries, place: int, x: Axis) -> None:
    """One series in every name."""
    color, thick = style.color(series.color), THICK * line_of(panel)
    for category, mean in enumerate(series.means):
        if not isfinite(mean.estimate):
            continue
        y, own = height_of(panel, category, place), series.each[category]
        if panel.filled:
            axes.barh(y, mean.estimate, height=thick, color=color, alpha=0.22, linewidth=0)
        if len(own) > 1:
            ends = np.clip([mean.low, mean.high], x.low, x.high)
            axes.plot(ends, [y, y], color=color, linewidth=1.1)
            axes.plot(own, np.full(len(own), y), "o", color=color, markersize=1.6, alpha=0.4,
                      markeredgewidth=0)  # fmt: skip
        axes.plot([mean.estimate], [y], "o", color=color, markersize=4, markeredgewidth=0)
