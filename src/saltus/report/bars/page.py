"""Bars on the page: a row for every name, so that names are read without turning the head."""

from __future__ import annotations

from math import isfinite

from saltus.report.axes import Axis
from saltus.report.bars.record import BarPanel, Bars, BarSeries
from saltus.report.markup import Markup, tag
from saltus.report.paths import HIGH, WIDE, straight
from saltus.report.plot import (
    Spot,
    grid,
    heading,
    label,
    legend,
    names_left,
    picture,
    room_left,
    spot_script,
)
from saltus.report.style import css_class
from saltus.report.text import count, number, percent

ROW, LINE = 34, 18  # pixels: of a name at least, and of each series in it
THICK = 0.62  # of its line that a bar fills
TICKS = 4
CROWDED = 0.4  # of the width between two levels: names that are closer stand above each other


def draw_bars(figure: Bars) -> Markup:
    """The figure as an HTML element."""
    panels = [
        draw_panel(panel, axis) for panel, axis in zip(figure.panels, figure.axes, strict=True)
    ]
    return tag(
        "figure",
        legend(figure.legend),
        tag("div", panels, class_=f"panels n{min(len(panels), 5)}"),
        tag("figcaption", figure.caption),
        spot_script([spots(panel, x) for panel, x in zip(figure.panels, figure.axes, strict=True)],
                    "y"),
        class_="spotted bars",
        aria_label=figure.title,
    )  # fmt: skip


def draw_panel(panel: BarPanel, x: Axis) -> Markup:
    """The names with their bars, from top to bottom."""
    rows = len(panel.categories)
    shapes = [
        grid(x, None, TICKS),
        [_upright(x.place(level.value), "level") for level in panel.levels],
        [draw_series(panel, series, place, x) for place, series in enumerate(panel.series)],
        [_upright(x.place(0.0), "zero")] if panel.filled and x.low < 0 < x.high else [],
    ]
    height = rows * max(ROW, LINE * len(panel.series) + 12)
    named, above = draw_level_names(panel, x)
    labels = [label(text, "tick x", left=x.place(v)) for v, text in x.labels(TICKS)]
    said = f"{panel.title}: {count(rows, 'bar')}"
    drawing = tag(
        "div",
        picture(shapes, said),
        names_left(panel.categories),
        labels,
        named,
        class_="plot barred",
        style=f"--height:{height}px" + (f";margin-top:{above}px" if named else ""),
        tabindex="0",
    )
    note = "some intervals leave the frame" if _cut(panel, x) else None
    return tag(
        "div",
        heading(panel.title, panel.unit, note),
        drawing,
        tag("div"),
        class_="panel",
        style=f"--left:{room_left(panel.categories)}px",
    )


def draw_level_names(panel: BarPanel, x: Axis) -> tuple[list[Markup], int]:
    """Names above the lines of the levels, one higher than the other where they are close; and the
    pixels that they need."""
    named, before, row = [], -1.0, 0
    for level in sorted(panel.levels, key=lambda level: level.value):
        place = x.place(level.value)
        row = row + 1 if place - before < CROWDED else 0
        before = place
        side = " left" if place < 0.15 else " right" if place > 0.75 else ""
        text = tag("span", f"{level.label} {number(level.value)}", class_=f"level-top{side}",
                   style=f"left:{100 * place:.2f}%;margin-bottom:{13 * row}px")  # fmt: skip
        named.append((row, text))
    return [text for _, text in named], 18 + 13 * max((row for row, _ in named), default=0)


def draw_series(panel: BarPanel, series: BarSeries, place: int, x: Axis) -> Markup:
    """Bar, interval, mean and single seeds of one series in every name."""
    shapes: list[Markup] = []
    for category, mean in enumerate(series.means):
        y = round(HIGH * height_of(panel, category, place))
        thick = round(HIGH * THICK * line_of(panel) / 2)
        if not isfinite(mean.estimate):
            continue
        at = _across(x, mean.estimate)
        if panel.filled:
            zero = _across(x, 0.0)
            path = f"M{zero} {y - thick}L{at} {y - thick}L{at} {y + thick}L{zero} {y + thick}z"
            shapes.append(tag("path", d=path, class_="filled"))
        own = series.each[category].tolist()
        if len(own) > 1:
            shapes.append(straight(_across(x, mean.low), y, _across(x, mean.high), y, "interval"))
            few = "".join(f"M{_across(x, value)} {y}l0 0" for value in own)
            shapes.append(tag("path", d=few, class_="dots few"))
        shapes.append(tag("path", d=f"M{at} {y}l0 0", class_="dots"))
    return tag("g", shapes, class_=css_class(series.color))


def height_of(panel: BarPanel, category: int, place: int) -> float:
    """Where a series stands in a category: fraction from the top."""
    middle = (category + 0.5) / len(panel.categories)
    return middle + (place - (len(panel.series) - 1) / 2) * line_of(panel)


def line_of(panel: BarPanel) -> float:
    """The height of one series' line, as a fraction of the plot."""
    row = max(ROW, LINE * len(panel.series) + 12)
    return (LINE if len(panel.series) > 1 else 22) / (row * len(panel.categories))


def spots(panel: BarPanel, x: Axis) -> list[Spot]:
    """What is read out of every name."""
    found = []
    for category, name in enumerate(panel.categories):
        rows = []
        for series in panel.series:
            mean, several = series.means[category], len(panel.series) > 1
            known = isfinite(mean.low) and isfinite(mean.high)
            ends = f"{percent(mean.confidence)}: {number(mean.low)} to {number(mean.high)}, "
            more = (ends if known else "") + count(mean.count, "seed")
            named = series.label if several else ""
            rows.append((named, css_class(series.color), number(mean.estimate), more))
        means = [series.means[category].estimate for series in panel.series]
        at = max(filter(isfinite, means), default=x.low)
        place = min(max(x.place(at), 0.0), 1.0)
        found.append(Spot(place, (category + 0.5) / len(panel.categories), name, rows))
    return found


def _across(x: Axis, value: float) -> int:
    """Units from the left; what lies outside ends at the frame."""
    place = 1.0 if value == float("inf") else 0.0 if value == -float("inf") else x.place(value)
    return round(WIDE * min(max(place, 0.0), 1.0))


def _upright(place: float, kind: str) -> Markup:
    at = round(WIDE * place)
    return straight(at, 0, at, HIGH, kind)


def _cut(panel: BarPanel, x: Axis) -> bool:
    ends = [
        end
        for series in panel.series
        for mean in series.means
        if mean.count > 1
        for end in (mean.low, mean.high)
    ]
    return any(end < x.low or end > x.high for end in ends)
