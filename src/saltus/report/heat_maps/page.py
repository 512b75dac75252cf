"""Heat maps on the page: grids of cells with their numbers where there is room for them."""

from __future__ import annotations

import numpy as np

from saltus.report.films.page import MANY, draw_card, in_base64, map_codes
from saltus.report.heat_maps.record import CONFIDENCE, HeatMap, HeatMaps
from saltus.report.markup import Markup, data_script, tag
from saltus.report.plot import CHARACTER, Spot, heading, label, names_left, room_left, spot_script
from saltus.report.shades import STRONG, Shade, css, draw_bar
from saltus.report.text import count, number, percent

CELL, WIDEST = 34, 92  # pixels: the height of a cell, and its width at most
CELLS = 441  # of a map that is drawn cell by cell, with names beside it
PHONE = 300  # pixels that a map has on a phone: names that would touch there are turned
ROOMS = (120, 180, 240, 300, 360, 440, 520, 640, 800, 1000)  # widths that figures.css knows


def draw_heat_maps(figure: HeatMaps) -> Markup:
    """The figure as an HTML element."""
    if max(each.values.size for each in figure.maps) > CELLS:
        return draw_large(figure)
    shades = figure.shades
    one = figure.shared and len(figure.maps) > 1
    panels = [
        draw_map(each, shade, None if one else draw_bar(shade, figure.unit))
        for each, shade in zip(figure.maps, shades, strict=True)
    ]
    return tag(
        "figure",
        draw_bar(shades[0], figure.unit) if one else None,
        tag("div", panels, class_=f"panels n{min(len(panels), 5)}"),
        tag("figcaption", figure.caption),
        spot_script([spots(each) for each in figure.maps]),
        class_="spotted heat-maps",
        aria_label=figure.title,
    )


def draw_large(figure: HeatMaps) -> Markup:
    """Maps of more cells than a page can carry as elements: on canvases, as films have them.

    Single heat maps have no frames, so there is no slider.
    """
    pairs = list(zip(figure.maps, figure.shades, strict=True))
    cards = [draw_card(each.title, "", place, 0) for place, each in enumerate(figure.maps)]
    tracks = [large_data(each, shade, figure.log) for each, shade in pairs]
    colors = f" Colours: {figure.unit}." if figure.unit else ""
    text = f"{figure.caption}{colors} On the page values are kept to 1/127 of the scale."
    take = {"name": "", "steps": [0], "along": None, "tracks": tracks}
    return tag(
        "figure",
        tag("div", cards, class_="maps many" if len(cards) > MANY else "maps"),
        tag("figcaption", text),
        tag("noscript", "The maps are drawn by a script in this page, which is switched off."),
        data_script({"takes": [take]}, "film"),
        class_="films",
        aria_label=figure.title,
    )


def large_data(each: HeatMap, shade: Shade, log: bool) -> dict[str, object]:
    """What film.js needs of a map."""
    outlined = [] if each.outlined is None else np.argwhere(each.outlined).tolist()
    codes = map_codes(shade.places(each.values), shade.diverging)
    return {
        "kind": "maps",
        "steps": [0],
        "of": each.title,
        "axes": [each.y_label or "row", each.x_label or "column"],
        "names": [
            None if names == tuple(map(str, range(len(names)))) else names
            for names in (each.rows, each.columns)
        ],
        "shape": [1, *each.values.shape],
        "codes": in_base64(codes),
        "ends": [float(f"{end:.4g}") for end in shade.ends],
        "log": log,
        "needed": outlined,
    }


def draw_map(each: HeatMap, shade: Shade, bar: Markup | None) -> Markup:
    """One table: names of rows at the left, of columns below."""
    rows, columns = each.values.shape
    places = shade.places(each.values)
    texts = [[each.text(row, column, 2) for column in range(columns)] for row in range(rows)]
    cells = [
        tag("div", [draw_cell(each, places, texts, row, column) for column in range(columns)],
            class_="heat-row", role="row")
        for row in range(rows)
    ]  # fmt: skip
    longest = max((len(text) for row in texts for text in row), default=0)
    needed = columns * (longest * CHARACTER + 8)
    room = next((width for width in ROOMS if width >= needed), None)
    turned = max(map(len, each.columns), default=0) * CHARACTER + 4 > PHONE / max(columns, 1)
    below = [
        label(name, "tick x turned" if turned else "tick x", left=(place + 0.5) / columns)
        for place, name in enumerate(each.columns)
    ]
    left = room_left(each.rows)
    foot = round(CHARACTER * max(map(len, each.columns), default=0)) + 8 if turned else 20
    return tag(
        "div",
        heading(each.title),
        tag(
            "div",
            tag("div", cells, class_="cells", role="table", aria_label=each.title),
            names_left(each.rows),
            below,
            class_=f"plot heat {f'need-{room}' if room else 'numberless'}",
            style=f"--height:{CELL * rows}px;max-width:{WIDEST * columns}px;margin-bottom:{foot}px",
            tabindex="0",
        ),
        tag("div", tag("div", each.x_label, class_="axis-name") if each.x_label else None, bar),
        class_="panel",
        style=f"--left:{left}px",
    )


def draw_cell(
    each: HeatMap, places: np.ndarray, texts: list[list[str]], row: int, column: int
) -> Markup:
    """One value: its colour, and its number if there is room."""
    place = float(places[row, column])
    kinds = ["cell"]
    kinds += ["none"] if np.isnan(place) else ["strong"] if abs(place) > STRONG else []
    kinds += ["outlined"] if each.outlined is not None and each.outlined[row, column] else []
    colored = None if np.isnan(place) else css(place)
    text = tag("span", texts[row][column])
    return tag("div", text, class_=" ".join(kinds), style=colored, role="cell")


def spots(each: HeatMap) -> list[Spot]:
    """What is read out of every cell, row by row."""
    rows, columns = each.values.shape
    found = []
    for row in range(rows):
        for column in range(columns):
            x_name = f"{each.x_label} {each.columns[column]}".strip()
            more = interval_text(each, row, column)
            line = ("", "", each.text(row, column), more)
            head = f"{each.rows[row]}, {x_name}"
            found.append(Spot((column + 0.5) / columns, (row + 0.5) / rows, head, [line]))
    return found


def interval_text(each: HeatMap, row: int, column: int) -> str:
    """'95 %: 0.1 to 0.3, 8 seeds', as far as it is known."""
    seeds = count(each.seeds_at(row, column), "seed")
    if each.low is None or each.high is None:
        return seeds if each.seeds else "computed"
    low, high = float(each.low[row, column]), float(each.high[row, column])
    if np.isfinite(low) and high == np.inf and low > 0:
        return f"{percent(CONFIDENCE)}: {number(low)} or more, {seeds}"
    if not (np.isfinite(low) and np.isfinite(high)):
        return f"too few of {seeds} for an interval"
    ends = f"{number(low)} to {number(high)}"
    return f"{percent(CONFIDENCE)}: {ends}, {seeds}"
