"""Scatters on the page: dots in a stretched box, labels in HTML."""

from __future__ import annotations

from math import isfinite

import numpy as np

from saltus.report import style
from saltus.report.axes import Axis
from saltus.report.markup import Markup, tag
from saltus.report.paths import HIGH, WIDE
from saltus.report.plot import Spot, grid, heading, label, legend, picture, spot_script
from saltus.report.scatters.record import Scatter, Scatters
from saltus.report.shades import css, draw_bar
from saltus.report.svg import room_for
from saltus.report.text import number

TICKS = 4
HEIGHTS = {1: 400, 2: 340}  # pixels, by the number of panels side by side
HEIGHT = 260


def draw_scatters(figure: Scatters) -> Markup:
    """The figure as an HTML element."""
    height = HEIGHTS.get(len(figure.panels), HEIGHT)
    panels = [draw_panel(figure, place, height) for place in range(len(figure.panels))]
    return tag(
        "figure",
        key(figure),
        tag("div", panels, class_=f"panels n{min(len(panels), 5)}"),
        tag("figcaption", figure.caption),
        spot_script([spots(each, *figure.axes[n]) for n, each in enumerate(figure.panels)]),
        class_="spotted scatters",
        aria_label=figure.title,
    )


def key(figure: Scatters) -> Markup | None:
    """What the colours are: kinds, or a bar of values; None where they say nothing."""
    if figure.shade is None:
        return legend(figure.legend)
    return draw_bar(figure.shade, figure.unit, "points")


def draw_panel(figure: Scatters, place: int, height: int) -> Markup:
    """One pair of axes with its dots."""
    panel, (x, y) = figure.panels[place], figure.axes[place]
    left = max(room_for([text for _, text in y.labels()]), 38)
    said = f"{panel.title}: {len(panel.points)} points"
    labels = [
        [label(text, "tick y", top=1 - y.place(v)) for v, text in y.labels()],
        [label(text, "tick x", left=x.place(v)) for v, text in x.labels(TICKS)],
    ]
    drawing = picture([grid(x, y, TICKS), dots(figure, panel, x, y)], said)
    plot = tag("div", drawing, labels, class_="plot", style=f"--height:{height}px", tabindex="0")
    across = tag("div", panel.x_label, class_="axis-name")
    head = heading(panel.title, f"upwards: {panel.y_label}" if panel.y_label else "")
    return tag("div", head, plot, tag("div", across), class_="panel", style=f"--left:{left}px")


def dots(figure: Scatters, panel: Scatter, x: Axis, y: Axis) -> list[Markup]:
    """A dot for every point, in their order; one that is not finite has no place."""
    known = np.isfinite(panel.points.sum(axis=1))
    across = np.where(known, x.places(panel.points[:, 0]), 0.0)
    down = np.where(known, 1 - y.places(panel.points[:, 1]), 0.0)
    shares = None
    if panel.values is not None and figure.shade is not None:
        shares = figure.shade.places(panel.values)
    found = []
    for n in range(len(panel.points)):
        path = f"M{round(across[n] * WIDE)} {round(down[n] * HIGH)}l0 0"
        if shares is not None:
            share = float(shares[n])
            kind = "dots valued" if isfinite(share) else "dots ink"
            colored = css(share) if isfinite(share) else None
        else:
            place = figure.legend[panel.kinds[n]] if panel.kinds else 0
            kind, colored = f"dots {style.css_class(place)}", None
        hidden = None if known[n] else "hidden"
        found.append(tag("path", d=path, class_=kind, style=colored, visibility=hidden))
    return found


def spots(panel: Scatter, x: Axis, y: Axis) -> list[Spot]:
    """What is read out of every point that has a place."""
    found = []
    for n, (px, py) in enumerate(panel.points):
        if not np.isfinite(px + py):
            continue
        kind = panel.kinds[n] if panel.kinds else ""
        value = "" if panel.values is None else number(float(panel.values[n]))
        where = f"at {number(float(px), 3)}, {number(float(py), 3)}"
        line = (kind, "", value, where)
        found.append(Spot(x.place(float(px)), 1 - y.place(float(py)), panel.names[n], [line]))
    return found
