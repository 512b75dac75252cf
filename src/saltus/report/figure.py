"""A figure as data: what is shown, before anybody decides how it is drawn.

A figure is defined once, by these records. `svg.py` draws it into the page and `publication.py`
into a file for a paper; both read the same numbers, and neither computes one. Other kinds of
figures have records of their own (`kinds.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, Real
from numpy import ndarray

from saltus.report.fan import Fan

STEP = "training step"


@dataclass(frozen=True)
class Line:
    """One seed's own curve; non-finite values are gaps."""

    x: Real[ndarray, " point"]
    y: Float[ndarray, " point"]


@dataclass(frozen=True)
class Curve:
    """One group of seeds: its fan, thinned, and some of its seeds."""

    label: str
    color: int  # place in the palette; the same arm has the same colour in every panel
    fan: Fan
    lines: tuple[Line, ...]
    seeds: int  # 0: a curve without seeds, such as a solution in closed form
    broken: int = 0  # seeds with a value that is not finite
    dots: bool = False  # every point is a measurement of its own: drawn as dots on the line

    def positive(self) -> Curve:
        """Without the points that a logarithmic x axis cannot show."""
        lines = (Line(line.x[line.x > 0], line.y[line.x > 0]) for line in self.lines)
        fan = self.fan.at(np.flatnonzero(self.fan.x > 0))
        return replace(self, fan=fan, lines=tuple(lines))


@dataclass(frozen=True)
class Stairs:
    """A share of seeds that changes where something happens to one of them, with its band.

    Right-continuous: a share holds from its x up to the next one, the last one up to `end`.
    """

    label: str
    color: int  # place in the palette, as a curve's
    x: Float[ndarray, " step"]  # ascending; the first is 0, where the share is 1
    share: Float[ndarray, " step"]
    low: Float[ndarray, " step"]  # of the interval at `confidence`
    high: Float[ndarray, " step"]
    times: Float[ndarray, " seed"]  # ascending: of every seed, happened or not
    unfinished: Float[ndarray, " some"]  # those of them at which a seed ended without it
    confidence: float = 0.95

    @property
    def seeds(self) -> int:
        return len(self.times)

    @property
    def end(self) -> float:
        """The last x of which something is known."""
        return float(self.times[-1]) if self.seeds else 0.0

    def at_risk(self, x: Sequence[float]) -> Int[ndarray, " place"]:
        """How many seeds were still followed, and had not come to it, just before each x."""
        return self.seeds - np.searchsorted(self.times, np.asarray(x, dtype=float), side="left")

    def at(self, x: Float[ndarray, " place"]) -> Float[ndarray, " place"]:
        """The share at each x."""
        return self.share[np.searchsorted(self.x, x, side="right") - 1]

    def corners(
        self, values: Float[ndarray, " step"], low: float
    ) -> tuple[Float[ndarray, " corner"], Float[ndarray, " corner"]]:
        """The points of the stairs that `values` make, from x = `low` (or the start) to the end."""
        edges = np.maximum(np.append(self.x, self.end), max(low, float(self.x[0])))
        return np.repeat(edges, 2)[1:-1], np.repeat(values, 2)


@dataclass(frozen=True)
class Level:
    """A closed form to compare with: a labelled dashed line across the panel."""

    label: str
    value: float


@dataclass(frozen=True)
class Reference:
    """A curve to compare with, dashed and without a band: a limit, a slope, another solution.

    It has the colour of the curve that it belongs to, or none (None: the text's).
    """

    label: str
    x: Real[ndarray, " point"]
    y: Float[ndarray, " point"]
    color: int | None = None

    def positive(self) -> Reference:
        """Without the points that a logarithmic x axis cannot show."""
        return replace(self, x=self.x[self.x > 0], y=self.y[self.x > 0])


@dataclass(frozen=True)
class Mark:
    """Where something happened on x: each seed's place, and their median (None: beyond the end).

    It has the colour of the curve that it belongs to, or none (None: the text's).
    """

    label: str
    color: int | None
    median: float | None
    each: tuple[float, ...]
    seeds: int  # of which `each` are those to which it happened
    span: tuple[float, float] | None = None  # from its median beginning to its median end: shaded


@dataclass(frozen=True)
class Panel:
    """One pair of axes. A logarithmic x axis leaves out the points that are not positive."""

    title: str
    name: str  # of the series, as `run.series(name)` takes it; the title where there is none
    unit: str
    curves: tuple[Curve, ...]
    levels: tuple[Level, ...] = ()
    marks: tuple[Mark, ...] = ()
    log: bool = False
    references: tuple[Reference, ...] = ()
    x_label: str = STEP
    x_log: bool = False
    stairs: tuple[Stairs, ...] = ()

    def __post_init__(self) -> None:
        if self.x_log:  # here, so that no way of drawing can forget it
            object.__setattr__(self, "curves", tuple(each.positive() for each in self.curves))
            references = tuple(each.positive() for each in self.references)
            object.__setattr__(self, "references", references)

    @property
    def x_name(self) -> str:
        """What stands before a number of x: 'step 315', 'time τ 12.9'."""
        return "step" if self.x_label == STEP else self.x_label

    @property
    def legend(self) -> dict[str, int]:
        """Label → colour of every curve, in their order."""
        return {each.label: each.color for each in (*self.curves, *self.stairs)}


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
        return {label: color for panel in self.panels for label, color in panel.legend.items()}

    @property
    def one_legend(self) -> bool:
        """Whether one legend serves all panels: no colour, and no label, has two meanings."""
        pairs = {pair for panel in self.panels for pair in panel.legend.items()}
        labels, colors = {label for label, _ in pairs}, {color for _, color in pairs}
        return len(pairs) == len(labels) == len(colors)


def reference_colors(panels: Sequence[Panel]) -> dict[str, int | None]:
    """Label → colour of every reference; None where it has several, or none."""
    found: dict[str, set[int | None]] = {}
    for panel in panels:
        for each in panel.references:
            found.setdefault(each.label, set()).add(each.color)
    return {label: next(iter(colors)) if len(colors) == 1 else None
            for label, colors in found.items()}  # fmt: skip
