"""A film on paper: a few frames side by side, a row for every map and every scatter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from saltus.report.films.record import Cloud, Film, Maps
from saltus.report.scatters.record import Scatters
from saltus.report.shades import Shade

ROWS = 8  # in one strip; more make more strips
FRAMES = 6  # of a row, where nobody chose them


@dataclass(frozen=True)
class Tile:
    """One map at one step."""

    title: str
    values: Float[ndarray, "row column"]


@dataclass(frozen=True)
class MapRow:
    """One head of one layer over training, on one scale of colours."""

    label: str
    tiles: tuple[Tile, ...]
    shade: Shade
    outlined: Bool[ndarray, "row column"] | None


@dataclass(frozen=True)
class CloudRow:
    """A scatter over training: the panels of some of its frames."""

    label: str
    frames: Scatters

    @property
    def tiles(self) -> tuple[object, ...]:
        """What stands side by side."""
        return self.frames.panels


Row = MapRow | CloudRow


@dataclass(frozen=True)
class Strip:
    """Rows of frames with one caption."""

    title: str
    rows: tuple[Row, ...]
    caption: str


def strips(film: Film) -> list[Strip]:
    """The first take of a film, of its maps at their moments: as many strips as its rows need."""
    shown = film.takes[0]
    rows: list[Row] = []
    for track in shown.tracks:
        rows += map_rows(track) if isinstance(track, Maps) else [cloud_row(track)]
    parts = [tuple(rows[at : at + ROWS]) for at in range(0, len(rows), ROWS)]
    more = [f" {n} of {len(parts)}" if len(parts) > 1 else "" for n in range(1, len(parts) + 1)]
    said = f" Shown: {shown.name}." if len(film.takes) > 1 else ""
    return [
        Strip(f"{film.title}{part}", some, f"{film.caption}{said}")
        for part, some in zip(more, parts, strict=True)
    ]


def map_rows(track: Maps) -> list[MapRow]:
    """A row for each head."""
    heads = track.values.shape[1]
    return [
        MapRow(
            f"{track.of}\n" + (f"{track.layer}, head {head}" if heads > 1 else track.layer),
            tuple(
                Tile(titled(int(track.steps[place]), name), track.values[place, head])
                for place, name in moments(track)
            ),
            track.shade,
            track.outlined,
        )
        for head in range(heads)
    ]


def cloud_row(track: Cloud) -> CloudRow:
    """The scatter at some of its steps."""
    panels = tuple(
        replace(track.frames.panels[place], title=titled(int(track.steps[place]), name))
        for place, name in moments(track)
    )
    return CloudRow(track.frames.title, replace(track.frames, panels=panels))


def moments(track: Maps | Cloud) -> Sequence[tuple[int, str]]:
    """Places among the steps, and their names if they have any."""
    if isinstance(track, Maps) and track.moments:
        return track.moments
    last = len(track.steps) - 1
    places = np.linspace(0, last, min(FRAMES, last + 1)).round().astype(int)
    return [(int(place), "") for place in np.unique(places)]


def titled(step: int, name: str) -> str:
    """'before: step 1,200'."""
    return ": ".join(filter(None, (name, f"step {step:,}")))
