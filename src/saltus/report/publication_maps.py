"""Attention maps for papers and slides: `map_figure.py`'s records, drawn by matplotlib."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from saltus.report import style
from saltus.report.map_figure import MapFigure, Row
from saltus.report.text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure as Drawing

SIDE = 1.35  # inches of one map
CAPTION = 17.7  # characters that fit into an inch
FINE = 24  # cells of a side; beyond, the outlines of the needed keys are thinner


def draw_maps(figure: MapFigure) -> Drawing:
    """A row per head, a column per step, a bar of colours at the end of each row."""
    from matplotlib.figure import Figure as Drawing

    rows, columns = len(figure.rows), max(len(row.tiles) for row in figure.rows)
    size = (SIDE * columns + 0.9, SIDE * rows + 0.28 * rows + 0.5)
    drawing = Drawing(figsize=size, layout="constrained")
    grid = drawing.subplots(rows, columns, squeeze=False)
    for line, row in zip(grid, figure.rows, strict=True):
        draw_row(line, row)
        image = line[0].images[0]
        bar = drawing.colorbar(image, ax=line.tolist(), shrink=0.8, aspect=16, pad=0.01)
        bar.outline.set_visible(False)  # type: ignore[operator]
        bar.ax.tick_params(labelsize=6, width=0.5, length=2)
        ends = [-row.scale, 0.0, row.scale] if row.signed else [0.0, row.scale]
        bar.set_ticks(ends, labels=[number(end, 3) for end in ends])
    drawing.supxlabel(
        fill(figure.caption, round(CAPTION * size[0])), x=0.01, ha="left", fontsize=6.5,
        color=style.SOFT, parse_math=False,
    )  # fmt: skip
    return drawing


def draw_row(line: Any, row: Row) -> None:
    """The maps of one head, with the keys that the task needs outlined."""
    low = -row.scale if row.signed else 0.0
    for axes, tile in zip(line, row.tiles, strict=False):
        axes.imshow(
            tile.weights, cmap=colors(row.signed), vmin=low, vmax=row.scale,
            interpolation="nearest", aspect="equal",
        )  # fmt: skip
        axes.set_title(tile.title, fontsize=6.5, loc="left", pad=3, parse_math=False)
        axes.set_xticks([])
        axes.set_yticks([])
        for side in axes.spines.values():
            side.set_visible(True)
        if row.needed is not None:
            outline(axes, row.needed)
    for axes in line[len(row.tiles) :]:
        axes.set_axis_off()
    line[0].set_ylabel(row.label, fontsize=6.5, parse_math=False)


def outline(axes: Axes, needed: np.ndarray) -> None:
    """The borders of the cells that the task needs."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    cells = [Rectangle((key - 0.5, query - 0.5), 1, 1) for query, key in np.argwhere(needed)]
    width = 0.5 if len(needed) <= FINE else 0.3
    axes.add_collection(
        PatchCollection(cells, facecolor="none", edgecolor=style.INK, linewidth=width, alpha=0.55)
    )


def colors(signed: bool) -> Colormap:
    """From white to the page's blue; negative weights towards its orange."""
    from matplotlib.colors import LinearSegmentedColormap

    ends = [style.NEGATIVE, "#ffffff", style.POSITIVE] if signed else ["#ffffff", style.POSITIVE]
    return LinearSegmentedColormap.from_list("weights", ends)
