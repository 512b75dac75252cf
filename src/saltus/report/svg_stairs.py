"""Drawing survival curves into the page: stairs, their band, and the seeds still followed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saltus.report import style
from saltus.report.axes import RISK_ROWS, Axis
from saltus.report.figure import Stairs
from saltus.report.markup import Markup, tag
from saltus.report.paths import band_path, line_path, straight, units_across, units_down

TICK = 26  # half the height of the stroke where a seed ended
CHARACTER, NAME_LEAST, NAME_MOST = 7.2, 46, 116  # pixels: of the names left of these rows


def draw_stairs(stairs: Stairs, x: Axis, y: Axis, others: int = 1) -> Markup:
    """The band, the line, and a stroke across it where a seed ended without the event.

    `others`: how many stairs the panel has; the more, the paler their bands.
    """
    across, low = stairs.corners(stairs.low, x.low)
    _, high = stairs.corners(stairs.high, x.low)
    _, share = stairs.corners(stairs.share, x.low)
    places = x.places(across)
    strokes = [
        straight(px, py - TICK, px, py + TICK, "ended")
        for px, py in zip(
            units_across(x.places(stairs.unfinished)),
            units_down(y.places(stairs.at(stairs.unfinished))),
            strict=True,
        )
    ]
    line = line_path(places, y.places(share))
    shapes = [
        tag(
            "path",
            d=band_path(places, y.places(low), y.places(high)),
            class_="band interval",
            opacity=style.interval_opacity(others),
        ),
        tag("path", d=line, class_="median", stroke_dasharray=style.dash(stairs.color) or None),
    ]
    return tag("g", shapes, list(dict.fromkeys(strokes)), class_=style.css_class(stairs.color))


def draw_risk(stairs: Sequence[Stairs], x: Axis, ticks: Sequence[float]) -> Markup | None:
    """Below the axis: how many seeds were still followed at each tick. None where it is crowded."""
    if not stairs or len(stairs) > RISK_ROWS:
        return None
    rows = [
        tag(
            "div",
            tag("span", each.label, class_="risk-name", title=each.label)
            if len(stairs) > 1
            else None,
            [
                tag("span", number, class_="at-risk", style=f"left:{x.place(tick) * 100:.2f}%")
                for tick, number in zip(ticks, each.at_risk(ticks), strict=True)
            ],
            class_=f"risk-row {style.css_class(each.color)}",
        )
        for each in stairs
    ]
    return tag("div", tag("p", "seeds at risk", class_="risk-title"), rows, class_="risk")


def room_for_names(stairs: Sequence[Stairs]) -> int:
    """Pixels left of the plot for the names of the rows below it, where these have names."""
    if not 2 <= len(stairs) <= RISK_ROWS:
        return 0
    longest = max(len(each.label) for each in stairs)
    return round(min(NAME_MOST, max(NAME_LEAST, 20 + CHARACTER * longest)))


def readout_stairs(stairs: Stairs) -> dict[str, object]:
    """What page.js shows under the pointer: the share that holds there, and who is left."""
    columns = {"x": stairs.x, "share": stairs.share, "from": stairs.low, "to": stairs.high}
    return {
        "label": stairs.label,
        "color": style.css_class(stairs.color),
        "confidence": f"{100 * stairs.confidence:g} %",
        "times": [float(f"{time:.6g}") for time in stairs.times],
        **{name: [float(f"{v:.6g}") for v in np.asarray(c)] for name, c in columns.items()},
    }
