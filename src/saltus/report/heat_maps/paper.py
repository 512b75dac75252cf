"""Heat maps for papers and slides, drawn by matplotlib."""

from __future__ import annotations

from math import ceil
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from saltus.report import style
from saltus.report.films.paper import CAPTION, color_bar, outline
from saltus.report.heat_maps.page import CELLS
from saltus.report.heat_maps.record import HeatMap, HeatMaps
from saltus.report.shades import STRONG, Shade, colormap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

ABREAST, CELL = 3, (0.42, 0.28)  # maps side by side; inches of a cell at best
SMALLEST, LARGEST = 1.6, 6.0  # inches of a map's side
NUMBERED = 0.34  # inches that a cell needs for its number


def draw_heat_maps(figure: HeatMaps) -> Drawing:
    """Maps side by side, with numbers in cells that have room for them."""
    from matplotlib.figure import Figure as Drawing

    columns = min(ABREAST, len(figure.maps))
    rows = ceil(len(figure.maps) / columns)
    largest = np.max([each.values.shape for each in figure.maps], axis=0)
    wide, high = (
        float(np.clip(cell * size, SMALLEST, LARGEST / (columns if n == 0 else 1)))
        for n, (cell, size) in enumerate(zip(CELL, largest[::-1], strict=True))
    )
    if largest.prod() > CELLS:  # without numbers cells may be square
        high = wide * float(largest[0] / largest[1])
    size = (columns * (wide + 0.9) + 0.4, rows * (high + 0.5) + 0.5)
    drawing = Drawing(figsize=size, layout="constrained")
    grid = drawing.subplots(rows, columns, squeeze=False).ravel()
    for axes, each, shade in zip(grid, figure.maps, figure.shades, strict=False):
        image = draw_map(axes, each, shade, figure.log, wide)
        if not figure.shared:
            color_bar(drawing, image, axes, shade.ends)
    for axes in grid[len(figure.maps) :]:
        axes.set_axis_off()
    if figure.shared:
        color_bar(drawing, grid[0].images[0], grid.tolist(), figure.shades[0].ends)
        drawing.axes[-1].set_ylabel(figure.unit, fontsize=6.5, parse_math=False)
    drawing.supxlabel(
        fill(figure.caption, round(CAPTION * size[0])), x=0.01, ha="left", fontsize=6.5,
        color=style.SOFT, parse_math=False,
    )  # fmt: skip
    return drawing


def draw_map(axes: Axes, each: HeatMap, shade: Shade, log: bool, wide: float) -> Any:
    """One table on the colours of the page."""
    from matplotlib.colors import LogNorm, Normalize

    rows, columns = each.values.shape
    norm = (LogNorm if log else Normalize)(shade.low, shade.high)
    colors = colormap(shade.diverging).with_extremes(bad=style.MISSING)
    shown = np.ma.masked_invalid(each.values)
    image = axes.imshow(shown, cmap=colors, norm=norm, aspect="auto", interpolation="nearest")
    axes.set_title(each.title, fontsize=7.5, loc="left", pad=4, parse_math=False)
    axes.set_xlabel(each.x_label, fontsize=6.5, parse_math=False)
    for which, names in ((axes.xaxis, each.columns), (axes.yaxis, each.rows)):
        stride = ceil(len(names) / 16)
        which.set_ticks(range(0, len(names), stride), names[::stride], fontsize=6.5)
        for text in which.get_ticklabels():
            text.set_parse_math(False)
    turned = max(map(len, each.columns), default=0) * 0.06 > wide / max(columns, 1)
    axes.tick_params(length=0, axis="both")
    axes.tick_params(axis="x", rotation=90 if turned else 0)
    for side in axes.spines.values():
        side.set_visible(False)
    if each.outlined is not None:
        outline(axes, each.outlined)
    if wide / max(columns, 1) >= NUMBERED:
        places = shade.places(each.values)
        for row, column in np.ndindex(rows, columns):
            strong = abs(places[row, column]) > STRONG
            axes.text(
                column, row, each.text(row, column, 2), ha="center", va="center",
                fontsize=5.5, color="white" if strong else style.INK, parse_math=False,
            )  # fmt: skip
    return image
