"""Tables on the page: rows are arms, with the colours that they have in the figure beside."""

from __future__ import annotations

from saltus.report.markup import Markup, tag
from saltus.report.style import css_class, dash
from saltus.report.svg import swatch
from saltus.report.tables.record import Cell, Row, Table


def draw_table(table: Table) -> Markup:
    """The table as an HTML element that scrolls sideways where the page is narrow."""
    head = [tag("th", name, scope="col") for name in table.columns]
    colored = any(row.color is not None for row in table.rows)
    rows = [
        tag("tr", _swatch(row) if colored else None, tag("th", row.label, scope="row"),
            [tag("td", _cell(each)) for each in row.cells])
        for row in table.rows
    ]  # fmt: skip
    corner = tag("td", table.corner, style="text-align:left;padding-left:0")
    first = tag("tr", tag("td") if colored else None, corner, head)
    drawn = tag("table", tag("thead", first), tag("tbody", rows))
    return tag(
        "figure",
        tag("div", tag("div", drawn, class_="scroll"), class_="leap-table"),
        tag("figcaption", table.caption),
        aria_label=table.title,
    )


def _swatch(row: Row) -> Markup:
    """The line that a figure draws the row with; it has a column of its own."""
    if row.color is None:
        return tag("td")
    return tag("td", swatch(dash(row.color)), class_=css_class(row.color), style="padding-left:0")


def _cell(cell: Cell) -> Markup:
    return tag("span", tag("b", cell.text), tag("small", cell.below) if cell.below else None)
