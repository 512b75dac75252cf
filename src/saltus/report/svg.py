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
    marks_flipped,
    place_levels,
    value_axis,
    x_axes,
)
from saltus.report.figure import STEP, Curve, Figure, Mark, Panel, Reference, reference_colors
from saltus.report.markup import Markup, data_script, tag
from saltus.report.paths import (
    HIGH,
    WIDE,
    band_path,
    dots_path,
    line_path,
    straight,
    units_across,
    units_down,
)
from saltus.report.svg_stairs import draw_risk, draw_stairs, readout_stairs, room_for_names
from saltus.report.text import count, number

TICKS = 4  # wanted along x
LABEL_GAP = 14  # pixels between the labels of two levels
LEVEL_NAME = 88  # pixels at least that the names of levels get at the right
RUG, ROW = 45, 60  # height of a seed's tick at the foot, and from one mark's row to the next
LEFT, CHARACTER = 38, 6.2  # pixels: left of the axes at least, and of a character there
DASHED = "5 4"


def draw(figure: Figure, height: int = 200, legend: bool = True) -> Markup:
    """The figure as an HTML element; `height` in pixels is that of each pair of axes.

    One legend stands above the panels; where a colour means something else in every panel, each
    has its own.
    """
    across = x_axes(figure.panels)
    shared = value_axis(figure.panels) if figure.shared else None
    own = legend and not figure.one_legend
    upright = [shared or value_axis([panel]) for panel in figure.panels]
    texts = [text for y in upright for _, text in y.labels()]
    left = max(room_for(texts), *(room_for_names(panel.stairs) for panel in figure.panels), 0)
    panels = [
        draw_panel(panel, x, y, height, left, own)
        for panel, x, y in zip(figure.panels, across, upright, strict=True)
    ]
    return tag(
        "figure",
        draw_legend(figure.panels) if legend and not own else None,
        tag("div", panels, class_=f"panels n{min(len(panels), 5)}"),
        tag("figcaption", figure.caption),
        data_script(readout(figure, across), "readout"),
        class_="fans",
        aria_label=figure.title,
    )


def room_for(texts: Sequence[str]) -> int:
    """Pixels left of the axes for the numbers there."""
    return max(LEFT, round(7 + CHARACTER * max(map(len, texts), default=0)))


def draw_legend(panels: Sequence[Panel]) -> Markup | None:
    """Which colour is which curve, and what the dashed ones are; None for a single curve."""
    curves = {label: color for panel in panels for label, color in panel.legend.items()}
    dashed = reference_colors(panels)
    if len(curves) + len(dashed) < 2:
        return None
    items = [
        tag("li", swatch(style.dash(color)), label, class_=style.css_class(color))
        for label, color in curves.items()
    ]
    items += [
        tag("li", swatch(DASHED), label, class_=style.css_class(color))
        for label, color in dashed.items()
    ]
    return tag("ul", items, class_="legend")


def draw_panel(
    panel: Panel, x: Axis, y: Axis, height: int, left: int, legend: bool = False
) -> Markup:
    """Title, axes and curves of one panel; `left`: pixels for what stands left of the axes."""
    low = y.places(np.array([level.value for level in panel.levels]))
    upright = units_across(x.places(np.array(x.ticks(TICKS)))) if panel.x_log else []
    shapes = [
        [straight(0, p, WIDE, p, "grid") for p in units_down(y.places(np.array(y.ticks())))],
        [straight(p, 0, p, HIGH, "grid") for p in upright],
        [straight(0, p, WIDE, p, "level") for p in units_down(low)],
        [draw_span(mark, x) for mark in panel.marks if mark.span],
        [draw_curve(curve, x, y) for curve in panel.curves],
        [draw_stairs(each, x, y, len(panel.stairs)) for each in panel.stairs],
        [draw_reference(each, x, y) for each in panel.references],
        [draw_mark(mark, x, row) for row, mark in enumerate(panel.marks)],
    ]
    picture = tag(
        "svg",
        shapes,
        viewBox=f"0 0 {WIDE} {HIGH}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{panel.title}: fan over seeds against {panel.x_label}",
    )
    named = panel.marks if len(panel.marks) <= NAMED_MARKS else ()
    flipped = marks_flipped(named, x)
    names = place_levels(panel.levels, y, LABEL_GAP / height)
    labels = [
        [_label(text, "tick y", top=1 - y.place(v)) for v, text in y.labels()],
        [_label(text, "tick x", left=x.place(v)) for v, text in x.labels(TICKS)],
        [_label(text, "level-name", top=top) for text, top in names],
        [_mark_label(mark, panel, x, row, flipped[row]) for row, mark in enumerate(named)],
    ]
    longest = max((len(text) for text, _ in names), default=0)
    margin = f"--right:{max(LEVEL_NAME, 14 + 6 * longest)}px;" if names else ""
    margin += f"--left:{left}px;" if left > LEFT else ""
    plot = tag("div", picture, labels, class_="plot", style=f"--height:{height}px", tabindex="0")
    foot = tag("div", panel.x_label, class_="axis-name")
    risk = draw_risk(panel.stairs, x, [v for v, _ in x.labels(TICKS)])
    head = draw_head(panel, y, legend)
    return tag("div", head, plot, tag("div", foot, risk), class_="panel", style=margin or None)


