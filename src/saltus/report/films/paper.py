"""Films for papers and slides: `strip.py`'s records, drawn by matplotlib."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from saltus.report import style
from saltus.report.films.strip import CloudRow, MapRow, Strip
from saltus.report.scatters.paper import draw_panel
from saltus.report.shades import colormap
from saltus.report.text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

SIDE = 1.35  # inches of one frame
CAPTION = 17.7  # characters that fit into an inch
FINE = 24  # cells of a side; beyond, the outlines are thinner
COARSE = 4  # up to here they are thicker than the frame, which they would be taken for


def draw_strip(strip: Strip) -> Drawing:
    """A row per head or scatter, a column per step, a bar of colours at the end of each row."""
    from matplotlib.figure import Figure as Drawing

    rows, columns = len(strip.rows), max(len(row.tiles) for row in strip.rows)
    size = (SIDE * columns + 0.9, SIDE * rows + 0.28 * rows + 0.5)
    drawing = Drawing(figsize=size, layout="constrained")
    grid = drawing.subplots(rows, columns, squeeze=False)
    for line, row in zip(grid, strip.rows, strict=True):
        if isinstance(row, CloudRow):
            draw_clouds(drawing, line, row)
        else:
            draw_maps(drawing, line, row)
        for axes in line[len(row.tiles) :]:
            axes.set_axis_off()
        line[0].set_ylabel(row.label, fontsize=6.5, parse_math=False)
    drawing.supxlabel(
        fill(strip.caption, round(CAPTION * size[0])), x=0.01, ha="left", fontsize=6.5,
        color=style.SOFT, parse_math=False,
    )  # fmt: skip
    return drawing


def draw_maps(drawing: Drawing, line: Any, row: MapRow) -> None:
    """The maps of one head, with the cells that the task needs outlined."""
    colors = colormap(row.shade.diverging).with_extremes(bad=style.MISSING)
    for axes, tile in zip(line, row.tiles, strict=False):
        axes.imshow(
            np.ma.masked_invalid(tile.values), cmap=colors, vmin=row.shade.low, vmax=row.shade.high,
            interpolation="nearest", aspect="equal",
        )  # fmt: skip
        axes.set_title(tile.title, fontsize=6.5, loc="left", pad=3, parse_math=False)
        axes.set_xticks([])
        axes.set_yticks([])
        for side in axes.spines.values():
            side.set_visible(True)
        if row.outlined is not None:
            outline(axes, row.outlined)
    color_bar(drawing, line[0].images[0], line.tolist(), row.shade.ends)


def draw_clouds(drawing: Drawing, line: Any, row: CloudRow) -> None:
    """A scatter at its steps; kinds are named beside the last, values by a bar."""
    for place, axes in enumerate(line[: len(row.tiles)]):
        draw_panel(axes, row.frames, place, size=5.0)
        axes.set_title(row.frames.panels[place].title, fontsize=6.5, loc="left", pad=3,
                       parse_math=False)  # fmt: skip
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel("")
        axes.set_ylabel("")
        axes.set_box_aspect(1)
    if row.frames.shade is not None:
        color_bar(drawing, line[0].collections[0], line.tolist(), row.frames.shade.ends)
    elif len(row.frames.legend) > 1:
        last = line[len(row.tiles) - 1]
        made = last.legend(fontsize=5.5, loc="center left", bbox_to_anchor=(1.02, 0.5),
                           handletextpad=0.2, borderaxespad=0, labelspacing=0.2)  # fmt: skip
        for text in made.get_texts():
            text.set_parse_math(False)


def color_bar(drawing: Drawing, image: Any, axes: Any, ends: list[float]) -> None:
    """What the colours mean, with the values of its ends."""
    bar = drawing.colorbar(image, ax=axes, shrink=0.8, aspect=16, pad=0.01)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.tick_params(labelsize=6, width=0.5, length=2)
    bar.set_ticks(ends, labels=[number(end, 3) for end in ends])
    bar.ax.minorticks_off()


def outline(axes: Axes, cells: np.ndarray) -> None:
    """The borders of some cells."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    boxes = [Rectangle((column - 0.5, row - 0.5), 1, 1) for row, column in np.argwhere(cells)]
    width = 1.4 if len(cells) <= COARSE else 0.5 if len(cells) <= FINE else 0.3
    axes.add_collection(
        PatchCollection(boxes, facecolor="none", edgecolor=style.INK, linewidth=width, alpha=0.55)
    )
