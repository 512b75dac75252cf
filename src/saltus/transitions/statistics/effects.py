"""Effects: how much a quantity differs between two groups of seeds, in its units and in spreads.

Two groups of the same seeds share what those seeds decide (initialisation, data), so they are
compared pair by pair: Student's t of the differences. Groups of other seeds are compared as
independent samples with unequal variances: Welch's t (1947). The standardised effect is Hedges' g
(1981), and its interval contains 0 exactly where the p value is above 1 - confidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, inf, isfinite, lgamma, nan, sqrt

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from saltus.errors import SaltusError
from saltus.transitions.statistics.intervals import Interval, mean_interval
from saltus.transitions.statistics.product_limit import median_time
from saltus.transitions.statistics.resampling import draws, medians
from saltus.transitions.statistics.times import Times

GRID = 2_000  # quantiles of the chi distribution that stand for it
PRECISION = 1e-9  # of the bisection for the ends of g's interval
ROUNDING = 1e-12  # a spread below this share of the values is rounding and no spread


@dataclass(frozen=True)
class Effect:
    """What changed from the reference group to the other one, with intervals over seeds."""

    reference: Interval  # its mean, over its own seeds with a finite value
    other: Interval
    difference: Interval  # other - reference, in the quantity's units; count: seeds, or pairs
    standardised: Interval  # Hedges' g; nan where no spread or too few seeds give it no meaning
    p: float  # two-sided; nan where there is no test
    paired: bool


def effect(
    reference: Float[ndarray, " seed"],
    other: Float[ndarray, " member"],
    paired: bool = False,
    confidence: float = 0.95,
) -> Effect:
    """The difference of the means of two groups; values that are not finite are left out.

    With `paired`, place k of both groups is the same seed, and the difference is the mean over the
    pairs of which both values are finite. Fewer than two pairs (or than two values in a group)
    give an infinite interval and no p. Values without any spread give an interval of no width and
    no p: there is nothing to test them against.

    Raises SaltusError if paired groups differ in length.
    """
    if paired and len(reference) != len(other):
        raise SaltusError(
            f"effect: pairs need as many seeds in both groups, not {len(reference)} and "
            f"{len(other)}"
        )
    first, second = mean_interval(reference, confidence), mean_interval(other, confidence)
    known, known_other = np.isfinite(reference), np.isfinite(other)
    if paired:
        known = known_other = known & known_other
    a, b = reference[known], other[known_other]
    count = len(a) if paired else len(a) + len(b)

    def interval(estimate: float, low: float = -inf, high: float = inf) -> Interval:
        return Interval(estimate, low, high, count, confidence)

    def untested(difference: Interval) -> Effect:
        return Effect(first, second, difference, interval(nan), nan, paired)

    if not len(a) or not len(b):
        return untested(interval(nan))
    scale = max(float(np.abs(a).max()), float(np.abs(b).max())) or 1.0
    a, b = a / scale, b / scale  # so that squares of any values are finite
    difference = float(np.mean(b - a) if paired else b.mean() - a.mean())
    error, freedom = _standard_error(a, b, paired)
    if not isfinite(error):
        return untested(interval(scale * difference))
    if error <= ROUNDING:
        return untested(interval(*[scale * difference] * 3))
    from scipy.stats import t

    ratio = difference / error
    half = float(t.ppf((1 + confidence) / 2, freedom)) * error
    ends = (difference, difference - half, difference + half)
    return Effect(
        first,
        second,
        interval(*(scale * end for end in ends)),
        interval(*_standardised(a, b, ratio, error, freedom, paired, confidence)),
        float(2 * t.sf(abs(ratio), freedom)),
        paired,
    )


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down p values (1979): all are below 0.05 wrongly at most once in twenty families.

    Places without a test (nan) stay nan and do not count.
    """
    given = np.asarray(p, dtype=np.float64)
    adjusted = np.full(len(given), nan)
    tested = np.flatnonzero(np.isfinite(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * given[order]), 1.0)
    return adjusted.tolist()


