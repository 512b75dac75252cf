"""The noise of labelled curves. `deviation` is always the standard deviation of one point.

white           normal
autocorrelated  n[i] = p n[i-1] + sqrt(1 - p^2) e[i], e normal, 0.3 <= p < 0.9
heavy-tailed    Student's t with 2.5 to 5 degrees of freedom, scaled to the deviation
proportional    normal, times the level of the curve over the level of its first plateau
calming         normal, and by a factor of 0.1 to 0.5 smaller after the first leap, in step
                with it
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from jaxtyping import Float

from saltus.transitions.dropbench.shapes import Draw

LAWS = ("white", "autocorrelated", "heavy-tailed", "proportional", "calming")


def noise(
    draw: Draw, law: str, deviation: float, scale: Float[np.ndarray, " step"]
) -> Float[np.ndarray, " step"]:
    """One stretch of noise; `scale` multiplies the deviation at each point (see `scale_of`)."""
    length = len(scale)
    if law == "heavy-tailed":
        freedom = draw.uniform(2.5, 5)
        unit = draw.generator.standard_t(freedom, length) * sqrt((freedom - 2) / freedom)
    elif law == "autocorrelated":
        unit = _autocorrelated(draw.generator.standard_normal(length), draw.uniform(0.3, 0.9))
    else:
        unit = draw.generator.standard_normal(length)
    return deviation * scale * unit


def scale_of(
    draw: Draw,
    law: str,
    clean: Float[np.ndarray, " step"],
    level: float,
    way: Float[np.ndarray, " step"],
) -> Float[np.ndarray, " step"]:
    """How the deviation changes along a curve; `level` of its plateau, `way` of its leap."""
    if law == "proportional":
        return np.abs(clean) / abs(level)
    if law == "calming":
        return 1 - (1 - draw.uniform(0.1, 0.5)) * way
    return np.ones(len(clean))


def _autocorrelated(shocks: Float[np.ndarray, " step"], keep: float) -> Float[np.ndarray, " step"]:
    found = shocks.copy()  # the first point has the stationary law already
    fresh = sqrt(1 - keep * keep)
    for index in range(1, len(shocks)):
        found[index] = keep * found[index - 1] + fresh * shocks[index]
    return found
