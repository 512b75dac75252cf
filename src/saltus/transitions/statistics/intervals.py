"""Intervals over seeds: no number of Saltus stands without one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np


@dataclass(frozen=True)
class Interval:
    """An estimate with a two-sided interval at `confidence`, over `count` seeds."""

    estimate: float
    low: float
    high: float
    count: int
    confidence: float = 0.95

    def __str__(self) -> str:
        return f"{self.estimate:.4g} [{self.low:.4g}, {self.high:.4g}]"


def mean_interval(values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> Interval:
    """Mean and Student-t interval. With fewer than two finite values the interval is infinite."""
    finite = _finite(values)
    if len(finite) < 2:
        estimate = float(finite.mean()) if len(finite) else float("nan")
        return Interval(estimate, -np.inf, np.inf, len(finite), confidence)
    from scipy.stats import t

    half = t.ppf((1 + confidence) / 2, len(finite) - 1) * finite.std(ddof=1) / sqrt(len(finite))
    mean = float(finite.mean())
    return Interval(mean, mean - float(half), mean + float(half), len(finite), confidence)


def median_interval(
    values: Sequence[float] | np.ndarray, confidence: float = 0.95, resamples: int = 10_000
) -> Interval:
    """Median and percentile bootstrap interval (fixed stream: the same data, the same interval)."""
    finite = np.sort(_finite(values))  # the order of the seeds means nothing
    if len(finite) < 2:
        estimate = float(finite.mean()) if len(finite) else float("nan")
        return Interval(estimate, -np.inf, np.inf, len(finite), confidence)
    generator = np.random.Generator(np.random.Philox(key=0))
    picks = generator.integers(0, len(finite), (resamples, len(finite)))
    medians = np.median(finite[picks], axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(medians, [tail, 1 - tail])
    return Interval(float(np.median(finite)), float(low), float(high), len(finite), confidence)


def share_interval(successes: int, count: int, confidence: float = 0.95) -> Interval:
    """A share of seeds with the Wilson interval (Wilson 1927)."""
    if count == 0:
        return Interval(float("nan"), 0.0, 1.0, 0, confidence)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, spread = successes / count, z * z / count
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * sqrt(share * (1 - share) / count + spread / (4 * count))
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == count else centre + half
    return Interval(share, low, high, count, confidence)


def _finite(values: Sequence[float] | np.ndarray) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    return array[np.isfinite(array)]
