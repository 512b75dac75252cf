"""Films as data: what changes from step to step, and the loss that says where one is.

A film has one or more takes (single seeds, or the mean over seeds), of which the page shows one at
a time; every take shows the same things, at steps of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int, Real
from numpy import ndarray

from saltus.errors import SaltusError
from saltus.report.clock import Clock
from saltus.report.figure import Panel
from saltus.report.scatters.record import Scatters
from saltus.report.shades import Shade

CLIP = 0.995  # share of all values that the colours resolve; single huge ones would pale the rest


@dataclass(frozen=True)
class Maps:
    """The maps of all heads of one layer; nan: no value."""

    of: str  # whose: an arm, a seed
    layer: str
    steps: Int[ndarray, " step"]
    values: Float[ndarray, "step head row column"]
    outlined: Bool[ndarray, "row column"] | None = None  # of every frame
    axes: tuple[str, str] = ("query", "key")
    # (place among the steps, its name) of those that stand on paper; (): evenly spread
    moments: tuple[tuple[int, str], ...] = ()

    @property
    def label(self) -> str:
        """What is the same in every take."""
        return f"{self.layer}, {self.values.shape[1]} maps of {self.values.shape[2:]}"

    @cached_property
    def scale(self) -> float:
        """What the colours span: 0 to it, or from its negative."""
        sizes = np.abs(self.values[np.isfinite(self.values)])
        if not len(sizes):
            return 1.0
        return float(np.quantile(sizes, CLIP)) or float(sizes.max()) or 1.0

    @cached_property
    def signed(self) -> bool:
        """Whether there are negative values, as linear attention has."""
        return bool(np.nanmin(self.values, initial=0.0) < -1e-6)

    @property
    def shade(self) -> Shade:
        """The colours: of all heads and steps alike."""
        return Shade(-self.scale if self.signed else 0.0, self.scale, self.signed)


@dataclass(frozen=True)
class Cloud:
    """A scatter that moves: `frames` has one panel for each step, of the same points."""

    steps: Int[ndarray, " step"]
    frames: Scatters

    def __post_init__(self) -> None:
        sizes = {len(panel.points) for panel in self.frames.panels}
        if len(self.frames.panels) != len(self.steps) or len(sizes) != 1:
            raise SaltusError(
                f"film of '{self.frames.title}': {len(self.steps)} steps need as many panels of "
                f"equally many points; given: {len(self.frames.panels)} of {sorted(sizes)}"
            )
        if not self.frames.shared:
            raise SaltusError(f"film of '{self.frames.title}': its frames must share their axes")

    @property
    def label(self) -> str:
        """What is the same in every take."""
        return f"{self.frames.title}, {len(self.frames.panels[0].points)} points"


Track = Maps | Cloud


@dataclass(frozen=True)
class Take:
    """What one seed, or the mean of several, went through."""

    name: str  # 'seed 3'
    tracks: tuple[Track, ...]
    loss: Panel | None = None
    clock: Clock | None = None  # what the loss is drawn over; None: steps

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps of all tracks together: the frames."""
        return tuple(sorted({int(step) for track in self.tracks for step in track.steps}))


@dataclass(frozen=True)
class Film:
    """Takes under one caption, which says what they are of."""

    title: str
    takes: tuple[Take, ...]
    caption: str

    def __post_init__(self) -> None:
        shown = [[track.label for track in each.tracks] for each in self.takes]
        if not shown or not shown[0] or any(labels != shown[0] for labels in shown):
            raise SaltusError(f"film '{self.title}': every take must show the same: {shown}")
        if not all(each.steps for each in self.takes):
            raise SaltusError(f"film '{self.title}': a take without frames")


def take(
    name: str,
    maps: Iterable[tuple[str, Real[ndarray, " step"], Real[ndarray, "step head row column"]]] = (),
    clouds: Iterable[tuple[Real[ndarray, " step"], Scatters]] = (),
    *,
    loss: Panel | None = None,
    of: str | None = None,
    axes: tuple[str, str] = ("query", "key"),
) -> Take:
    """One seed's film: maps as (layer, steps, values), scatters as (steps, a panel per step)."""
    tracks: list[Track] = [
        Maps(of or name, layer, np.asarray(steps, dtype=np.int64),
             np.asarray(values, dtype=np.float64), axes=axes)
        for layer, steps, values in maps
    ]  # fmt: skip
    tracks += [Cloud(np.asarray(steps, dtype=np.int64), frames) for steps, frames in clouds]
    return Take(name, tuple(tracks), loss)


def film(title: str, takes: Sequence[Take], *notes: str) -> Film:
    """Takes under one title, with the caption that they need, and the notes after it."""
    text = f"Frames of {names(takes)}: single models, without a band."
    return Film(title, tuple(takes), " ".join([text, *remarks(takes), *notes]))


def names(takes: Sequence[Take]) -> str:
    """'seed 0', or the takes among which one chooses: 'seed 0, seed 1 or seed 2'."""
    *others, last = (each.name for each in takes)
    return f"{', '.join(others)} or {last}" if others else last


def remarks(takes: Sequence[Take]) -> list[str]:
    """How to read the frames, and how exact the film is."""
    tracks = [track for each in takes for track in each.tracks]
    maps = [track for track in tracks if isinstance(track, Maps)]
    said = []
    if maps:
        row, column = maps[0].axes
        plural = {"query": "queries"}.get(row, f"{row}s"), f"{column}s"
        said.append(
            f"Rows are {plural[0]}, columns {plural[1]}. The colours of a layer mean the same at "
            "every step; what lies beyond the scale has the colour of its end."
        )
        if any(track.outlined is not None for track in maps):
            said.append(f"Outlined: the {plural[1]} that the task needs.")
        said.append("On the page values are kept to 1/127 of the scale.")
    if any(isinstance(track, Cloud) for track in tracks):
        said.append("Points have the same axes in all frames.")
    return said


def at_step(steps: Int[ndarray, " step"], step: int) -> int:
    """The place of the last of `steps` that had come by a step; the first if none had."""
    return max(int(np.searchsorted(steps, step, side="right")) - 1, 0)
