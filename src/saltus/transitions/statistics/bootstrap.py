"""An interval for any number that is computed from the seeds: the percentile bootstrap.

B. Efron, "Bootstrap methods: another look at the jackknife" (1979).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from saltus.errors import SaltusError
from saltus.transitions.statistics.intervals import Interval
from saltus.transitions.statistics.product_limit import check_confidence


def bootstrap_interval(
    values: Sequence[float] | np.ndarray,
    statistic: Callable[..., Any] = np.median,
    confidence: float = 0.95,
    resamples: int = 10_000,
) -> Interval:
    """The statistic of one value per seed, and quantiles of it over draws with replacement.

    `statistic(values, axis=...)` makes numbers from values along an axis, as `np.median` does.

    Plain percentiles, without a correction for bias and acceleration (BCa): BCa estimates the
    acceleration by leaving out one seed at a time, which fails for medians and other quantiles,
    and those are what plateaus and leaps are summarised by. What it costs: with a handful of seeds
    the interval is too narrow. For a mean use `mean_interval`, which is not.

    Values that are not finite are left out and not counted; with fewer than two the interval is
    infinite. The stream is fixed and the values are sorted: the same data, the same interval,
    whatever their order. For `np.median` this is `median_interval`. Raises SaltusError for a
    confidence outside 0 to 1, and fewer than one resample.
    """
    check_confidence(confidence)
    if resamples < 1:
        raise SaltusError(f"resamples: {resamples} is not allowed: 1 or more")
    array = np.asarray(values, dtype=np.float64)
    finite = np.sort(array[np.isfinite(array)])
    estimate = float(statistic(finite, axis=0)) if len(finite) else float("nan")
    if len(finite) < 2:
        return Interval(estimate, -np.inf, np.inf, len(finite), confidence)
    generator = np.random.Generator(np.random.Philox(key=0))
    picks = generator.integers(0, len(finite), (resamples, len(finite)))
    drawn = np.asarray(statistic(finite[picks], axis=1), dtype=np.float64)
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(estimate, float(low), float(high), len(finite), confidence)
