"""The drop step and the plateau level, as our matrix-completion spec defines them (section 1).

The papers give no definition. Plateau level: the median of the series over 5 % to 20 % of
training. Drop step: the first step at which an exponential moving average (decay 0.99) lies below
half the plateau's height above `floor`. Never within the budget: censored, step None.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from saltus.errors import SaltusError


@dataclass(frozen=True)
class Drop:
    """One member's plateau and the leap that ends it."""

    plateau: float  # level, in the units of the series
    step: int | None  # of the drop; None where it never came
    budget: int  # last step observed: a censored drop came later than this, if at all


def drops(
    steps: Int[np.ndarray, " step"],
    values: Float[np.ndarray, "member step"],
    floor: float = 0.0,
    decay: float = 0.99,
    window: tuple[float, float] = (0.05, 0.20),
    fraction: float = 0.5,
) -> list[Drop]:
    """One `Drop` per member. `decay` is per step, whatever the spacing of the series is."""
    if len(steps) == 0:
        raise SaltusError("transitions: the series is empty")
    last = int(steps[-1])
    inside = (steps >= window[0] * last) & (steps <= window[1] * last)
    if not inside.any():
        raise SaltusError(
            f"transitions: no point of the series lies in the plateau window "
            f"{window[0]:.0%} to {window[1]:.0%} of {last} steps; read it more often"
        )
    found = []
    for series in np.asarray(values, dtype=np.float64):
        level = series[inside][np.isfinite(series[inside])]
        plateau = float(np.median(level)) if level.size else float("nan")
        threshold = floor + fraction * (plateau - floor)
        smooth = moving_average(steps, series, decay)
        # The average starts at the first value; only what follows the plateau's start can drop.
        below = (smooth < threshold) & (steps >= window[0] * last)
        step = int(steps[below.argmax()]) if below.any() else None
        found.append(Drop(plateau, step, last))
    return found


def moving_average(
    steps: Int[np.ndarray, " step"], series: Float[np.ndarray, " step"], decay: float
) -> Float[np.ndarray, " step"]:
    """Exponential moving average with `decay` per step: a gap of g steps weighs decay^g."""
    smooth = np.empty_like(series)
    smooth[0] = series[0]
    for index in range(1, len(series)):
        keep = decay ** float(steps[index] - steps[index - 1])
        smooth[index] = keep * smooth[index - 1] + (1 - keep) * series[index]
    return smooth


def first_crossing(
    steps: Int[np.ndarray, " step"],
    values: Float[np.ndarray, "member step"],
    level: float,
    above: bool = True,
) -> list[int | None]:
    """The first step at which each member is at or beyond a level; None where it never is."""
    crossed = values >= level if above else values <= level
    return [int(steps[row.argmax()]) if row.any() else None for row in crossed]
