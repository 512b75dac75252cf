"""Colours that stand for values: one scale for the page, the files, and the bar that explains it.

From the page's paper to blue for values in one direction; from orange over paper to blue where
values lie on both sides of something. Points, which paper would hide, begin at grey instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from saltus.errors import SaltusError
from saltus.report import style
from saltus.report.markup import Markup, tag
from saltus.report.text import number

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

NEARLY = 0.02  # of the largest: a smallest value below begins the scale at zero
STRONG = 0.55  # of the way to the full colour: from here on text upon it needs the paper's colour


@dataclass(frozen=True)
class Shade:
    """The way from values to colours. Diverging ones are as far from `center` at both ends."""

    low: float
    high: float
    diverging: bool = False
    log: bool = False

    @property
    def center(self) -> float:
        """What has no colour."""
        return (self.low + self.high) / 2 if self.diverging else self.low

    def places(self, values: Float[ndarray, "*shape"]) -> Float[ndarray, "*shape"]:
        """0 (no colour) … 1 (blue), from -1 (orange) if diverging; nan stays, the rest is cut."""
        given = np.asarray(values, dtype=np.float64)
        low, high = self.low, self.high
        if self.log:
            with np.errstate(divide="ignore", invalid="ignore"):
                given = np.log(np.where(given < 0, 0.0, given))
            low, high = np.log(low), np.log(high)
        if self.diverging:
            return np.clip((given - self.center) / ((high - low) / 2), -1, 1)
        return np.clip((given - low) / (high - low), 0, 1)

    @property
    def ends(self) -> list[float]:
        """The values that the bar names."""
        return [self.low, self.center, self.high] if self.diverging else [self.low, self.high]


def shade_of(
    values: Sequence[Float[ndarray, "..."]],
    *,
    diverging: bool = False,
    center: float = 0.0,
    log: bool = False,
    span: tuple[float, float] | None = None,
) -> Shade:
    """One scale for all of these values: from the smallest to the largest, or over `span`.

    Raises SaltusError for a logarithmic scale that diverges, or begins at zero.
    """
    if log and diverging:
        raise SaltusError("colours: a scale that diverges cannot be logarithmic; choose one")
    every = np.concatenate([np.ravel(each) for each in values] or [np.empty(0)])
    every = every[np.isfinite(every) & ((every > 0) | (not log))]
    low, high = span or ((float(every.min()), float(every.max())) if len(every) else (0.0, 1.0))
    if log and low <= 0:
        raise SaltusError(f"colours: a logarithmic scale from {low:g} is not allowed: above 0")
    if diverging:
        reach = max(abs(low - center), abs(high - center)) or 1.0
        return Shade(center - reach, center + reach, diverging=True)
    if not log and span is None and 0 < low < NEARLY * high:
        low = 0.0
    if not high > low:
        low, high = (low / 2, low * 2) if log else (low - 0.5, low + 0.5)
    return Shade(low, high, log=log)


def css(place: float) -> str:
    """The inline style of an element that page CSS colours by a place on a scale."""
    hue = "positive" if place >= 0 else "negative"
    return f"--v:{100 * abs(place):.1f}%;--hue:var(--{hue})"


def draw_bar(shade: Shade, unit: str = "", kind: str = "") -> Markup:
    """What the colours mean: a bar with the values of its ends."""
    first, last = number(shade.low, 3), number(shade.high, 3)
    note = f"{unit}, logarithmic" if unit and shade.log else "logarithmic" if shade.log else unit
    side = "both" if shade.diverging else "one"
    return tag(
        "div",
        tag("span", first),
        tag("i", class_=f"{side} {kind}".strip()),
        tag("span", last),
        tag("span", f"{number(shade.center, 3)} in the middle") if shade.diverging else None,
        tag("span", note, class_="unit") if note else None,
        class_="shade-bar",
    )


def colormap(diverging: bool, points: bool = False) -> Colormap:
    """The same colours for matplotlib, on white paper."""
    from matplotlib.colors import LinearSegmentedColormap

    blank = style.MIDDLE if points else "#ffffff"
    ends = [style.NEGATIVE, blank, style.POSITIVE] if diverging else [blank, style.POSITIVE]
    return LinearSegmentedColormap.from_list("values", ends)
