"""A figure as data: what is shown, before anybody decides how it is drawn.

A figure is defined once, by these records. `svg.py` draws it into the page and `publication.py`
into a file for a paper; both read the same numbers, and neither computes one.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from numpy import ndarray

from saltus.report.fan import Fan


@dataclass(frozen=True)
class Line:
    """One seed's own curve; non-finite values are gaps."""

    steps: Int[ndarray, " point"]
    values: Float[ndarray, " point"]


@dataclass(frozen=True)
class Curve:
    """One group of seeds: its fan, thinned, and some of its seeds."""

    label: str
    color: int  # place in the palette; the same arm has the same colour in every panel
    fan: Fan
    lines: tuple[Line, ...]
    seeds: int
    broken: int = 0  # seeds with a value that is not finite


@dataclass(frozen=True)
class Level:
    """A closed form to compare with: a labelled dashed line across the panel."""

    label: str
    value: float


@dataclass(frozen=True)
class Mark:
    """Steps at which something happened: each seed's, and their median (None: beyond the end)."""

    label: str
    color: int
    median: float | None
    each: tuple[float, ...]
    seeds: int  # of which `each` are those to which it happened


@dataclass(frozen=True)
class Panel:
    """One pair of axes over training steps."""

    title: str
    name: str  # of the series, as `run.series(name)` takes it
    unit: str
    curves: tuple[Curve, ...]
    levels: tuple[Level, ...] = ()
    marks: tuple[Mark, ...] = ()
    log: bool = False


@dataclass(frozen=True)
class Figure:
    """Panels with one caption, which says how many seeds there are and what the bands are."""

    title: str
    panels: tuple[Panel, ...]
    caption: str
    shared: bool = False  # one vertical range for all panels

    @property
    def legend(self) -> dict[str, int]:
        """Label → colour of every curve, in the order in which they first appear."""
        return {curve.label: curve.color for panel in self.panels for curve in panel.curves}
