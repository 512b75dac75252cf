"""The power of the log-rank test for leap times, by simulation.

Log-normal times: leaps come by multiplication of small causes, a time cannot be negative, and a
ratio of medians is a shift of the logarithm. Both arms end at one budget, so the test knows of a
simulated pair only the order of labels and the number of leaps, which is why the relabelling p of
thousands of pairs takes one table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, expm1, inf, isfinite, log, log1p, sqrt
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from saltus.errors import SaltusError
from saltus.transitions.statistics.comparison import SMALL, relabellings
from saltus.transitions.statistics.intervals import Interval, share_interval
from saltus.transitions.statistics.power import check
from saltus.transitions.statistics.times import Times

SIMULATIONS = 4000


@dataclass(frozen=True)
class TimeEffect:
    """The second arm's median time is `ratio` times the first's; both have the same spread."""

    ratio: float
    spread: float  # coefficient of variation of the times: standard deviation over mean
    median: float = 1.0  # of the first arm
    budget: float = inf  # at which seeds that have not leapt are censored, in the same units
    simulations: int = SIMULATIONS
    jagged: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("ratio", "spread", "median"):
            value = getattr(self, name)
            if not (isfinite(value) and value > 0):
                raise SaltusError(f"{name}: {value:g} is not allowed: a number above 0")
        if not self.budget > 0:
            raise SaltusError(f"budget: {self.budget:g} is not allowed: a number above 0")
        if self.simulations < 1:
            raise SaltusError(f"simulations: {self.simulations} is not allowed: 1 or more")

    @property
    def size(self) -> float:
        return self.ratio

    @property
    def sigma(self) -> float:
        """Standard deviation of the logarithm of the times: sqrt(log(1 + spread²))."""
        return sqrt(log1p(self.spread**2))

    @property
    def extremes(self) -> tuple[float, float]:
        return (1.0, 1e3) if self.ratio > 1 else (1.0, 1e-3)

    def of_size(self, size: float) -> TimeEffect:
        return replace(self, ratio=size)

    def power(self, seeds: int, alpha: float = 0.05) -> Interval:
        """The share of simulated pairs that `log_rank` rejects, with Wilson's interval.

        The p is `LogRank.best`: by relabelling up to 100 seeds per arm, beyond by chi-square. The
        streams are fixed, and more seeds only add to the arms, so powers may be compared.
        """
        check(seeds=seeds, alpha=alpha)
        one, other = self.draw(seeds)
        p = _p_values(one, other, self.budget)
        return share_interval(int((p <= alpha).sum()), self.simulations)

    def draw(
        self, seeds: int
    ) -> tuple[Float[np.ndarray, "pair seed"], Float[np.ndarray, "pair seed"]]:
        """Leap times of simulated pairs of arms, not censored yet."""
        arms = []
        for key, median in enumerate((self.median, self.median * self.ratio)):
            generator = np.random.Generator(np.random.Philox(key=key))
            # Seed by seed: the first seeds are the same however many follow.
            normal = generator.standard_normal((seeds, self.simulations))
            arms.append(median * np.exp(self.sigma * normal.T))
        return arms[0], arms[1]


@dataclass(frozen=True)
class Spread:
    """A log-normal distribution fitted to the leap times of several settings."""

    medians: tuple[float, ...]  # one for each setting
    spread: float  # coefficient of variation, common to all
    seeds: int
    leaps: int


def fit_spread(settings: Sequence[Times]) -> Spread:
    """Maximum likelihood with censored seeds: a median for each setting, one spread for all.

    The deviation of the logarithms is widened by sqrt(leaps / (leaps - settings)), as an ordinary
    standard deviation is. Raises SaltusError for times of 0, and unless every setting has a leap
    and there are two more leaps than settings.
    """
    leaps, count = sum(each.leaps for each in settings), len(settings)
    if not settings or min(each.leaps for each in settings) == 0 or leaps < count + 2:
        raise SaltusError(
            f"spread: {leaps} leaps of {sum(each.count for each in settings)} seeds in {count} "
            "settings are not allowed: every setting needs one, and all together two more"
        )
    if min(each.times.min() for each in settings) <= 0:
        raise SaltusError("spread: a time of 0 is not allowed: its logarithm is not finite")
    from scipy.optimize import minimize
    from scipy.stats import norm

    logs = [np.log(each.times) for each in settings]
    start = [float(each.mean()) for each in logs]
    wide = float(np.concatenate([a - m for a, m in zip(logs, start, strict=True)]).std())
    if wide == 0:
        raise SaltusError("spread: all seeds leap at the same time; there is nothing to measure")

    def cost(values: np.ndarray) -> float:
        sigma, total = exp(values[-1]), 0.0
        for each, log_times, centre in zip(settings, logs, values[:-1], strict=True):
            z = (log_times - centre) / sigma
            total += (norm.logpdf(z[each.happened]) - log(sigma)).sum()
            total += norm.logsf(z[~each.happened]).sum()
        return -float(total)

    options = {"xatol": 1e-7, "fatol": 1e-9, "maxiter": 4000 * (count + 1)}
    best = minimize(cost, [*start, log(wide)], method="Nelder-Mead", options=options).x
    sigma = exp(best[-1]) * sqrt(leaps / (leaps - count))
    medians = tuple(float(exp(each)) for each in best[:-1])
    return Spread(medians, sqrt(expm1(sigma**2)), sum(e.count for e in settings), leaps)


def _p_values(
    one: Float[np.ndarray, "pair seed"], other: Float[np.ndarray, "pair seed"], budget: float
) -> Float[np.ndarray, " pair"]:
    """The log-rank p of each pair of arms, all censored at one budget."""
    pooled = np.concatenate([one, other], axis=1)
    labels = np.argsort(pooled, axis=1) >= one.shape[1]
    leaps = (pooled <= budget).sum(axis=1)
    many = pooled.shape[1] > SMALL
    statistics = _after_each_leap(labels, standardised=many)
    mine = np.take_along_axis(statistics, np.maximum(leaps - 1, 0)[:, None], axis=1)[:, 0]
    mine = np.where(leaps > 0, mine, 0.0)
    if many:
        from scipy.stats import chi2

        return chi2.sf(mine, 1)
    relabelled, everything = relabellings([one.shape[1], other.shape[1]])
    reference = np.sort(_after_each_leap(relabelled.astype(bool), standardised=False), axis=0)
    more = 0 if everything else 1
    found = np.ones(len(mine))
    for amount in np.unique(leaps[leaps > 0]):
        here = leaps == amount
        place = np.searchsorted(reference[:, amount - 1], mine[here] * (1 - 1e-9) - 1e-12)
        found[here] = (len(reference) - place + more) / (len(reference) + more)
    return found


def _after_each_leap(labels: np.ndarray, standardised: bool) -> Float[np.ndarray, "labelling leap"]:
    """The log-rank statistic if only the first k + 1 seeds in order of time have leapt.

    `labels` says of each seed in that order whether it belongs to the second arm. Standardised it
    is chi-square, else (observed - expected)^2, which is compared over relabellings.
    """
    count = labels.shape[1]
    left = np.arange(count, 0, -1)
    part = labels[:, ::-1].cumsum(axis=1)[:, ::-1] / left
    apart = (labels - part).cumsum(axis=1)
    if not standardised:
        return apart**2
    variance = (part * (1 - part)).cumsum(axis=1)
    safe = np.where(variance > 1e-12, variance, 1.0)
    return np.where(variance > 1e-12, apart**2 / safe, 0.0)
