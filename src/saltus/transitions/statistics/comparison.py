"""Do two arms leap at different times? The log-rank test, and the difference of their medians.

N. Mantel, "Evaluation of survival data and two new rank order statistics arising in its
consideration" (1966).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from jaxtyping import Bool, Float, Int

from saltus.errors import SaltusError
from saltus.transitions.statistics.intervals import Interval
from saltus.transitions.statistics.product_limit import median_time
from saltus.transitions.statistics.resampling import draws, medians
from saltus.transitions.statistics.times import Times

ENUMERATED = 50_000  # relabellings: up to here all of them are tried
SAMPLED = 10_000  # else so many, from a fixed stream
SMALL = 200  # seeds of all groups: beyond, the chi-square approximation is as good
RESAMPLES = 10_000


@dataclass(frozen=True)
class LogRank:
    """The log-rank test of the hypothesis that all groups leap at the same rate at every time."""

    statistic: float  # chi-square, with (groups - 1) degrees of freedom
    p: float  # from the chi-square distribution: to be believed for many seeds
    exact: float | None  # by relabelling the seeds: to be believed where it is there
    enumerated: bool = False  # whether `exact` tried all relabellings, or a sample of them

    @property
    def best(self) -> float:
        """The p to be believed: `exact` where it is there."""
        return self.p if self.exact is None else self.exact


def log_rank(*groups: Times) -> LogRank:
    """The log-rank test of two or more groups of seeds.

    Statistic: (observed - expected leaps of each group) as a quadratic form in the inverse of its
    hypergeometric covariance. `exact` is the share of relabellings of the pooled seeds that tear
    the groups apart at least as far: all of them for two small groups, otherwise 10,000 from a
    fixed Philox stream, counting the labels as they are as one more; None beyond 200 seeds. How far
    is the sum over groups of (observed - expected)^2 / seeds, the log-rank scores' own permutation
    statistic (Peto and Peto 1972); the quotient above would favour relabellings in which the
    smaller group leaps first. It assumes that budgets do not depend on the group. Without any leap,
    statistic 0 and p 1. Raises SaltusError for fewer than two groups, or one without seeds.
    """
    if len(groups) < 2:
        raise SaltusError(f"log_rank: {len(groups)} is not allowed: two groups or more")
    for index, each in enumerate(groups):
        if each.count == 0:
            raise SaltusError(f"log_rank: group {index} has no seeds; every group needs one")
    groups = tuple(sorted(groups, key=lambda each: each.count))  # their order means nothing
    pooled = Times(
        np.concatenate([each.times for each in groups]),
        np.concatenate([each.happened for each in groups]),
    )
    labels = np.repeat(np.arange(len(groups)), [each.count for each in groups])
    order = np.lexsort((~pooled.happened, pooled.times))
    pooled, labels = pooled.sorted(), labels[order]
    statistic = float(_statistics(pooled, _membership(labels[None], len(groups)))[0])
    from scipy.stats import chi2

    p = float(chi2.sf(statistic, len(groups) - 1))
    if pooled.count > SMALL:
        return LogRank(statistic, p, None)
    relabelled, everything = relabellings([each.count for each in groups])
    own, found = (
        _apart(pooled, _membership(each, len(groups))) for each in (labels[None], relabelled)
    )
    as_large = int((found >= own * (1 - 1e-9) - 1e-12).sum())
    more = 0 if everything else 1
    return LogRank(statistic, p, (as_large + more) / (len(found) + more), everything)


def median_difference(
    a: Times, b: Times, confidence: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """Median time of `a` minus that of `b`: positive where `a` leaps later.

    Percentile bootstrap over the seeds of both arms from fixed streams. A median may be infinite
    (fewer than half leapt), and so may the ends; a draw in which both are infinite says nothing
    and counts against both ends. The estimate is NaN where both medians are infinite. An arm with
    fewer than two seeds bounds nothing. `count` is the number of seeds of both arms.
    """
    total = a.count + b.count
    with np.errstate(invalid="ignore"):
        estimate = float(
            np.subtract(median_time(a, confidence).estimate, median_time(b, confidence).estimate)
        )
        if min(a.count, b.count) < 2:
            return Interval(estimate, -np.inf, np.inf, total, confidence)
        one, other = (
            medians(each.sorted(), draws(each.count, resamples, key))
            for key, each in enumerate((a, b))
        )
        apart = one - other
    tail = (1 - confidence) / 2
    low = np.quantile(np.nan_to_num(apart, nan=-np.inf, posinf=np.inf, neginf=-np.inf), tail,
                      method="lower")  # fmt: skip
    high = np.quantile(np.nan_to_num(apart, nan=np.inf, posinf=np.inf, neginf=-np.inf), 1 - tail,
                       method="higher")  # fmt: skip
    return Interval(estimate, float(low), float(high), total, confidence)


def relabellings(sizes: Sequence[int]) -> tuple[Int[np.ndarray, "labelling seed"], bool]:
    """Labels of groups of these sizes: every way to give them, or 10,000 ways; and which of both.

    All of them for two groups where that is at most 50,000 ways, otherwise from a fixed stream.
    """
    if len(sizes) == 2 and comb(sum(sizes), sizes[0]) <= ENUMERATED:
        return _all_pairs(sum(sizes), sizes[0]), True
    generator = np.random.Generator(np.random.Philox(key=2))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return generator.permuted(np.tile(labels, (SAMPLED, 1)), axis=1), False


def _statistics(
    pooled: Times, member: Bool[np.ndarray, "group labelling seed"]
) -> Float[np.ndarray, " labelling"]:
    """The log-rank statistic of each labelling of the pooled seeds."""
    risk, left, here, scores = _scores(pooled)
    spread = here * (left - here) / np.maximum(left - 1, 1)
    kept = member[:-1].astype(np.float64)  # the last group follows from the others
    apart = kept @ scores
    parts = (kept @ risk) / left
    if len(kept) == 1:
        variance = (parts[0] * (1 - parts[0])) @ spread
        safe = np.where(variance > 1e-12, variance, 1.0)
        return np.where(variance > 1e-12, apart[0] ** 2 / safe, 0.0)
    within = np.einsum("glm,m->lg", parts, spread)
    covariance = -np.einsum("glm,hlm,m->lgh", parts, parts, spread)
    covariance += within[:, :, None] * np.eye(len(kept))
    inverse = np.linalg.pinv(covariance, rcond=1e-9, hermitian=True)
    return np.einsum("gl,lgh,hl->l", apart, inverse, apart)


def _apart(
    pooled: Times, member: Bool[np.ndarray, "group labelling seed"]
) -> Float[np.ndarray, " labelling"]:
    """How far each labelling tears the groups apart: sum of (observed - expected)^2 / seeds."""
    *_, scores = _scores(pooled)
    return ((member @ scores) ** 2 / member.sum(axis=-1)).sum(axis=0)


def _scores(pooled: Times) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """At every leap who is at risk [seed, leap], how many [leap], how many leap [leap]; and the
    score of each seed: a group's observed minus expected leaps are the sum of its seeds'."""
    moments = np.unique(pooled.times[pooled.happened])
    risk = (pooled.times[:, None] >= moments).astype(np.float64)
    leapt = ((pooled.times[:, None] == moments) & pooled.happened[:, None]).astype(np.float64)
    left, here = risk.sum(axis=0), leapt.sum(axis=0)
    return risk, left, here, (leapt - risk * (here / left)).sum(axis=1)


def _membership(labels: np.ndarray, groups: int) -> Bool[np.ndarray, "group labelling seed"]:
    return labels[None] == np.arange(groups)[:, None, None]


def _all_pairs(count: int, first: int) -> np.ndarray:
    """Every way to give `first` of `count` seeds label 0 and the others label 1."""
    chosen = np.array(list(combinations(range(count), first)), dtype=np.int64)
    labels = np.ones((len(chosen), count), dtype=np.int64)
    np.put_along_axis(labels, chosen, 0, axis=1)
    return labels
