"""Has a histogram one mode or two? Sarle's coefficient, and Hartigan's dip with its p-value.

For the positions that saturated heads attend to (Figure 3 of 2010.09697 shows two modes and gives
no statistic: both are choices of this project).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from saltus.errors import SaltusError

UNIFORM = 5 / 9  # Sarle's coefficient of a uniform law; above it is taken for two modes


@dataclass(frozen=True)
class DipTest:
    """The dip of some values, and how often as many uniform draws have one as large."""

    dip: float
    p_value: float
    count: int
    draws: int


def sarle(values: Sequence | np.ndarray) -> Float[np.ndarray, "*member"]:
    """Sarle's bimodality coefficient (g² + 1) / (k + 3 (n-1)² / ((n-2)(n-3))) of [..., n] values.

    g and k: skewness and excess kurtosis with the corrections for small samples (as SAS has it;
    Pfister et al. 2013). 1/3 for a normal law, 5/9 for a uniform one, 1 for two points. A long tail
    raises it as two modes do: look at the dip too. nan where all values are the same. Raises
    SaltusError for fewer than four values.
    """
    x = _checked(values)
    n = x.shape[-1]
    centred = x - x.mean(-1, keepdims=True)
    second, third, fourth = ((centred**power).mean(-1) for power in (2, 3, 4))
    varies = np.ptp(x, axis=-1) > 0
    second = np.where(varies, second, np.nan)
    skewness = np.sqrt(n * (n - 1)) / (n - 2) * third / second**1.5
    excess = (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * (fourth / second**2 - 3) + 6)
    return np.asarray((skewness**2 + 1) / (excess + 3 * (n - 1) ** 2 / ((n - 2) * (n - 3))))


def dip(values: Sequence | np.ndarray) -> Float[np.ndarray, "*member"]:
    """Hartigan's dip of [..., n] values: how far their distribution is from the nearest unimodal.

    The largest difference of the two distribution functions; between 1 / (2n) and 1 / 4. (J. A.
    Hartigan and P. M. Hartigan, "The dip test of unimodality", 1985.) A unimodal law may have an
    atom at its mode, so values that are all the same have the smallest dip.
    """
    return np.asarray(np.apply_along_axis(_dip, -1, _checked(values)), dtype=np.float64)


def dip_test(values: Sequence[float] | np.ndarray, draws: int = 1000, seed: int = 0) -> DipTest:
    """The dip and a p-value by Monte Carlo: n uniform draws, the hardest unimodal law to tell.

    (1 + draws with a dip as large) / (1 + draws), a function of the values and the seed. It is
    meant for values without ties: what was rounded to a few numbers has as many atoms, and is found
    to have several modes for that alone.
    """
    if draws < 1:
        raise SaltusError(f"draws: {draws} is not allowed: 1 or more")
    x = _checked(values)
    if x.ndim != 1:
        raise SaltusError(f"values: {x.ndim} axes are not allowed: one")
    found = _dip(x)
    as_large = int((_uniform_dips(len(x), draws, seed) >= found - 1e-12).sum())
    return DipTest(found, (1 + as_large) / (1 + draws), len(x), draws)


def _checked(values: Sequence | np.ndarray) -> Float[np.ndarray, "*member value"]:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim < 1 or x.shape[-1] < 4:
        raise SaltusError(f"values: shape {x.shape} is not allowed: four or more, the last axis")
    if not np.isfinite(x).all():
        raise SaltusError("values: one is not finite: leave it out")
    return x


@lru_cache(maxsize=32)
def _uniform_dips(count: int, draws: int, seed: int) -> Float[np.ndarray, " draw"]:
    generator = np.random.Generator(np.random.Philox(key=seed))
    return np.array([_dip(row) for row in generator.random((draws, count))])


def _dip(values: Float[np.ndarray, " value"]) -> float:
    """Of one sample.

    The nearest unimodal law is convex below some modal interval and concave above it: a convex
    minorant of the lower corners of the distribution's stairs, a concave majorant of the upper
    ones, both moved by the dip. Each round narrows the interval to where the two are furthest
    apart, and notes what the parts that are settled by it cost.
    """
    x, counts = np.unique(values, return_counts=True)
    above = counts.cumsum() / len(values)
    below = above - counts / len(values)
    cost, left, right = 1 / len(values), 0, len(x) - 1
    while True:
        here = slice(left, right + 1)
        t, low, high = x[here], below[here], above[here]
        lower, upper = _minorant(t, low), _minorant(t, -high)
        convex, concave = np.interp(t, t[lower], low[lower]), np.interp(t, t[upper], high[upper])
        gaps_lower, gaps_upper = (concave - convex)[lower], (concave - convex)[upper]
        if gaps_lower.max() >= gaps_upper.max():
            begin = lower[gaps_lower.argmax()]
            end = upper[upper >= begin][0]
        else:
            end = upper[gaps_upper.argmax()]
            begin = lower[lower <= end][-1]
        gap = max(gaps_lower.max(), gaps_upper.max())
        if gap <= cost:
            return cost / 2
        before, after = (high - convex)[: begin + 1], (concave - low)[end:]
        cost = max(cost, before[:-1].max(initial=0), after[1:].max(initial=0))
        if (begin, end) == (0, right - left):
            return cost / 2
        left, right = left + begin, left + end


def _minorant(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Where the greatest convex minorant touches the points: the lower convex hull."""
    kept: list[int] = []
    for place in range(len(x)):
        while len(kept) > 1:
            a, b = kept[-2], kept[-1]
            if (y[b] - y[a]) * (x[place] - x[b]) < (y[place] - y[b]) * (x[b] - x[a]):
                break
            kept.pop()
        kept.append(place)
    return np.array(kept)
