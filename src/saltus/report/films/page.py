"""Films on the page: one slider for all maps and scatters; film.js draws the frames.

Maps travel as one byte per value, points as two per coordinate, in base64.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, UInt8, UInt16
from numpy import ndarray

from saltus.report.axes import Axis, value_axis, x_axis
from saltus.report.figure import Panel
from saltus.report.films.record import Cloud, Film, Maps, Take, Track
from saltus.report.markup import Markup, data_script, tag
from saltus.report.scatters.page import draw_panel as draw_scatter
from saltus.report.scatters.page import key
from saltus.report.scatters.record import Scatters
from saltus.report.style import css_class
from saltus.report.svg import draw_legend, room_for
from saltus.report.svg import draw_panel as draw_loss
from saltus.report.text import number

LOSS = 130  # pixels: the height of the loss
FINE = 65_535  # of the length of an axis to which points are kept
MANY = 8  # cards; more of them are drawn smaller
CLOUD = 300  # pixels


def draw_film(film: Film) -> Markup:
    """The film as an HTML element; one frame of one take needs no slider."""
    shown = film.takes[0]
    cards = [card for place, track in enumerate(shown.tracks) for card in draw_cards(track, place)]
    small = " many" if len(cards) > MANY else ""
    moving = len(film.takes) > 1 or len(shown.steps) > 1
    clouds = [track.frames for track in shown.tracks if isinstance(track, Cloud)]
    losses = draw_losses(film)
    return tag(
        "figure",
        draw_controls(film) if moving else None,
        tag("div", losses, class_="film-loss") if losses else None,
        tag("div", cards, class_=f"maps{small}") if cards else None,
        tag("div", [draw_cloud(frames) for frames in clouds], class_="clouds") if clouds else None,
        tag("figcaption", film.caption),
        tag("noscript", "The frames are drawn by a script in this page, which is switched off."),
        data_script({"takes": [take_data(each) for each in film.takes]}, "film"),
        class_="films",
        aria_label=film.title,
    )


def draw_controls(film: Film) -> Markup:
    """Play, the slider, where one is, and whose film it is."""
    steps = film.takes[0].steps
    names = [each.name for each in film.takes]
    choice = tag("select", [tag("option", name, value=i) for i, name in enumerate(names)],
                 class_="view", aria_label="which seeds")  # fmt: skip
    last = len(steps) - 1
    slider = tag("input", type="range", min=0, max=last, value=last, step=1,
                 class_="steps", aria_label="training step")  # fmt: skip
    return tag(
        "div",
        tag("button", "Play", type="button", class_="play"),
        slider,
        tag("output", f"step {steps[-1]:,}", class_="step"),
        choice if len(names) > 1 else tag("span", names[0], class_="view-name"),
        class_="controls",
    )


def draw_cards(track: Track, place: int) -> list[Markup]:
    """A canvas for each head of a layer; none for a scatter."""
    if not isinstance(track, Maps):
        return []
    heads = track.values.shape[1]
    names = [f"{track.layer}, head {head}" if heads > 1 else track.layer for head in range(heads)]
    return [draw_card(track.of, name, place, head) for head, name in enumerate(names)]


def draw_card(of: str, where: str, track: int, head: int) -> Markup:
    """A canvas below its name; film.js draws a map of a track on it."""
    canvas = tag("canvas", width=10, height=10, data_track=track, data_head=head, role="img",
                 tabindex="0", aria_label=f"{where}, {of}")  # fmt: skip
    heading = tag("div", tag("b", of), " ", tag("span", where), class_="map-head")
    return tag("div", heading, canvas, tag("div", class_="map-foot"), class_="map")


def draw_cloud(frames: Scatters) -> Markup:
    """A scatter as it is in the last frame, with what its colours are."""
    last = replace(frames.panels[-1], title="")
    panel = draw_scatter(replace(frames, panels=(*frames.panels[:-1], last)), -1, CLOUD)
    named = tag("div", frames.title, class_="cloud-title") if frames.title else None
    return tag("div", named, key(frames), tag("div", panel, class_="panels n1"), class_="cloud")


def draw_losses(film: Film) -> list[Markup]:
    """The loss of every take, once where several share it; only the first is seen at the start."""
    owners: dict[int, list[int]] = {}
    for place, each in enumerate(film.takes):
        if each.loss is not None:
            owners.setdefault(id(each.loss), []).append(place)
    return [draw_take_loss(film.takes[places[0]].loss, places) for places in owners.values()]


def draw_take_loss(loss: Panel | None, takes: Sequence[int]) -> Markup:
    """A small pair of axes on which film.js marks the frame."""
    assert loss is not None
    y = value_axis([loss])
    left = room_for([text for _, text in y.labels()])
    panel = draw_loss(loss, x_axis([loss]), y, LOSS, left)
    return tag("div", draw_legend([loss]), tag("div", panel, class_="panels n1"),
               data_takes=" ".join(map(str, takes)), hidden=0 not in takes)  # fmt: skip


def take_data(each: Take) -> dict[str, object]:
    """What film.js needs of a take."""
    steps = np.array(each.steps)
    along = None
    if each.loss is not None:
        x = each.clock.at(steps) if each.clock else steps
        along = [round(float(place), 5) for place in x_axis([each.loss]).places(x)]
    return {
        "name": each.name,
        "steps": list(each.steps),
        "along": along,
        "tracks": [track_data(track) for track in each.tracks],
    }


def track_data(track: Track) -> dict[str, object]:
    """A track as bytes."""
    if isinstance(track, Maps):
        needed = [] if track.outlined is None else np.argwhere(track.outlined).tolist()
        return {
            "kind": "maps",
            "steps": track.steps.tolist(),
            "of": track.of,
            "axes": track.axes,
            "shape": list(track.values.shape[1:]),
            "codes": in_base64(map_codes(track.shade.places(track.values), track.signed)),
            "ends": [float(f"{end:.4g}") for end in track.shade.ends],
            "needed": needed,
        }
    panels, (x, y) = track.frames.panels, track.frames.axes[-1]
    codes = [cloud_codes(each.points, x, y) for each in panels]
    return {
        "kind": "cloud",
        "steps": track.steps.tolist(),
        "points": len(panels[0].points),
        "codes": in_base64(np.stack(codes)),
        "frame": [x.low, x.high, y.low, y.high],
        "names": [[name, *said] for name, said in zip(panels[-1].names, _said(track), strict=True)],
    }


def map_codes(places: Float[ndarray, "*shape"], signed: bool) -> UInt8[ndarray, "*shape"]:
    """Places on a scale of colours: a byte b stands for (b - 128) / 127 where they are signed,
    for (b - 1) / 254 otherwise; 0: no value."""
    shares = np.nan_to_num(places)
    codes = shares * 127 + 128 if signed else shares * 254 + 1
    return np.where(np.isnan(places), 0, codes.round()).astype(np.uint8)


def cloud_codes(points: Float[ndarray, "point 2"], x: Axis, y: Axis) -> UInt16[ndarray, "point 2"]:
    """Fractions of the axes from the left and from the top; FINE: not finite, and not drawn."""
    across, down = x.places(points[:, 0]), 1 - y.places(points[:, 1])
    places = np.stack([across, down], axis=1)
    known = np.isfinite(places).all(axis=1, keepdims=True)
    coded = (np.clip(np.nan_to_num(places), 0, 1) * (FINE - 1)).round()
    return np.where(known, coded, FINE).astype("<u2")


def _said(track: Cloud) -> list[tuple[str, str, str]]:
    """Kind, class of its colour, and value of every point."""
    panel, colors = track.frames.panels[-1], track.frames.legend
    size = len(panel.points)
    kinds = panel.kinds or ("",) * size
    values = [""] * size if panel.values is None else [number(v) for v in panel.values.tolist()]
    return [
        (kind, css_class(colors[kind]) if kind else "", value)
        for kind, value in zip(kinds, values, strict=True)
    ]


def in_base64(codes: ndarray) -> str:
    """Bytes as text."""
    return base64.b64encode(codes.tobytes()).decode("ascii")
