"""How many seeds have not leapt yet, and when half of them have: Kaplan and Meier's curve.

E. L. Kaplan and P. Meier, "Nonparametric estimation from incomplete observations" (1958). The
curve itself is computed by lifelines; it is imported where it is used, because it is slow to load.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from saltus.errors import SaltusError
from saltus.transitions.statistics.intervals import Interval, share_interval
from saltus.transitions.statistics.times import Times

HALF = 0.5 + 1e-12  # 7/8 · 6/7 · 5/6 · 4/5 is one half but for rounding


@dataclass(frozen=True, eq=False)
class Survival:
    """The share of seeds that have not leapt, a step function: row k holds from `time[k]` on.

    The first row is time 0, the others are the times at which a seed leapt or was censored. Beyond
    the last row nothing is known, unless its share is 0.
    """

    time: Float[np.ndarray, " moment"]
    share: Float[np.ndarray, " moment"]
    low: Float[np.ndarray, " moment"]
    high: Float[np.ndarray, " moment"]
    at_risk: Int[np.ndarray, " moment"]  # seeds that were seen up to this time, and had not leapt
    confidence: float = 0.95

    @property
    def count(self) -> int:
        """Seeds."""
        return int(self.at_risk[0])


def kaplan_meier(times: Times, confidence: float = 0.95) -> Survival:
    """Product over the leaps up to t of (1 - leaps / seeds at risk), with a pointwise band.

    The band is Greenwood's variance on the scale log(-log share) (Kalbfleisch and Prentice 1980),
    so it stays within 0 and 1. That scale has no band where the share is 1 or 0; there, instead of
    a band without width: no seed of n has leapt, so `low` is Wilson's bound for n of n, with the n
    still at risk; all seeds have leapt, so `high` stays where it was before the last of them. A
    seed that is censored at the time of another's leap counts as at risk then. Without seeds: one
    row, share NaN, band 0 to 1.
    """
    check_confidence(confidence)
    if times.count == 0:
        none = np.zeros(1)
        return Survival(none, none * np.nan, none, none + 1, np.zeros(1, np.int64), confidence)
    from lifelines import KaplanMeierFitter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas' news about itself is no news about the data
        fitter = KaplanMeierFitter(alpha=1 - confidence).fit(times.times, times.happened)
        table = fitter.event_table
        share = fitter.survival_function_.to_numpy(np.float64)[:, 0]
        low, high = fitter.confidence_interval_.to_numpy(np.float64, copy=True).T
    share = np.clip(share, 0.0, 1.0)  # one minus the sum of logarithms rounds to -1e-17
    at_risk = table["at_risk"].to_numpy(np.int64)
    whole, none = share == 1, table["observed"].to_numpy() == at_risk
    share[none] = 0.0
    low[whole] = [share_interval(int(n), int(n), confidence).low for n in at_risk[whole]]
    high[whole] = 1.0
    for row in np.flatnonzero(share == 0):
        low[row], high[row] = 0.0, high[row - 1] if row else 1.0
    return Survival(
        table.index.to_numpy(np.float64), share, low, np.maximum(high, share), at_risk, confidence
    )


def median_time(times: Times, confidence: float = 0.95) -> Interval:
    """When half of the seeds have leapt, with the interval of Brookmeyer and Crowley (1982).

    The estimate is the first time at which the Kaplan-Meier curve is at most one half; where it is
    exactly one half until the next leap, the middle of the two, which is the ordinary median when
    no seed is censored. It is infinite when fewer than half have leapt. The interval holds the
    times at which the curve's band contains one half: `high` is infinite where the upper band never
    falls so low, and `low` is 0 where few seeds exclude nothing. Without seeds: NaN, 0 to infinity.
    """
    if times.count == 0:
        check_confidence(confidence)
        return Interval(float("nan"), 0.0, float("inf"), 0, confidence)
    curve = kaplan_meier(times, confidence)
    return Interval(
        _half_time(curve),
        _first_time(curve, curve.low),
        _first_time(curve, curve.high),
        times.count,
        confidence,
    )


def leap_probability(times: Times, confidence: float = 0.95) -> Interval:
    """The share of seeds that leapt within their budgets, with Wilson's interval (1927).

    Seeds with a shorter budget, or that diverged early, count as seeds that did not leap: where
    budgets differ, the Kaplan-Meier curve is the honest answer.
    """
    check_confidence(confidence)
    return share_interval(times.leaps, times.count, confidence)


def _half_time(curve: Survival) -> float:
    """The time of share one half; the middle of a tread that lies exactly there."""
    first = _first_time(curve, curve.share)
    if not np.isfinite(first):
        return first
    row = int(np.searchsorted(curve.time, first))
    below = np.flatnonzero(curve.share < 0.5 - 1e-12)
    if curve.share[row] < 0.5 - 1e-12 or not below.size:
        return first
    return (first + float(curve.time[below[0]])) / 2


def _first_time(curve: Survival, line: Float[np.ndarray, " moment"]) -> float:
    """The first time at which a falling line of the curve is at most one half; or infinity."""
    reached = line <= HALF
    return float(curve.time[reached.argmax()]) if reached.any() else float("inf")


def check_confidence(confidence: float) -> None:
    """One line for what is no confidence."""
    if not 0 < confidence < 1:
        raise SaltusError(f"confidence: {confidence:g} is not allowed: between 0 and 1")
