"""Figures for papers and slides: the same records as the page's, drawn by matplotlib."""

from __future__ import annotations

import io
from math import ceil
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from saltus.errors import SaltusError
from saltus.report import style
from saltus.report.axes import Axis, place_levels, step_axis, tick_label, value_axis
from saltus.report.figure import Curve, Figure, Panel
from saltus.report.save import save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

SUFFIXES = (".svg", ".pdf", ".png")
SOFT = "#555b66"
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
LABEL_GAP = 0.07  # of a panel's height, between the labels of two levels


def render(figure: Figure, suffix: str) -> bytes:
    """The figure as a file of that kind. Raises SaltusError for another suffix."""
    if suffix not in SUFFIXES:
        raise SaltusError(f"figure: suffix '{suffix}' is not allowed: {', '.join(SUFFIXES)}")
    from matplotlib import rc_context

    with rc_context(SETTINGS):
        drawing = draw(figure)
        file = io.BytesIO()
        undated: dict[str, Any] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
        drawing.savefig(
            file, format=suffix[1:], dpi=300, bbox_inches="tight", metadata=undated.get(suffix, {})
        )
    return file.getvalue()


def draw(figure: Figure) -> Drawing:
    """The figure as a matplotlib figure, without pyplot's global state."""
    from matplotlib.figure import Figure as Drawing

    columns = min(COLUMNS, len(figure.panels))
    rows = ceil(len(figure.panels) / columns)
    drawing = Drawing(figsize=(WIDTH * columns, HEIGHT * rows + 0.6), layout="constrained")
    grid = drawing.subplots(rows, columns, squeeze=False).ravel()
    shared = value_axis(figure.panels) if figure.shared else None
    across = step_axis(figure.panels)
    for axes, panel in zip(grid, figure.panels, strict=False):
        draw_panel(axes, panel, across, shared or value_axis([panel]))
    for axes in grid[len(figure.panels) :]:
        axes.set_axis_off()
    if len(figure.legend) > 1:
        lines, labels = _legend(grid, figure)
        legend = drawing.legend(lines, labels, loc="outside upper left", ncols=len(labels))
        for text in legend.get_texts():
            text.set_parse_math(False)  # a dollar sign is no formula
    drawing.supxlabel(
        fill(figure.caption, 46 * columns), x=0.01, ha="left", fontsize=6.5, color=SOFT,
        parse_math=False,
    )  # fmt: skip
    return drawing


def draw_panel(axes: Axes, panel: Panel, x: Axis, y: Axis) -> None:
    """Curves, closed forms and marks of one panel on the page's axes."""
    axes.set_title(panel.title, loc="left", parse_math=False)
    axes.set_xlabel("training step")
    axes.set_ylabel(panel.unit)
    axes.set_yscale("log" if y.log else "linear")
    axes.set_xlim(x.low, x.high)
    axes.set_ylim(y.low, y.high)
    axes.set_xticks(x.ticks(4), [tick_label(v) for v in x.ticks(4)])
    if not y.log:
        axes.set_yticks(y.ticks(), [tick_label(v) for v in y.ticks()])
    for curve in panel.curves:
        draw_curve(axes, curve)
    for level in panel.levels:
        axes.axhline(level.value, color=SOFT, linewidth=0.7, linestyle=(0, (4, 3)), zorder=1)
    for text, top in place_levels(panel.levels, y, LABEL_GAP):
        axes.annotate(
            text, (1.0, 1 - top), (3, 0), xycoords="axes fraction", textcoords="offset points",
            fontsize=6.5, color=SOFT, va="center", parse_math=False,
        )  # fmt: skip
    for mark in panel.marks:
        if mark.median is not None:
            axes.axvline(mark.median, color=style.color(mark.color), linewidth=0.8, linestyle=":")
        for step in mark.each:
            axes.axvline(step, 0, 0.04, color=style.color(mark.color), linewidth=0.8)


def draw_curve(axes: Axes, curve: Curve) -> None:
    """Bands from wide to narrow, single seeds, the median on top."""
    fan, color = curve.fan, style.color(curve.color)
    if curve.seeds > 1:
        band = {"color": color, "linewidth": 0}
        axes.fill_between(fan.x, fan.low, fan.high, alpha=style.BAND_ALL, **band)
        axes.fill_between(fan.x, fan.quarter, fan.three_quarters, alpha=style.BAND_HALF, **band)
        for line in curve.lines:
            axes.plot(line.x, line.y, color=color, linewidth=0.3, alpha=style.SEED_LINE)
    dash = style.dash(curve.color)
    pattern: Any = (0, tuple(float(part) for part in dash.split())) if dash else "-"
    axes.plot(fan.x, fan.median, color=color, linewidth=1.3, linestyle=pattern, label=curve.label)


def write(figure: Figure, path: Path) -> Path:
    """Write the figure to `path`; the suffix chooses the kind."""
    return save(path, render(figure, path.suffix.lower()))


def _legend(grid: Any, figure: Figure) -> tuple[list[Any], list[str]]:
    known: dict[str, Any] = {}
    for axes in grid[: len(figure.panels)]:
        lines, labels = axes.get_legend_handles_labels()
        known |= dict(zip(labels, lines, strict=True))
    return list(known.values()), list(known)
