"""Attention maps at a few chosen steps, as a figure for paper: before, during and after the leap.

The same bytes as the page's viewer shows (`attention.py`): the mean over seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from saltus.report.attention import Maps, View
from saltus.report.detected import Leaps
from saltus.report.text import count, listed

ROWS = 8  # of maps in one figure; more make more figures
EVENLY = 5  # steps where there is no leap to go by


@dataclass(frozen=True)
class Tile:
    """One map at one step; weights as they are."""

    title: str
    weights: Float[ndarray, "query key"]


@dataclass(frozen=True)
class Row:
    """One head of one layer of one arm, over training, on one scale of colours."""

    label: str
    tiles: tuple[Tile, ...]
    scale: float  # what the colours span: 0 to it, or from its negative
    signed: bool
    needed: Bool[ndarray, "query key"] | None  # keys that the task needs


@dataclass(frozen=True)
class MapFigure:
    """Rows of maps with one caption."""

    title: str
    rows: tuple[Row, ...]
    caption: str


def map_figures(found: Sequence[Maps], leaps: Mapping[str, Leaps | None]) -> list[MapFigure]:
    """Every head of every map at its steps. `leaps` says, by arm, when its seeds leapt."""
    rows = []
    for maps in found:
        steps = phases(maps, leaps.get(maps.arm))
        heads = maps.views[0].weights.shape[1]
        for head in range(heads):
            where = f"{maps.layer}, head {head}" if heads > 1 else maps.layer
            rows.append(_row(maps, f"{maps.arm}\n{where}", head, steps))
    parts = [tuple(rows[at : at + ROWS]) for at in range(0, len(rows), ROWS)]
    more = [f" {n} of {len(parts)}" if len(parts) > 1 else "" for n in range(1, len(parts) + 1)]
    return [
        MapFigure(f"Attention over training{part}", some, caption(found))
        for part, some in zip(more, parts, strict=True)
    ]


def phases(maps: Maps, leaps: Leaps | None) -> list[tuple[int, str]]:
    """(place among the steps of the maps, its name): start, before, during, after, end.

    Around the median over seeds of the leap; evenly spread where most seeds have none. A step that
    would come twice has its first name.
    """
    last = len(maps.steps) - 1
    middle = None if leaps is None else leaps.median_steps
    if middle is None:
        places = np.linspace(0, last, min(EVENLY, last + 1)).round().astype(int)
        return [(int(place), "") for place in places]
    onset, step, end = middle
    before = max(int(np.searchsorted(maps.steps, onset, side="right")) - 1, 0)
    during = int(np.abs(maps.steps - step).argmin())
    after = min(int(np.searchsorted(maps.steps, end)), last)
    named = {0: "start", last: "end"}
    for place, name in ((during, "during the leap"), (before, "before"), (after, "after")):
        named.setdefault(place, name)
    return sorted(named.items())


def caption(found: Sequence[Maps]) -> str:
    """Whose maps these are, and what the outline is."""
    seeds = {maps.arm: maps.seeds for maps in found}
    who = listed([f"{arm}: {count(number, 'seed')}" for arm, number in seeds.items()])
    text = (
        f"Attention weights averaged over the evaluation batch and over seeds ({who}); a mean has "
        "no band here. Rows are queries, columns keys. The colours of a row mean the same at "
        "every step."
    )
    if any(maps.needed is not None for maps in found):
        text += " Outlined: the keys that the task needs."
    return text


def _row(maps: Maps, label: str, head: int, steps: Sequence[tuple[int, str]]) -> Row:
    view = maps.views[0]
    tiles = tuple(
        Tile(
            ": ".join(filter(None, (name, f"step {maps.steps[place]:,}"))),
            weights_of(view, place, head),
        )
        for place, name in steps
    )
    return Row(label, tiles, view.scale, view.signed, maps.needed)


def weights_of(view: View, place: int, head: int) -> Float[ndarray, "query key"]:
    """One map of a view, decoded from its bytes."""
    codes = view.weights[place, head].astype(np.float64)
    return ((codes - 128) / 127 if view.signed else codes / 255) * view.scale
