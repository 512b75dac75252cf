"""Drawing a figure into the page: SVG that stretches, with labels in HTML that do not.

The curves of a panel are drawn in a box of 2000 × 1000 that the page stretches to any width
(strokes keep theirs), and every label is an HTML element placed by percentages. So the same markup
is legible on a phone and on a slide, and needs no script; page.js only adds the readout.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saltus.report import style
from saltus.report.axes import (
    NAMED_MARKS,
    Axis,
    leaves_frame,
    place_levels,
    step_axis,
    tick_label,
    value_axis,
)
from saltus.report.fan import Fan
from saltus.report.figure import Curve, Figure, Mark, Panel
from saltus.report.markup import Markup, data_script, tag
from saltus.report.text import count, number

WIDE, HIGH = 2000, 1000
LABEL_GAP = 14  # pixels between the labels of two levels


def draw(figure: Figure, height: int = 200, legend: bool = True) -> Markup:
    """The figure as an HTML element; `height` in pixels is that of each pair of axes."""
    shared_x = step_axis(figure.panels)
    shared_y = value_axis(figure.panels) if figure.shared else None
    panels = [draw_panel(p, shared_x, shared_y or value_axis([p]), height) for p in figure.panels]
    key = draw_legend(figure) if legend and len(figure.legend) > 1 else None
    return tag(
        "figure",
        key,
        tag("div", panels, class_=f"panels n{min(len(panels), 4)}"),
        tag("figcaption", figure.caption),
        data_script(readout(figure, shared_x), "readout"),
        class_="fans",
        aria_label=figure.title,
    )


def draw_legend(figure: Figure) -> Markup:
    """Which colour is which arm."""
    items = [
        tag("li", _swatch(color), label, class_=style.css_class(color))
        for label, color in figure.legend.items()
    ]
    return tag("ul", items, class_="legend")


def draw_panel(panel: Panel, x: Axis, y: Axis, height: int) -> Markup:
    """Title, axes and curves of one panel."""
    low = y.places(np.array([level.value for level in panel.levels]))
    shapes = [
        [_line(0, p, WIDE, p, "grid") for p in _down(y.places(np.array(y.ticks())))],
        [_line(0, p, WIDE, p, "level") for p in _down(low)],
        [draw_curve(curve, x, y) for curve in panel.curves],
        [draw_mark(mark, x) for mark in panel.marks],
    ]
    picture = tag(
        "svg",
        shapes,
        viewBox=f"0 0 {WIDE} {HIGH}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{panel.title}: fan over seeds against training steps",
    )
    named = panel.marks if len(panel.marks) <= NAMED_MARKS else ()
    labels = [
        [_label(tick_label(v), "tick y", top=1 - y.place(v)) for v in y.ticks()],
        [_label(tick_label(v), "tick x", left=x.place(v)) for v in x.ticks(4)],
        [
            _label(text, "level-name", top=top)
            for text, top in place_levels(panel.levels, y, LABEL_GAP / height)
        ],
        [_mark_label(mark, x, place) for place, mark in enumerate(named)],
    ]
    note = (
        tag("span", "some seeds leave the frame", class_="note") if leaves_frame(panel, y) else None
    )
    heading = tag(
        "div",
        tag("span", panel.title, class_="panel-title"),
        tag("code", panel.name) if panel.title != panel.name else None,
        tag("span", panel.unit, class_="unit") if panel.unit else None,
        note,
        class_="panel-head",
    )
    kind = "plot levels" if panel.levels else "plot"
    plot = tag("div", picture, labels, class_=kind, style=f"--height:{height}px", tabindex="0")
    foot = tag("div", "training step", class_="axis-name")
    return tag("div", heading, plot, foot, class_="panel")


def draw_curve(curve: Curve, x: Axis, y: Axis) -> Markup:
    """Bands from wide to narrow, single seeds, the median on top."""
    fan, several = curve.fan, curve.seeds > 1
    across = x.places(fan.x)
    bands = [(fan.low, fan.high, "all"), (fan.quarter, fan.three_quarters, "half")]
    shapes = [
        tag("path", d=band_path(across, y.places(a), y.places(b)), class_=f"band {kind}")
        for a, b, kind in bands
        if several
    ]
    if several:
        seeds = "".join(line_path(x.places(s.x), y.places(s.y)) for s in curve.lines)
        shapes.append(tag("path", d=seeds, class_="seeds"))
    median = line_path(across, y.places(fan.median))
    dashes = style.dash(curve.color) or None
    shapes.append(tag("path", d=median, class_="median", stroke_dasharray=dashes))
    return tag("g", shapes, class_=style.css_class(curve.color))


def draw_mark(mark: Mark, x: Axis) -> Markup:
    """A line at the median and a tick at the foot for each seed."""
    ticks = [_line(p, HIGH - 45, p, HIGH, "rug") for p in _across(x.places(np.array(mark.each)))]
    median = []
    if mark.median is not None:
        at = round(x.place(mark.median) * WIDE)
        median = [_line(at, 0, at, HIGH, "leap")]
    return tag("g", median, ticks, class_=style.css_class(mark.color))


def line_path(x: np.ndarray, y: np.ndarray) -> str:
    """SVG path of a curve given in fractions; a gap wherever a value is not finite."""
    parts = []
    for stretch in _stretches(y):
        points = list(zip(_across(x[stretch]), _down(y[stretch]), strict=True))
        # A lone point would be invisible: a step of one unit shows it.
        parts.append(
            _path([*points, (points[0][0] + 1, points[0][1])] if len(points) == 1 else points)
        )
    return "".join(parts)


def band_path(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> str:
    """SVG path of the area between two curves."""
    parts = []
    for stretch in _stretches(low + high):
        across = _across(x[stretch])
        there = list(zip(across, _down(high[stretch]), strict=True))
        back = list(zip(across, _down(low[stretch]), strict=True))
        parts.append(_path([*there, *reversed(back)]) + "z")
    return "".join(parts)


def readout(figure: Figure, x: Axis) -> dict[str, object]:
    """What page.js shows under the pointer: the drawn points of medians and quartiles."""
    panels = [[_readout_curve(c.fan) | {"label": c.label, "color": c.color % len(style.LIGHT)}
               for c in panel.curves] for panel in figure.panels]  # fmt: skip
    return {"low": x.low, "high": x.high, "panels": panels}


def _readout_curve(fan: Fan) -> dict[str, object]:
    columns = {"median": fan.median, "from": fan.quarter, "to": fan.three_quarters}
    short = {name: [_short(v) for v in values] for name, values in columns.items()}
    counts = fan.counts.tolist()
    seeds = counts[0] if len(set(counts)) == 1 else counts
    return {"steps": fan.x.tolist(), "seeds": seeds, **short}


def _short(value: float) -> float | None:
    return float(f"{value:.4g}") if np.isfinite(value) else None


def _stretches(values: np.ndarray) -> list[np.ndarray]:
    """Places of finite values, one array per unbroken stretch."""
    places = np.flatnonzero(np.isfinite(values))
    return np.split(places, np.flatnonzero(np.diff(places) > 1) + 1) if len(places) else []


def _path(points: Sequence[tuple[int, int]]) -> str:
    """'M x y l dx dy …' in whole units; points that do not move are dropped."""
    (px, py), *rest = points
    text = f"M{px} {py}l"
    moves = []
    for qx, qy in rest:
        if (qx, qy) != (px, py):
            moves.append(f"{qx - px} {qy - py}")
            px, py = qx, qy
    return text + " ".join(moves or ["0 0"])


def _across(fractions: np.ndarray) -> list[int]:
    return [round(v) for v in (fractions * WIDE).tolist()]


def _down(fractions: np.ndarray) -> list[int]:
    return [round(v) for v in ((1 - np.clip(fractions, -1, 2)) * HIGH).tolist()]


def _line(x1: int, y1: int, x2: int, y2: int, kind: str) -> Markup:
    return tag("path", d=f"M{x1} {y1}L{x2} {y2}", class_=kind)


def _label(text: str, kind: str, **where: float) -> Markup:
    place = ";".join(f"{side}:{fraction * 100:.2f}%" for side, fraction in where.items())
    return tag("span", text, class_=kind, style=place)


def _mark_label(mark: Mark, x: Axis, place: int) -> Markup:
    """'half right: step 315, 8 of 8 seeds' beside the line, or in the corner without one."""
    who = tag("small", f"{len(mark.each)} of {count(mark.seeds, 'seed')}")
    top, color = f"top:{2 + 30 * place}px", style.css_class(mark.color)
    if mark.median is None:
        text = f"{mark.label}: not in most seeds" if mark.each else f"{mark.label}: never"
        return tag("span", text, who, class_=f"mark never {color}", style=top)
    left = x.place(mark.median)
    side = "mark flip" if left > 0.6 else "mark"
    text = f"{mark.label}: step {number(mark.median)}"
    where = f"left:{left * 100:.2f}%;{top}"
    return tag("span", text, who, class_=f"{side} {color}", style=where)


def _swatch(place: int) -> Markup:
    stroke = tag("path", d="M0 4H22", class_="median", stroke_dasharray=style.dash(place) or None)
    return tag("svg", stroke, viewBox="0 0 22 8", width="22", height="8", aria_hidden="true")
