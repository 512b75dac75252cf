"""What pairs of axes on the page share: labels by percentages, a heading, what is read out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from saltus.report import style
from saltus.report.axes import Axis
from saltus.report.markup import Markup, data_script, tag
from saltus.report.paths import HIGH, WIDE, straight

CHARACTER = 6.2  # pixels of a character beside the axes
LEFT_LEAST, LEFT_MOST = 38, 148  # pixels left of the axes; longer names are broken into lines


class Spot(NamedTuple):
    """A place of a plot that can be read out, in fractions from the left and from the top."""

    x: float
    y: float
    head: str
    rows: Sequence[tuple[str, str, str, str]]  # label, class of its colour, number, what else


def picture(shapes: object, said: str) -> Markup:
    """The box that the page stretches, with what is drawn in it."""
    return tag(
        "svg",
        shapes,
        viewBox=f"0 0 {WIDE} {HIGH}",
        preserveAspectRatio="none",
        role="img",
        aria_label=said,
    )


def label(text: str, kind: str, **where: float) -> Markup:
    """A text at a fraction of the plot: `label("0.5", "tick x", left=0.5)`."""
    place = ";".join(f"{side}:{fraction * 100:.2f}%" for side, fraction in where.items())
    return tag("span", text, class_=kind, style=place)


def grid(x: Axis | None, y: Axis | None, ticks: int) -> list[Markup]:
    """Lines across the plot at the ticks of its axes."""
    across = [] if x is None else [round(x.place(v) * WIDE) for v in x.ticks(ticks)]
    down = [] if y is None else [round((1 - y.place(v)) * HIGH) for v in y.ticks()]
    lines = [straight(0, p, WIDE, p, "grid") for p in down]
    return [*lines, *(straight(p, 0, p, HIGH, "grid") for p in across)]


def names_left(names: Sequence[str]) -> list[Markup]:
    """A name for each of the rows into which the plot is cut."""
    return [
        label(name, "category", top=(place + 0.5) / len(names)) for place, name in enumerate(names)
    ]


def room_left(names: Sequence[str]) -> int:
    """Pixels that names beside the plot need."""
    longest = max(map(len, names), default=0)
    return min(LEFT_MOST, max(LEFT_LEAST, round(14 + CHARACTER * longest)))


def heading(title: str, unit: str = "", note: str | None = None) -> Markup:
    """What stands above a pair of axes."""
    return tag(
        "div",
        tag("span", title, class_="panel-title") if title else None,
        tag("span", unit, class_="unit") if unit else None,
        tag("span", note, class_="note") if note else None,
        class_="panel-head",
    )


def legend(colors: Mapping[str, int]) -> Markup | None:
    """Which colour is which kind of dot; None for one of them."""
    if len(colors) < 2:
        return None
    dot = tag("path", d="M6 4l0 0", class_="dots")
    mark = tag("svg", dot, viewBox="0 0 12 8", width="12", height="8", aria_hidden="true")
    items = [tag("li", mark, name, class_=style.css_class(color)) for name, color in colors.items()]
    return tag("ul", items, class_="legend")


def spot_script(plots: Sequence[Sequence[Spot]], along: str = "xy") -> Markup:
    """What spots.js reads out of every plot of a figure. `along`: 'y' looks for the row alone."""
    data = [
        [[round(s.x, 4), round(s.y, 4), s.head, [list(row) for row in s.rows]] for s in spots]
        for spots in plots
    ]
    return data_script({"along": along, "plots": data}, "spots")
