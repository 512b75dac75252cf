"""Scatters for papers and slides, drawn by matplotlib."""

from __future__ import annotations

from math import ceil
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from saltus.report import style
from saltus.report.scatters.record import Scatters
from saltus.report.shades import colormap
from saltus.report.text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

ABREAST, SIDE, ALONE = 3, 2.3, 3.4  # panels side by side, and their width in inches
TICKS = 4


def draw_scatters(figure: Scatters) -> Drawing:
    """Panels side by side, kinds or values explained once."""
    from matplotlib.figure import Figure as Drawing

    columns = min(ABREAST, len(figure.panels))
    rows = ceil(len(figure.panels) / columns)
    side = ALONE if columns == 1 else SIDE
    size = (side * columns + 0.6, 0.9 * side * rows + 0.6)
    drawing = Drawing(figsize=size, layout="constrained")
    grid = drawing.subplots(rows, columns, squeeze=False).ravel()
    for place, axes in enumerate(grid[: len(figure.panels)]):
        draw_panel(axes, figure, place)
        axes.set_title(figure.panels[place].title, loc="left", parse_math=False)
    for axes in grid[len(figure.panels) :]:
        axes.set_axis_off()
    if figure.shade is not None:
        bar = drawing.colorbar(grid[0].collections[0], ax=grid.tolist(), shrink=0.8, aspect=20)
        bar.outline.set_visible(False)  # type: ignore[operator]
        bar.set_ticks(figure.shade.ends, labels=[number(end, 3) for end in figure.shade.ends])
        bar.ax.tick_params(labelsize=6.5, width=0.5)
        bar.set_label(figure.unit, fontsize=6.5, parse_math=False)
    elif len(figure.legend) > 1:
        lines, labels = grid[0].get_legend_handles_labels()
        made = drawing.legend(lines, labels, loc="outside upper left", ncols=len(labels),
                              handletextpad=0.2, columnspacing=1)  # fmt: skip
        for text in made.get_texts():
            text.set_parse_math(False)
    drawing.supxlabel(
        fill(figure.caption, round(17.7 * size[0])), x=0.01, ha="left", fontsize=6.5,
        color=style.SOFT, parse_math=False,
    )  # fmt: skip
    return drawing


def draw_panel(axes: Axes, figure: Scatters, place: int, size: float = 14.0) -> None:
    """One pair of axes on the page's ranges; `size` of a dot in square points."""
    panel, (x, y) = figure.panels[place], figure.axes[place]
    points = panel.points
    if figure.shade is not None:
        shade, values = figure.shade, panel.values
        given = np.full(len(points), np.nan) if values is None else values
        colors = colormap(shade.diverging, points=True).with_extremes(bad=style.INK)
        axes.scatter(points[:, 0], points[:, 1], c=np.ma.masked_invalid(given), cmap=colors,
                     vmin=shade.low, vmax=shade.high, s=size, linewidths=0,
                     plotnonfinite=True)  # fmt: skip
    else:
        kinds = np.array(panel.kinds or ("",) * len(points))
        for kind, color in (figure.legend or {"": 0}).items():
            own = points[kinds == kind]
            axes.scatter(own[:, 0], own[:, 1], color=style.color(color), s=size, linewidths=0,
                         label=kind or None)  # fmt: skip
    axes.set_xlim(x.low, x.high)
    axes.set_ylim(y.low, y.high)
    axes.set_xticks([v for v, _ in x.labels(TICKS)], [text for _, text in x.labels(TICKS)])
    axes.set_yticks([v for v, _ in y.labels()], [text for _, text in y.labels()])
    axes.set_xlabel(panel.x_label, parse_math=False)
    axes.set_ylabel(panel.y_label, parse_math=False)
