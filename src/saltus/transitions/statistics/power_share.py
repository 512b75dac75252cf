"""The power of Fisher's exact test: do two arms leap with different probability?

R. A. Fisher, "The logic of inductive inference" (1935).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from saltus.errors import SaltusError
from saltus.transitions.statistics.intervals import Interval
from saltus.transitions.statistics.power import check, exactly

NEGLIGIBLE = 1e-12  # a number of leaps that is less likely than this is left out
SAME = 1 + 1e-7  # two tables of the same probability differ by rounding


@dataclass(frozen=True)
class ShareEffect:
    """The share of seeds that leap is `before` in one arm and `after` in the other.

    Power: the probabilities of all pairs of numbers of leaps that the test rejects, summed.
    """

    before: float
    after: float
    jagged: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, share in (("from", self.before), ("to", self.after)):
            if not 0 <= share <= 1:
                raise SaltusError(f"{name}: {share:g} is not allowed: a share, 0 to 1")

    @property
    def size(self) -> float:
        return self.after

    @property
    def extremes(self) -> tuple[float, float]:
        return self.before, 0.0 if self.after < self.before else 1.0

    def of_size(self, size: float) -> ShareEffect:
        return replace(self, after=size)

    def power(self, seeds: int, alpha: float = 0.05) -> Interval:
        check(seeds=seeds, alpha=alpha)
        (one, first), (other, second) = (_likely(seeds, p) for p in (self.before, self.after))
        rejected = fisher_p(seeds, one, other) <= alpha
        return exactly(float(first @ rejected @ second))


def fisher_p(
    seeds: int, one: Int[np.ndarray, " a"], other: Int[np.ndarray, " b"]
) -> Float[np.ndarray, "a b"]:
    """Two-sided p of `one[i]` leaps of `seeds` against `other[j]` leaps of as many.

    The sum of the hypergeometric probabilities of all tables with the same margins that are no
    more likely than this one.
    """
    from scipy.special import gammaln

    totals = np.arange(one.min() + other.min(), one.max() + other.max() + 1)
    logs = gammaln(np.arange(2 * seeds + 1) + 1.0)  # of factorials

    def chosen(of: int, taken: np.ndarray) -> np.ndarray:
        return logs[of] - logs[taken] - logs[of - taken]

    leaps = np.arange(seeds + 1)
    rest = totals[:, None] - leaps
    possible: Bool[np.ndarray, "total leaps"] = (rest >= 0) & (rest <= seeds)
    log_odds = chosen(seeds, leaps) + chosen(seeds, np.where(possible, rest, 0))
    odds = np.where(possible, np.exp(log_odds - chosen(2 * seeds, totals)[:, None]), 0.0)
    order = np.sort(odds, axis=1)
    below = np.concatenate([np.zeros((len(totals), 1)), np.cumsum(order, axis=1)], axis=1)
    found = np.empty((len(one), len(other)))
    for row, total in enumerate(totals):
        first, second = np.nonzero(one[:, None] + other == total)
        if len(first):
            place = np.searchsorted(order[row], odds[row, one[first]] * SAME, side="right")
            found[first, second] = below[row, place]
    return np.minimum(found, 1.0)


def _likely(seeds: int, share: float) -> tuple[Int[np.ndarray, " a"], Float[np.ndarray, " a"]]:
    """The numbers of leaps that are not negligible, and their binomial probabilities."""
    from scipy.stats import binom

    leaps = np.arange(seeds + 1)
    weights = binom.pmf(leaps, seeds, share)
    kept = weights > NEGLIGIBLE
    return leaps[kept], weights[kept]
