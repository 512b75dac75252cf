"""Eureka-moments: when a seed leaves the plateau of a two-step task, and what arms have in common.

"Eureka-Moments in Transformers" (2310.12956) uses the words; its formal definitions are not
established. Those here are this project's (section 1 of our spec), for curves of accuracy that rise
and of losses that fall. Read `Criterion`, then `EurekaMoments`; `eureka_summary` has the numbers of
an arm, `eureka_comparison` what is known of several arms' difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from saltus.errors import SaltusError, unknown
from saltus.transitions.drop import moving_average
from saltus.transitions.statistics.bootstrap import bootstrap_interval
from saltus.transitions.statistics.comparison import LogRank, log_rank, median_difference
from saltus.transitions.statistics.effects import holm
from saltus.transitions.statistics.intervals import Interval, mean_interval
from saltus.transitions.statistics.product_limit import leap_probability, median_time
from saltus.transitions.statistics.restricted import restricted_mean
from saltus.transitions.statistics.times import Times


@dataclass(frozen=True)
class Criterion:
    """What counts as a Eureka-moment in a curve; rising where `solved` is above `plateau`.

    The defaults are those of ten balanced classes and a fair decision: the plateau's accuracy is
    0.55 exactly, 0.95 is what solved runs come near to. Raises SaltusError for a field that is not
    allowed.
    """

    plateau: float = 0.55  # level at which the decision is not learned yet
    solved: float = 0.95
    confirmations: int = 2  # readings after the crossing that must be beyond the threshold, too
    margin: float = 0.03  # the plateau begins so much before its level is reached
    smoothing: float = 0.0  # decay per step of a moving average; 0: the curve as it is

    def __post_init__(self) -> None:
        if not (isfinite(self.plateau) and isfinite(self.solved)) or self.plateau == self.solved:
            raise SaltusError(
                f"criterion: a plateau of {self.plateau:g} and a solved level of {self.solved:g} "
                "are not allowed: two finite levels that differ"
            )
        if self.confirmations < 0:
            raise SaltusError(f"confirmations: {self.confirmations} is not allowed: 0 or more")
        if not (self.margin >= 0 and isfinite(self.margin)):
            raise SaltusError(f"margin: {self.margin:g} is not allowed: 0 or more, and finite")
        if not 0 <= self.smoothing < 1:
            raise SaltusError(f"smoothing: {self.smoothing:g} is not allowed: 0 to below 1")

    @property
    def rising(self) -> bool:
        return self.solved > self.plateau

    @property
    def threshold(self) -> float:
        """Theta: the middle of the two levels."""
        return (self.plateau + self.solved) / 2

    def level(self, share: float) -> float:
        """The level at a share of the gap: 0 is the plateau, 1 solved."""
        return self.plateau + share * (self.solved - self.plateau)

    def beyond(
        self, values: Real[np.ndarray, "*shape"], level: float
    ) -> Bool[np.ndarray, "*shape"]:
        """Where values are at a level or nearer to solved; never where they are not finite."""
        near = values >= level if self.rising else values <= level
        return near & np.isfinite(values)


ACCURACY = Criterion()
# Smoothed training loss with label smoothing 0.1, ten classes (section 2 of our spec).
TRAINING_LOSS = Criterion(1.0246, 0.5003, confirmations=0, margin=0.05, smoothing=0.95)


@dataclass(frozen=True, eq=False)
class EurekaMoments:
    """What happened to each seed of an arm, in steps; nan where it did not happen."""

    step: Float[np.ndarray, " seed"]  # e*: first confirmed reading at or beyond the threshold
    plateau: Float[np.ndarray, " seed"]  # e_p: first reading within the margin of the plateau
    early: Float[np.ndarray, " seed"]  # last reading before e* that is short of 10 % of the gap
    late: Float[np.ndarray, " seed"]  # first reading from e* on that is beyond 90 % of it
    last: Float[np.ndarray, " seed"]  # last finite reading: earlier than the budget if it diverged
    pending: Bool[np.ndarray, " seed"]  # crossed, but too late to be confirmed: counted as failed
    budget: float  # last step of the arm

    @property
    def runs(self) -> int:
        return len(self.step)

    @property
    def happened(self) -> Bool[np.ndarray, " seed"]:
        return np.isfinite(self.step)

    @property
    def times(self) -> Times:
        """e* as survival data; a seed without one is censored at its last finite reading."""
        return Times(np.where(self.happened, self.step, self.last), self.happened)

    @property
    def saturation(self) -> Times:
        """e* - e_p of the seeds that came to the plateau; still on it: censored."""
        came = np.isfinite(self.plateau)
        end = np.where(self.happened, self.step, self.last)
        return Times((end - self.plateau)[came], self.happened[came])

    @property
    def abruptness(self) -> Times:
        """Steps from 10 % to 90 % of the gap, of the seeds with a Eureka-moment.

        To the readings' resolution and never below it: from the last reading short of 10 % to the
        first beyond 90 %. Censored where 90 % is not reached within the budget.
        """
        done = np.isfinite(self.late)
        end = np.where(done, self.late, self.last)
        return Times((end - self.early)[self.happened], done[self.happened])


def eureka_moments(
    steps: Int[np.ndarray, " reading"],
    values: Real[np.ndarray, "seed reading"],
    criterion: Criterion = ACCURACY,
) -> EurekaMoments:
    """The Eureka-moment of each seed from its curve (section 1 of our spec; choices of ours).

    e* is the first reading at or beyond the threshold after which the next `confirmations`
    readings are, too. A seed whose last readings do not suffice to confirm one is censored, and
    marked `pending`. Readings that are not finite are beyond nothing. Raises SaltusError for no
    readings, and steps that do not rise.
    """
    if len(steps) == 0 or len(steps) != values.shape[-1]:
        raise SaltusError(
            f"eureka: {len(steps)} steps and {values.shape[-1]} readings are not allowed: one step "
            "for each reading, and at least one"
        )
    if (np.diff(steps) <= 0).any():
        raise SaltusError("eureka: steps that do not rise are not allowed")
    found = [
        _of_seed(steps, np.asarray(curve, dtype=np.float64), criterion)
        for curve in np.asarray(values)
    ]
    table = np.array([each[:5] for each in found], dtype=np.float64).reshape(-1, 5)
    pending = np.array([each[5] for each in found], dtype=bool)
    step, plateau, early, late, last = table.T
    return EurekaMoments(step, plateau, early, late, last, pending, float(steps[-1]))


@dataclass(frozen=True)
class EurekaSummary:
    """One arm. The two means answer different questions and are never mixed."""

    runs: int
    budget: float
    ratio: Interval  # of runs with a Eureka-moment within the budget; Wilson
    successes: Interval  # mean e* of those runs alone; bootstrap
    censored: Interval  # mean over all runs, those without counted at the budget; bootstrap
    median: Interval  # of e*, from the survival curve; infinite where fewer than half have one
    saturation: Interval  # median, from its survival curve
    abruptness: Interval  # median, from its survival curve
    pending: int  # runs that crossed too late to be confirmed
    diverged: int  # runs without a Eureka-moment whose readings end before the budget


def eureka_summary(moments: EurekaMoments, confidence: float = 0.95) -> EurekaSummary:
    """The numbers of an arm, each with its interval over runs.

    Raises SaltusError for no runs, and for a confidence outside 0 to 1.
    """
    if moments.runs == 0:
        raise SaltusError("eureka: an arm without runs has no summary")
    times, budget = moments.times, moments.budget
    return EurekaSummary(
        moments.runs,
        budget,
        leap_probability(times, confidence),
        bootstrap_interval(moments.step[moments.happened], np.mean, confidence),
        _censored_mean(moments, confidence),
        median_time(times, confidence),
        median_time(moments.saturation, confidence),
        median_time(moments.abruptness, confidence),
        int(moments.pending.sum()),
        int((~moments.happened & (moments.last < budget)).sum()),
    )


@dataclass(frozen=True)
class EurekaContrast:
    """An arm against the reference, up to the shorter of their budgets."""

    test: LogRank
    adjusted: float  # Holm's p over the arms, of the permutation test where there is one
    later: Interval  # difference of the medians: positive where the arm is later


@dataclass(frozen=True)
class EurekaComparison:
    """Arms side by side."""

    reference: str
    moments: Mapping[str, EurekaMoments]
    summaries: Mapping[str, EurekaSummary]
    contrasts: Mapping[str, EurekaContrast]  # of all arms but the reference


def eureka_comparison(
    arms: Mapping[str, EurekaMoments], reference: str | None = None, confidence: float = 0.95
) -> EurekaComparison:
    """Summaries of all arms, and the log-rank test of each against `reference` (None: the first).

    Two arms with different budgets are compared up to the shorter. Arms that share their seeds
    are treated as independent, which makes the test careful. Raises SaltusError for no arms, an arm
    without runs, and a reference that is not there.
    """
    if not arms:
        raise SaltusError("eureka: no arms to compare; at least one")
    first = next(iter(arms)) if reference is None else reference
    if first not in arms:
        raise SaltusError(f"reference: {unknown('arm', first, arms)}")
    summaries = {arm: eureka_summary(own, confidence) for arm, own in arms.items()}
    others = [arm for arm in arms if arm != first]
    pairs = [_up_to_the_shorter(arms[arm], arms[first]) for arm in others]
    tests = [log_rank(reference, own) for own, reference in pairs]
    adjusted = holm([test.best for test in tests])
    contrasts = {
        arm: EurekaContrast(test, p, median_difference(*pair, confidence))
        for arm, test, p, pair in zip(others, tests, adjusted, pairs, strict=True)
    }
    return EurekaComparison(first, dict(arms), summaries, contrasts)


def lag(
    validation: EurekaMoments, training: EurekaMoments, confidence: float = 0.95
) -> tuple[Float[np.ndarray, " seed"], Interval]:
    """e* by validation minus e* by training of each seed, and the mean with Student's interval.

    nan where one of the two did not happen; such seeds are not in the mean. Near zero where the
    Eureka-moment is no grokking (claim C4 of our spec). Raises SaltusError where the two do not
    have as many seeds.
    """
    if validation.runs != training.runs:
        raise SaltusError(
            f"lag: {validation.runs} seeds by validation and {training.runs} by training are not "
            "allowed: the same seeds in both"
        )
    apart = validation.step - training.step
    return apart, mean_interval(apart, confidence)


def _of_seed(
    steps: Int[np.ndarray, " reading"], raw: Float[np.ndarray, " reading"], criterion: Criterion
) -> tuple[float, float, float, float, float, bool]:
    """e*, e_p, the readings around 10 % and 90 %, the last finite one, and whether it is pending"""
    curve = moving_average(steps, raw, criterion.smoothing) if criterion.smoothing else raw
    finite = np.flatnonzero(np.isfinite(curve))
    if not len(finite):
        return np.nan, np.nan, np.nan, np.nan, float(steps[0]), False
    last = int(finite[-1])
    beyond = criterion.beyond(curve, criterion.threshold)
    held = _held(beyond, criterion.confirmations)
    toward = -criterion.margin if criterion.rising else criterion.margin
    plateau = _first(steps, criterion.beyond(curve, criterion.plateau + toward))
    if not held.any():
        pending = bool(beyond[last])
        return np.nan, plateau, np.nan, np.nan, float(steps[last]), pending
    moment = int(held.argmax())
    short = np.flatnonzero(~criterion.beyond(curve[:moment], criterion.level(0.1)))
    early = float(steps[short[-1] if len(short) else 0])
    late = _first(steps[moment:], criterion.beyond(curve[moment:], criterion.level(0.9)))
    return float(steps[moment]), plateau, early, late, float(steps[last]), False


def _held(beyond: Bool[np.ndarray, " reading"], more: int) -> Bool[np.ndarray, " reading"]:
    """Where a reading and the next `more` of them are beyond; never where there are not as many."""
    after = np.concatenate([beyond, np.zeros(more, dtype=bool)])
    windows = np.lib.stride_tricks.sliding_window_view(after, more + 1)
    return np.asarray(windows.all(axis=1))


def _first(steps: Int[np.ndarray, " reading"], where: Bool[np.ndarray, " reading"]) -> float:
    return float(steps[where.argmax()]) if where.any() else float("nan")


def _censored_mean(moments: EurekaMoments, confidence: float) -> Interval:
    """Runs without a Eureka-moment count as the budget, also those that diverged before it."""
    if moments.budget <= 0:
        return Interval(0.0, 0.0, 0.0, moments.runs, confidence)
    counted = np.where(moments.happened, moments.step, moments.budget)
    return restricted_mean(Times(counted, moments.happened), moments.budget, confidence)


def _up_to_the_shorter(one: EurekaMoments, other: EurekaMoments) -> tuple[Times, Times]:
    end = min(one.budget, other.budget)
    cut = []
    for times in (one.times, other.times):
        cut.append(Times(np.minimum(times.times, end), times.happened & (times.times <= end)))
    return cut[0], cut[1]