def draw_head(panel: Panel, y: Axis, legend: bool) -> Markup:
    """What stands above a pair of axes: title, name, unit, and the legend if it has its own."""
    note = "some seeds leave the frame" if leaves_frame(panel, y) else None
    return tag(
        "div",
        tag("span", panel.title, class_="panel-title") if panel.title else None,
        tag("code", panel.name) if panel.title != panel.name else None,
        tag("span", panel.unit, class_="unit") if panel.unit else None,
        tag("span", note, class_="note") if note else None,
        draw_legend([panel]) if legend else None,
        class_="panel-head",
    )


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
    singles = curve.lines if several else ()
    if singles:
        seeds = "".join(line_path(x.places(s.x), y.places(s.y)) for s in singles)
        shapes.append(tag("path", d=seeds, class_="seeds"))
    median = line_path(across, y.places(fan.median))
    dashes = style.dash(curve.color) or None
    shapes.append(tag("path", d=median, class_="median", stroke_dasharray=dashes))
    if curve.dots:
        if singles:
            each = "".join(dots_path(x.places(s.x), y.places(s.y)) for s in singles)
            shapes.append(tag("path", d=each, class_="dots few"))
        shapes.append(tag("path", d=dots_path(across, y.places(fan.median)), class_="dots"))
    return tag("g", shapes, class_=style.css_class(curve.color))


def draw_reference(reference: Reference, x: Axis, y: Axis) -> Markup:
    """A dashed curve over the others."""
    path = line_path(x.places(reference.x), y.places(reference.y))
    return tag("path", d=path, class_=f"reference {style.css_class(reference.color)}")


def draw_span(mark: Mark, x: Axis) -> Markup:
    """A shade from the median beginning to the median end, behind the curves."""
    begin, end = np.clip(x.places(np.array(mark.span)), 0, 1)
    left, right = units_across(np.array([begin, end]))
    path = f"M{left} 0L{right} 0L{right} {HIGH}L{left} {HIGH}z"
    return tag("path", d=path, class_=f"span {style.css_class(mark.color)}")


def draw_mark(mark: Mark, x: Axis, row: int) -> Markup:
    """A line at the median and a tick for each seed, in a row of their own at the foot."""
    foot = HIGH - ROW * row
    ticks = [
        straight(p, foot - RUG, p, foot, "rug") for p in units_across(x.places(np.array(mark.each)))
    ]
    median = []
    if mark.median is not None:
        at = round(x.place(mark.median) * WIDE)
        median = [straight(at, 0, at, HIGH, "leap")]
    return tag("g", median, ticks, class_=style.css_class(mark.color))


def readout(figure: Figure, across: Sequence[Axis]) -> dict[str, object]:
    """What page.js shows under the pointer: the drawn points of medians and quartiles."""
    panels = [
        {
            **{"low": x.low, "high": x.high, "log": x.log, "name": panel.x_name},
            "curves": [_readout_curve(curve) for curve in panel.curves],
            "stairs": [readout_stairs(each) for each in panel.stairs],
        }
        for panel, x in zip(figure.panels, across, strict=True)
    ]
    return {"panels": panels}


def _readout_curve(curve: Curve) -> dict[str, object]:
    fan = curve.fan
    columns = {"median": fan.median, "from": fan.quarter, "to": fan.three_quarters}
    counts = fan.counts.tolist()
    whole = np.issubdtype(fan.x.dtype, np.integer)
    return {
        "label": curve.label,
        "color": style.css_class(curve.color),
        "x": fan.x.tolist() if whole else [float(f"{x:.5g}") for x in fan.x],
        "seeds": 0 if not curve.seeds else counts[0] if len(set(counts)) == 1 else counts,
        **{name: [_short(v) for v in values] for name, values in columns.items()},
    }


def _short(value: float) -> float | None:
    return float(f"{value:.4g}") if np.isfinite(value) else None


def _label(text: str, kind: str, **where: float) -> Markup:
    place = ";".join(f"{side}:{fraction * 100:.2f}%" for side, fraction in where.items())
    return tag("span", text, class_=kind, style=place)


def _mark_label(mark: Mark, panel: Panel, x: Axis, row: int, flipped: bool) -> Markup:
    """'half right: step 315, 8 of 8 seeds' beside the line, or in the corner without one."""
    who = tag("small", f"{len(mark.each)} of {count(mark.seeds, 'seed')}")
    top, color = f"top:{2 + 30 * row}px", style.css_class(mark.color)
    if mark.median is None:
        text = f"{mark.label}: not in most seeds" if mark.each else f"{mark.label}: never"
        return tag("span", text, who, class_=f"mark never {color}", style=top)
    left = min(max(x.place(mark.median), 0.0), 1.0)
    side = "mark flip" if flipped else "mark"
    unit = "step " if panel.x_label == STEP else ""
    text = f"{mark.label}: {unit}{number(mark.median)}"
    where = f"left:{left * 100:.2f}%;{top}"
    return tag("span", text, who, class_=f"{side} {color}", style=where)


def swatch(dashes: str) -> Markup:
    """A short line as the curves are drawn, for legends."""
    stroke = tag("path", d="M0 4H22", class_="median", stroke_dasharray=dashes or None)
    return tag("svg", stroke, viewBox="0 0 22 8", width="22", height="8", aria_hidden="true")
