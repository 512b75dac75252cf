"""Figures for papers and slides: the same records as the page's, drawn by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from saltus.errors import SaltusError
from saltus.report import style
from saltus.report.axes import (
    NAMED_MARKS,
    RISK_ROWS,
    Axis,
    marks_flipped,
    place_levels,
    value_axis,
    x_axes,
)
from saltus.report.bars.paper import draw_bars
from saltus.report.bars.record import Bars
from saltus.report.figure import Curve, Figure, Mark, Panel, Stairs, reference_colors
from saltus.report.films.paper import draw_strip
from saltus.report.films.strip import Strip
from saltus.report.heat_maps.paper import draw_heat_maps
from saltus.report.heat_maps.record import HeatMaps
from saltus.report.save import save
from saltus.report.scatters.paper import draw_scatters
from saltus.report.scatters.record import Scatters
from saltus.report.tables.paper import draw_table
from saltus.report.tables.record import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

SUFFIXES = (".svg", ".pdf", ".png")
SOFT = style.SOFT
SETTINGS: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "saltus",
    "pdf.fonttype": 42,
    "legend.frameon": False,
}
COLUMNS, WIDTH, HEIGHT = 3, 2.6, 2.0  # panels side by side, and their size in inches
ALONE = 3.4  # the width of a single panel
PER_INCH = 13  # characters of a legend
LINE = 0.125  # inches of a line of small print
TITLE, LEGEND = 34, 51  # characters that fit above a panel, as title and as legend
TICKS = 4  # wanted along x
LABEL_GAP = 0.07  # of a panel's height, between the labels of two levels


OnPaper = Figure | HeatMaps | Scatters | Bars | Strip | Table  # a film is cut into strips before


def render(figure: OnPaper, suffix: str) -> bytes:
    """The figure as a file of that kind. Raises SaltusError for another suffix."""
    if suffix not in SUFFIXES:
        raise SaltusError(f"figure: suffix '{suffix}' is not allowed: {', '.join(SUFFIXES)}")
    from matplotlib import rc_context

    with rc_context(SETTINGS):
        drawing = draw_any(figure)
        file = io.BytesIO()
        undated: dict[str, Any] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
        drawing.savefig(
            file, format=suffix[1:], dpi=300, bbox_inches="tight", metadata=undated.get(suffix, {})
        )
    return file.getvalue()


def draw_any(figure: OnPaper) -> Drawing:
    """Any kind as a matplotlib figure."""
    match figure:
        case HeatMaps():
            return draw_heat_maps(figure)
        case Scatters():
            return draw_scatters(figure)
        case Bars():
            return draw_bars(figure)
        case Strip():
            return draw_strip(figure)
        case Table():
            return draw_table(figure)
        case Figure():
            return draw(figure)


def draw(figure: Figure) -> Drawing:
    """The figure as a matplotlib figure, without pyplot's global state."""
    from matplotlib.figure import Figure as Drawing

    columns = 2 if len(figure.panels) == 4 else min(COLUMNS, len(figure.panels))
    rows = ceil(len(figure.panels) / columns)
    width = {1: ALONE}.get(columns, WIDTH)
    text = fill(figure.caption, round(17.7 * width * columns))
    below = max((len(panel.stairs) for panel in figure.panels), default=0)
    more = LINE * max(0, text.count("\n") - 2)
    more += rows * LINE * (below + 2) if 0 < below <= RISK_ROWS else 0.0
    abreast = _columns(list(figure.legend), round(PER_INCH * width * columns))
    more += LINE * ceil(len(figure.legend) / abreast)
    size = (width * columns, HEIGHT * rows + 0.5 + more)
    drawing = Drawing(figsize=size, layout="constrained")
    grid = drawing.subplots(rows, columns, squeeze=False).ravel()
    shared = value_axis(figure.panels) if figure.shared else None
    across = x_axes(figure.panels)
    for axes, panel, x in zip(grid, figure.panels, across, strict=False):
        draw_panel(axes, panel, x, shared or value_axis([panel]), legend=not figure.one_legend)
    for axes in grid[len(figure.panels) :]:
        axes.set_axis_off()
    lines, labels = _legend(grid[: len(figure.panels)])
    if figure.one_legend and len(labels) > 1:
        legend = drawing.legend(
            lines,
            labels,
            loc="outside upper left",
            ncols=_columns(labels, round(PER_INCH * size[0])),
        )
        _plain(legend)
    drawing.supxlabel(
        text, x=0.01, ha="left", fontsize=6.5,
        color=SOFT, parse_math=False,
    )  # fmt: skip
    return drawing


