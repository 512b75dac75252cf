"""How much a series scatters, whatever it does besides: medians, differences, blocks."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from saltus.errors import SaltusError

SIGMA = 1.4826  # of a normal variable: its median absolute deviation is 0.6745 of it
MEDIAN = 1.2533  # standard error of a median of normal variables, in those of a mean


def spread(series: Float[ndarray, " point"]) -> float:
    """The standard deviation of the noise: from differences of neighbours, robustly.

    A trend adds little to differences of neighbours, and a leap is one of many.
    """
    if len(series) < 3:
        return 0.0
    steps = np.diff(series)
    return float(SIGMA * np.median(np.abs(steps - np.median(steps))) / np.sqrt(2))


def block_medians(series: Float[ndarray, " point"], block: int) -> Float[ndarray, " place"]:
    """The median of the `block` points from each place on; len(series) - block + 1 of them.

    Of an even number of points it is the upper one of the two in the middle. Raises SaltusError
    where there is no scipy.
    """
    if block == 1:
        return series.copy()
    if block == 2:
        return (series[1:] + series[:-1]) / 2
    try:
        from scipy.ndimage import median_filter  # its time hardly grows with the block
    except ImportError as error:  # the base install does not have it
        raise SaltusError("finding leaps needs `pip install saltus[studies]`") from error
    half = block // 2  # the filter's window reaches this far to the left of its place
    return median_filter(series, block, mode="nearest")[half : half + len(series) - block + 1]


def block_means(
    series: Float[ndarray, " point"], block: int
) -> tuple[Float[ndarray, " block"], Float[ndarray, " block"]]:
    """Middles, in points, and means of blocks side by side; what is left over is left out.

    Means of what lies within three deviations of the block's median, so that spikes do not count.
    """
    count = len(series) // block
    blocks = series[: count * block].reshape(count, block)
    middle = np.median(blocks, axis=1, keepdims=True)
    near = 3 * spread(series) if block > 2 else np.inf
    means = np.clip(blocks, middle - near, middle + near).mean(axis=1)
    return (np.arange(count) + 0.5) * block - 0.5, means


def block_spread(
    series: Float[ndarray, " point"], medians: Float[ndarray, " place"], block: int
) -> Float[ndarray, " place"]:
    """The standard error of each block's median: the greatest of three estimates.

    Second differences of neighbouring blocks, over the whole series, count slow noise; the spread
    of neighbouring points near the block, over `block`, counts noise that comes and goes.
    """
    places = len(medians)
    slow = 0.0
    if places > 2 * block:
        second = medians[: -2 * block] - 2 * medians[block:-block] + medians[2 * block :]
        slow = SIGMA * float(np.median(np.abs(second))) / np.sqrt(6)
    steps = np.abs(np.diff(series)) / np.sqrt(2)
    if not len(steps):
        return np.full(places, slow)
    everywhere = SIGMA * float(np.median(steps))
    window = min(max(16, 4 * block), len(steps))
    near = SIGMA * block_medians(steps, window)
    near = np.concatenate([np.full(window // 2, near[0]), near, np.full(window, near[-1])])[:places]
    quick = MEDIAN / np.sqrt(block) if block > 2 else 1 / np.sqrt(block)
    growth = near / everywhere if everywhere > 0 else np.ones(places)
    return np.maximum(quick * np.maximum(near, everywhere / 4), slow * np.clip(growth, 0.25, 4.0))
