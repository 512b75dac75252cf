"""Whether a fall is a leap, once its shape is known: proportion, significance, bend and lasting."""

from __future__ import annotations

from math import ceil, log

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from saltus.transitions.noise import MEDIAN, block_means, block_medians, block_spread, spread
from saltus.transitions.refine import Shape, noise_points_of, smoothed

CERTAIN = 8.5  # standard errors of a level, once the shape of a fall is known
WHITE = 1.4  # a block's error over that of white noise: below, there is no slow noise
SHARPEST_RAMP = 1.0  # the plateau is longer than this times the leap
FITTED = 32  # block means at least, to which a leap and a bending trend are fitted
EXPLAINED = 2.0  # misfit of the trend over that of the leap
MOST = 0.75  # of the points on either side of the middle of a leap
LASTING = 0.03  # of the series: how long either level must have been seen
CONTRAST = 4.0  # pace of the leap over pace of its plateau
FEWEST = 8  # points for which a level must have been seen


def accepted(series: Float[ndarray, " point"], shape: Shape) -> bool:
    """Whether a fall, now that its shape is known, is a leap from a plateau, and lasts."""
    onset, width = shape.onset, shape.width
    length = onset - shape.start
    if length < max(SHARPEST_RAMP * width, 3):
        return False
    pace = 0.8 * shape.height / max(width, 1.0)
    stretch = series[max(shape.start, round(onset - max(width, 8.0))) : max(1, int(onset)) + 1]
    if len(stretch) >= 4:
        half = len(stretch) // 2
        drift = (np.median(stretch[:half]) - np.median(stretch[-half:])) / (len(stretch) - half)
        error = 2.0 * spread(stretch) / np.sqrt(half) / (len(stretch) - half)
        if CONTRAST * (drift - error) > pace:
            return False
    return lasting(series, shape) and significant(series, shape) and bends(series, shape)


def significant(series: Float[ndarray, " point"], shape: Shape) -> bool:
    """Whether the levels before and after differ by more than slow and quick noise explain.

    Slow noise is looked for in blocks so short that a few leaps do not fill the series with them;
    where there is none, the levels are as well known as the points that they are the medians of.
    """
    points = min(int(shape.onset) - shape.start, len(series) - shape.flat)
    block = max(1, min(points, len(series) // 16) // 2)
    error = block_spread(series, block_medians(series, block), block)
    ends = error[min(shape.start, len(error) - 1)], error[min(shape.flat, len(error) - 1)]
    noise = float(np.hypot(*ends)) / np.sqrt(2)
    quick = max(spread(series[shape.start : shape.flat]), spread(series[shape.flat :]))
    if noise <= WHITE * MEDIAN * quick / np.sqrt(block):
        noise = MEDIAN * quick / np.sqrt(max(1, points // 2))
    return bool(shape.height >= CERTAIN * noise)


def bends(series: Float[ndarray, " point"], shape: Shape) -> bool:
    """Whether the fall is better explained by a leap than by a trend that bends.

    Around the fall two models of three numbers each are fitted to block means: a parabola, and a
    straight line with a logistic leap of this place and width on it. A ramp leaves nothing for
    the leap to explain.
    """
    noise = spread(series[shape.start : shape.flat + 1])
    reach = max(4 * shape.width, 3 * noise_points_of(noise, shape.height), FEWEST)
    low = max(shape.start, int(shape.onset - reach))
    high = min(len(series), ceil(shape.late + min(reach, shape.onset - low)) + 1)
    at, means = block_means(series[low:high], max(1, (high - low) // FITTED))
    if len(at) < 6:
        return False
    # The logistic's own unit is its width from 10 % to 90 % over 2 ln 9.
    unit = max(shape.width, 0.5) / (2 * log(9))
    leap = 1 / (1 + np.exp(np.clip((at + low - shape.half) / unit, -50, 50)))
    across = (at - at.mean()) / (at[-1] - at[0])
    trend, jump = (_misfit(np.stack([0 * at + 1, across, c]), means) for c in (across**2, leap))
    return trend > EXPLAINED * jump


def _misfit(columns: Float[ndarray, "3 block"], values: Float[ndarray, " block"]) -> float:
    """The sum of squares that a least-squares fit of three columns leaves."""
    weights = np.linalg.lstsq(columns.T, values, rcond=None)[0]
    return float(((values - weights @ columns) ** 2).sum())


def lasting(series: Float[ndarray, " point"], shape: Shape) -> bool:
    """Whether most of what came before lies above the middle, and most of what comes after below.

    A fall in the last points of a series may be a spike.
    """
    middle, half = shape.level - shape.height / 2, round(shape.half)
    if min(half, len(series) - half) < max(LASTING * len(series), FEWEST):
        return False
    smooth = smoothed(series, shape)
    above, below = smooth[: half + 1] > middle, smooth[half:] < middle
    return bool(above.mean() >= MOST and below.mean() >= MOST)