def draw_panel(axes: Axes, panel: Panel, x: Axis, y: Axis, legend: bool = False) -> None:
    """Curves, closed forms and marks of one panel on the page's axes."""
    axes.set_xlabel(panel.x_label, parse_math=False)
    axes.set_ylabel(panel.unit, parse_math=False)
    # What a logarithm cannot show is left out along x, and lies below along y.
    axes.set_xscale("log", nonpositive="mask") if x.log else axes.set_xscale("linear")
    axes.set_yscale("log" if y.log else "linear")
    axes.set_xlim(x.low, x.high)
    axes.set_ylim(y.low, y.high)
    axes.set_xticks([v for v, _ in x.labels(TICKS)], [text for _, text in x.labels(TICKS)])
    axes.set_yticks([v for v, _ in y.labels()], [text for _, text in y.labels()])
    axes.tick_params(which="minor", labelbottom=False, labelleft=False)
    for each in panel.marks:
        if each.span:
            low, high = np.clip(each.span, x.low, x.high)
            axes.axvspan(low, high, color=style.color(each.color), alpha=style.SPAN, linewidth=0)
    for curve in panel.curves:
        draw_curve(axes, curve)
    draw_stairs(axes, panel.stairs, x)
    dashed: Any = {"linewidth": 1.0, "linestyle": (0, (4, 3)), "zorder": 3}
    for each in panel.references:
        axes.plot(each.x, each.y, color=style.darker(each.color), **dashed)
    for label, color in reference_colors([panel]).items():  # for the legend alone
        axes.plot([], [], color=style.darker(color), label=label, **dashed)
    for level in panel.levels:
        axes.axhline(level.value, color=SOFT, linewidth=0.7, linestyle=(0, (4, 3)), zorder=1)
    for text, top in place_levels(panel.levels, y, LABEL_GAP):
        axes.annotate(
            text, (1.0, 1 - top), (3, 0), xycoords="axes fraction", textcoords="offset points",
            fontsize=6.5, color=SOFT, va="center", parse_math=False,
        )  # fmt: skip
    for row, (mark, flipped) in enumerate(
        zip(panel.marks, marks_flipped(panel.marks, x), strict=True)
    ):
        draw_mark(axes, mark, row, flipped, len(panel.marks) <= NAMED_MARKS)
    lines, labels = _legend([axes])
    above, columns = legend and len(labels) > 1, _columns(labels)
    rows = ceil(len(labels) / columns) if above else 0
    axes.set_title(fill(panel.title, TITLE), loc="left", parse_math=False, pad=4 + 9 * rows)
    if above:
        made = axes.legend(
            lines, labels, loc="lower left", bbox_to_anchor=(-0.02, 1.0), fontsize=6.5,
            ncols=columns, borderaxespad=0, columnspacing=1, handlelength=1.4, labelspacing=0.2,
        )  # fmt: skip
        made.set_in_layout(False)  # the axes of a row stay equally wide
        _plain(made)


def draw_mark(axes: Axes, mark: Mark, row: int, flipped: bool, named: bool) -> None:
    """A line at the median with its name beside it, a tick for each seed; each mark in its row."""
    color = style.color(mark.color)
    for step in mark.each:
        axes.axvline(step, 0.055 * row, 0.055 * row + 0.04, color=color, linewidth=0.8)
    if mark.median is None:
        return
    axes.axvline(mark.median, color=color, linewidth=0.8, linestyle=":")
    if named:
        axes.annotate(
            mark.label, (mark.median, 1.0), (-3 if flipped else 3, -1 - 9 * row),
            xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=6.5,
            color=color, va="top", ha="right" if flipped else "left", parse_math=False,
        )  # fmt: skip


