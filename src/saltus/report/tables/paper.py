"""Tables for papers and slides, drawn by matplotlib: rules, and no lines between columns."""

from __future__ import annotations

from textwrap import fill, wrap
from typing import TYPE_CHECKING

from saltus.report import style
from saltus.report.tables.record import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

SIZE, SMALL = 7.0, 5.5  # points
CHARACTER, GAP = 0.062, 0.16  # inches: of a letter of SIZE, and between columns
LINE, ROW = 0.13, 0.31  # inches: of a line of the head, and of a row
HEAD, CAPTION = 14, 17.7  # letters of a line of the head, and that fit into an inch of the caption


def draw_table(table: Table) -> Drawing:
    """Labels at the left, numbers at the right end of their columns, intervals below them."""
    from matplotlib.figure import Figure as Drawing

    heads = [wrap(name, HEAD) or [""] for name in table.columns]
    lines = max(map(len, heads), default=1)
    wide = [_width(table, place, head) for place, head in enumerate(heads)]
    first = CHARACTER * max((len(row.label) for row in table.rows), default=4) + GAP
    width = max(first + sum(wide), 3.0)
    above = LINE * lines + 0.08
    small = fill(table.caption, round(CAPTION * width))
    high = above + ROW * len(table.rows) + 0.1
    drawing = Drawing(figsize=(width, high + 0.115 * (small.count("\n") + 1) + 0.1))
    axes = drawing.add_axes((0.0, 1 - high / drawing.get_size_inches()[1], 1.0,
                             high / drawing.get_size_inches()[1]))  # fmt: skip
    axes.set_xlim(0, width)
    axes.set_ylim(high, 0)
    axes.set_axis_off()
    ends, at = [], first
    for each in wide:
        at += each
        ends.append(at)
    for end, head in zip(ends, heads, strict=True):
        _say(axes, end, above - 0.06, "\n".join(head), SIZE, style.INK, "right", "bottom")
    _say(axes, 0.02, above - 0.06, table.corner, SIZE, style.SOFT, "left", "bottom")
    for place, row in enumerate(table.rows):
        y = above + ROW * place
        color = style.INK if row.color is None else style.color(row.color)
        _say(axes, 0.02, y + 0.06, row.label, SIZE, color, "left", "top")
        for end, cell in zip(ends, row.cells, strict=True):
            _say(axes, end, y + 0.05, cell.text, SIZE, style.INK, "right", "top")
            _say(axes, end, y + 0.175, cell.below, SMALL, style.SOFT, "right", "top")
    for y, thick in ((0.01, 0.8), (above - 0.02, 0.5), (above + ROW * len(table.rows) + 0.02, 0.8)):
        axes.plot([0, width], [y, y], color=style.INK, linewidth=thick)
    drawing.text(0.0, 0.0, small, fontsize=6.0, color=style.SOFT, va="bottom", parse_math=False)
    return drawing


def _width(table: Table, place: int, head: list[str]) -> float:
    """Inches of a column: of its longest text."""
    cells = [row.cells[place] for row in table.rows]
    most = max([len(line) for line in head] + [len(cell.text) for cell in cells])
    below = max((len(cell.below) for cell in cells), default=0) * SMALL / SIZE
    return CHARACTER * max(most, below) + GAP


def _say(
    axes: Axes, x: float, y: float, text: str, size: float, color: str, side: str, end: str
) -> None:
    axes.text(x, y, text, fontsize=size, color=color, ha=side, va=end, parse_math=False)
