"""The mean time to the leap up to a horizon: the mean that censored seeds do not spoil.

The plain mean of the leap times leaves out the seeds that never leapt, and is the shorter the more
of them there are. `mean_of_successes` is that mean, under a name that says so; no other number of
Saltus uses it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from saltus.errors import SaltusError
from saltus.transitions.statistics.intervals import Interval, mean_interval
from saltus.transitions.statistics.product_limit import check_confidence, kaplan_meier
from saltus.transitions.statistics.resampling import areas, draws
from saltus.transitions.statistics.times import Times

RESAMPLES = 10_000


def restricted_mean(
    times: Times, horizon: float, confidence: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """Mean of min(time to the leap, horizon) over all seeds: the area below Kaplan-Meier's curve.

    Royston and Parmar (2011). The interval is the percentile bootstrap over seeds from a fixed
    stream. Where no seed leapt before the horizon a bootstrap has no width; then `low` is the area
    below the curve's lower band at the horizon. With one seed the interval is 0 to the horizon,
    without seeds the estimate is NaN as well. Raises SaltusError where the horizon lies beyond
    what was seen: the curve is not known there.
    """
    check_confidence(confidence)
    _check_horizon(times, horizon)
    estimate = _area(times, horizon)
    if times.count < 2:
        return Interval(estimate, 0.0, float(horizon), times.count, confidence)
    if not _leapt_before(times, horizon):
        curve = kaplan_meier(times, confidence)
        low = float(curve.low[curve.time <= horizon][-1]) * horizon
        return Interval(estimate, low, float(horizon), times.count, confidence)
    tail = (1 - confidence) / 2
    low, high = np.quantile(_drawn(times, horizon, resamples, 0), [tail, 1 - tail])
    return Interval(
        estimate, min(float(low), estimate), max(float(high), estimate), times.count, confidence
    )


def restricted_mean_difference(
    a: Times, b: Times, horizon: float, confidence: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """Restricted mean of `a` minus that of `b`: positive where `a` leaps later.

    Percentile bootstrap over the seeds of both arms, each from its own fixed stream. Where an arm
    has no leap before the horizon, or a single seed, the two arms' own intervals are combined
    (Zou and Donner 2008). `count` is the number of seeds of both arms.
    """
    one, other = (restricted_mean(each, horizon, confidence, resamples) for each in (a, b))
    estimate = one.estimate - other.estimate
    if min(a.count, b.count) < 2 or not all(_leapt_before(each, horizon) for each in (a, b)):
        down = np.hypot(one.estimate - one.low, other.high - other.estimate)
        up = np.hypot(one.high - one.estimate, other.estimate - other.low)
        ends = (estimate - down, estimate + up) if estimate == estimate else (-horizon, horizon)
    else:
        tail = (1 - confidence) / 2
        apart = _drawn(a, horizon, resamples, 0) - _drawn(b, horizon, resamples, 1)
        ends = np.quantile(apart, [tail, 1 - tail])
    low, high = min(float(ends[0]), estimate), max(float(ends[1]), estimate)
    return Interval(estimate, low, high, a.count + b.count, confidence)


def mean_of_successes(times: Times, confidence: float = 0.95) -> Interval:
    """Mean time of the seeds that leapt, with Student's interval; the others are left out.

    What many papers report. It answers "how long did a run take that made it?", not "how long does
    a run take?", and two arms with different leap probabilities must not be compared by it: see
    `restricted_mean`. `count` is the number of seeds that leapt.
    """
    return mean_interval(times.times[times.happened], confidence)


def _area(times: Times, horizon: float) -> float:
    if times.count == 0:
        return float("nan")
    return float(areas(times, np.ones((1, times.count), dtype=np.int64), horizon)[0])


def _drawn(times: Times, horizon: float, resamples: int, key: int) -> Float[np.ndarray, " draw"]:
    """Areas of draws with replacement; sorted seeds, since their order means nothing."""
    return areas(times.sorted(), draws(times.count, resamples, key), horizon)


def _leapt_before(times: Times, horizon: float) -> bool:
    return bool((times.happened & (times.times < horizon)).any())


def _check_horizon(times: Times, horizon: float) -> None:
    if not (np.isfinite(horizon) and horizon > 0):
        raise SaltusError(f"horizon: {horizon:g} is not allowed: a time above 0")
    if times.count == 0:
        return
    last = times.times.max()
    if horizon > last and not times.happened[times.times == last].all():
        raise SaltusError(
            f"horizon: {horizon:g} is not allowed: some seeds had not leapt at {last:g}, the last "
            f"step seen; at most {last:g}"
        )