def draw_curve(axes: Axes, curve: Curve) -> None:
    """Bands from wide to narrow, single seeds, the median on top."""
    fan, color = curve.fan, style.color(curve.color)
    if curve.seeds > 1:
        band = {"color": color, "linewidth": 0}
        axes.fill_between(fan.x, fan.low, fan.high, alpha=style.BAND_ALL, **band)
        axes.fill_between(fan.x, fan.quarter, fan.three_quarters, alpha=style.BAND_HALF, **band)
        for line in curve.lines:
            axes.plot(
                line.x, line.y, color=color, linewidth=0.3, alpha=style.SEED_LINE,
                marker="o" if curve.dots else "", markersize=1.5,
            )  # fmt: skip
    dash = style.dash(curve.color)
    pattern: Any = (0, tuple(float(part) for part in dash.split())) if dash else "-"
    axes.plot(
        fan.x, fan.median, color=color, linewidth=1.3, linestyle=pattern, label=curve.label,
        marker="o" if curve.dots else "", markersize=3.5,
    )  # fmt: skip


def draw_stairs(axes: Axes, stairs: Sequence[Stairs], x: Axis) -> None:
    """Survival curves with their bands, a stroke where a seed ended, and the seeds at risk."""
    opacity = style.interval_opacity(len(stairs))
    for each in stairs:
        color, dash = style.color(each.color), style.dash(each.color)
        pattern: Any = (0, tuple(float(part) for part in dash.split())) if dash else "-"
        across, low = each.corners(each.low, x.low)
        high, share = (each.corners(values, x.low)[1] for values in (each.high, each.share))
        axes.fill_between(across, low, high, color=color, alpha=opacity, linewidth=0)
        axes.plot(across, share, color=color, linewidth=1.3, linestyle=pattern, label=each.label)
        axes.plot(
            each.unfinished, each.at(each.unfinished), color=color, linestyle="",
            marker="|", markersize=6, markeredgewidth=0.9, label="_ended",
        )  # fmt: skip
    if not 0 < len(stairs) <= RISK_ROWS:
        return
    ticks = [value for value, _ in x.labels(TICKS)]
    said: Any = {"textcoords": "offset points", "fontsize": 6.5, "va": "top", "parse_math": False}
    side = ("axes fraction", "axes fraction")
    axes.annotate("seeds at risk", (0.0, 0.0), (0, -27), xycoords=side, color=SOFT, **said)
    for row, each in enumerate(stairs):
        below, color = -36 - 9 * row, style.color(each.color)
        if len(stairs) > 1:
            axes.annotate(
                each.label, (0.0, 0.0), (-12, below), xycoords=side, color=color, ha="right", **said
            )
        for tick, number in zip(ticks, each.at_risk(ticks), strict=True):
            axes.annotate(
                str(number), (tick, 0.0), (0, below), xycoords=("data", "axes fraction"),
                color=color, ha="center", **said,
            )  # fmt: skip


def write(figure: OnPaper, path: Path) -> Path:
    """Write the figure to `path`; the suffix chooses the kind."""
    return save(path, render(figure, path.suffix.lower()))


def _legend(grid: Any) -> tuple[list[Any], list[str]]:
    known: dict[str, Any] = {}
    for axes in grid:
        lines, labels = axes.get_legend_handles_labels()
        known |= dict(zip(labels, lines, strict=True))
    return list(known.values()), list(known)


def _columns(labels: list[str], room: int = LEGEND) -> int:
    """How many columns of a legend fit into so many characters."""
    widths = [7 + len(label) for label in labels]  # 7: the line beside it
    if sum(widths) <= room:
        return max(1, len(widths))
    return max(1, room // max(widths))


def _plain(legend: Any) -> None:
    for text in legend.get_texts():
        text.set_parse_math(False)  # a dollar sign is no formula
