"""Scatters as data: points with a colour for their kind or for their value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Real
from numpy import ndarray

from saltus.errors import SaltusError
from saltus.report import style
from saltus.report.axes import Axis
from saltus.report.shades import Shade, shade_of

AIR = 0.06  # of the length of an axis, left free at both ends


@dataclass(frozen=True)
class Scatter:
    """One pair of axes. Points have kinds, or values, or neither; one of them that is not finite
    is left out."""

    title: str
    points: Float[ndarray, "point 2"]
    names: tuple[str, ...]  # of every point, for the readout
    kinds: tuple[str, ...] = ()  # one per point
    values: Float[ndarray, " given"] | None = None  # one per point
    x_label: str = ""
    y_label: str = ""

    def __post_init__(self) -> None:
        given = {"names": self.names, "kinds": self.kinds, "values": self.values}
        for name, each in given.items():
            size = len(self.points) if each is None else len(each)
            if size != len(self.points) and (size or name == "names"):
                raise SaltusError(
                    f"scatter '{self.title}': {size} {name} for {len(self.points)} points"
                )


@dataclass(frozen=True)
class Scatters:
    """Panels side by side. `shared`: one pair of ranges for all, else each has its own."""

    title: str
    panels: tuple[Scatter, ...]
    caption: str
    unit: str = ""  # of the values
    diverging: bool = False
    shared: bool = True

    def __post_init__(self) -> None:
        if len(self.legend) > len(style.LIGHT):
            raise SaltusError(
                f"scatter '{self.title}': {len(self.legend)} kinds of points; at most "
                f"{len(style.LIGHT)} have a colour of their own: give values instead"
            )

    @cached_property
    def legend(self) -> dict[str, int]:
        """Kind → place in the palette, in the order in which they first appear."""
        kinds = dict.fromkeys(kind for panel in self.panels for kind in panel.kinds)
        return {kind: place for place, kind in enumerate(kinds)}

    @cached_property
    def shade(self) -> Shade | None:
        """The colours of the values of all panels; None where points have none."""
        values = [panel.values for panel in self.panels if panel.values is not None]
        return shade_of(values, diverging=self.diverging) if values else None

    @cached_property
    def axes(self) -> tuple[tuple[Axis, Axis], ...]:
        """The x and the y axis of every panel."""
        every = [panel.points for panel in self.panels]
        groups = [every] * len(every) if self.shared else [[each] for each in every]
        return tuple((_axis(group, 0), _axis(group, 1)) for group in groups)


def scatter(
    title: str,
    points: Real[ndarray, "point 2"],
    *,
    names: Sequence[object] | None = None,
    kinds: Sequence[object] = (),
    values: Real[ndarray, " given"] | None = None,
    x_label: str = "",
    y_label: str = "",
) -> Scatter:
    """Points on a plane; `names` (by default their numbers) are read out."""
    return Scatter(
        title,
        np.asarray(points, dtype=np.float64),
        tuple(map(str, range(len(points)) if names is None else names)),
        tuple(map(str, kinds)),
        None if values is None else np.asarray(values, dtype=np.float64),
        x_label,
        y_label,
    )


def scatters(
    title: str,
    panels: Sequence[Scatter],
    seed: str,
    *notes: str,
    unit: str = "",
    diverging: bool = False,
    shared: bool = True,
) -> Scatters:
    """Panels under one title. `seed` says whose points they are ('seed 0'): of one seed alone,
    since points of several seeds have no mean."""
    text = f"Points of {seed}: a single model, without a band."
    if len(panels) > 1:
        text += " All panels have the same axes." if shared else " Each panel has its own axes."
    lost = sum(int((~np.isfinite(panel.points)).any(axis=1).sum()) for panel in panels)
    text += f" Not finite and left out: {lost}." if lost else ""
    return Scatters(title, tuple(panels), " ".join([text, *notes]), unit, diverging, shared)


def _axis(groups: Sequence[Float[ndarray, "_ 2"]], which: int) -> Axis:
    values = np.concatenate([points[np.isfinite(points).all(axis=1), which] for points in groups])
    if not len(values):
        return Axis(0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    air = AIR * (high - low) if high > low else 0.5 * (abs(high) or 1.0)
    return Axis(low - air, high + air)