def median_ratio(a: Times, b: Times, confidence: float = 0.95, resamples: int = 10_000) -> Interval:
    """Median time to the leap of `a` over that of `b`: 2 where `a` takes twice as long.

    `median_difference`'s bootstrap, of ratios: a draw in which both medians are infinite (or 0)
    says nothing and counts against both ends. NaN where both medians are; `count` is the number of
    seeds of both.
    """
    total = a.count + b.count
    with np.errstate(invalid="ignore", divide="ignore"):
        estimate = float(np.divide(median_time(a).estimate, median_time(b).estimate))
        if min(a.count, b.count) < 2:
            return Interval(estimate, 0.0, inf, total, confidence)
        one, other = (
            medians(each.sorted(), draws(each.count, resamples, key))
            for key, each in enumerate((a, b))
        )
        ratios = one / other
    tail = (1 - confidence) / 2
    low = np.quantile(np.nan_to_num(ratios, nan=0.0, posinf=inf), tail, method="lower")
    high = np.quantile(np.nan_to_num(ratios, nan=inf, posinf=inf), 1 - tail, method="higher")
    return Interval(estimate, float(low), float(high), total, confidence)


def noncentrality(t: float, freedom: float, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of lambda, given a t value that has a noncentral t distribution with it.

    P(T <= t) = P(Z + lambda <= t S) for a standard normal Z and S = chi / sqrt(freedom), so the
    ends are quantiles of t S - Z: no noncentral t is needed, which overflows for large t.
    """
    from scipy.special import ndtr

    spread = _chi(freedom)
    tail = (1 - confidence) / 2

    def quantile(level: float) -> float:
        ends = sorted((t * float(spread[0]), t * float(spread[-1])))
        low, high = ends[0] - 10.0, ends[1] + 10.0
        while high - low > PRECISION * max(1.0, abs(low), abs(high)):
            middle = (low + high) / 2
            below = float(ndtr(middle - t * spread).mean()) < level
            low, high = (middle, high) if below else (low, middle)
        return (low + high) / 2

    return quantile(tail), quantile(1 - tail)


def _standard_error(
    a: Float[ndarray, " a"], b: Float[ndarray, " b"], paired: bool
) -> tuple[float, float]:
    """Of the difference of the means, and its degrees of freedom; (inf, nan) if unknown."""
    if len(a) < 2 or len(b) < 2:
        return inf, nan
    if paired:
        return float((b - a).std(ddof=1)) / sqrt(len(a)), len(a) - 1.0
    parts = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    total = float(sum(parts))
    if sqrt(total) <= ROUNDING:
        return 0.0, nan
    shares = [part / total for part in parts]
    freedom = 1 / (shares[0] ** 2 / (len(a) - 1) + shares[1] ** 2 / (len(b) - 1))
    return sqrt(total), float(freedom)


def _standardised(
    a: Float[ndarray, " a"],
    b: Float[ndarray, " b"],
    ratio: float,
    error: float,
    freedom: float,
    paired: bool,
    confidence: float,
) -> tuple[float, float, float]:
    """Hedges' g and its interval: the difference in deviations of one group, without bias.

    The deviation is pooled over the two groups (of pairs: the root mean square of both, Cumming
    2012), so that g says the same of paired and of independent groups. The interval is that of
    the noncentrality of t, in the same units (Algina and Keselman 2003).
    """
    sizes = len(a) - 1, len(b) - 1
    pooled = sqrt((sizes[0] * a.var(ddof=1) + sizes[1] * b.var(ddof=1)) / sum(sizes))
    degrees = sizes[0] if paired else sum(sizes)
    if pooled <= ROUNDING or degrees < 2:  # the correction for one degree of freedom is 0
        return nan, -inf, inf
    unit = error / pooled
    low, high = noncentrality(ratio, freedom, confidence)
    return unbiased(degrees) * ratio * unit, low * unit, high * unit


def unbiased(freedom: float) -> float:
    """Hedges' correction J of a standardised difference, exact: about 1 - 3 / (4 freedom - 1)."""
    return exp(lgamma(freedom / 2) - lgamma((freedom - 1) / 2)) / sqrt(freedom / 2)


@lru_cache(maxsize=256)  # the same few numbers of seeds come again for every metric
def _chi(freedom: float) -> Float[ndarray, " quantile"]:
    """chi / sqrt(freedom) at GRID evenly spread probabilities."""
    from scipy.stats import chi2

    levels = (np.arange(GRID) + 0.5) / GRID
    return np.sqrt(chi2.ppf(levels, freedom) / freedom)
