"""What the claims and figures read from the runs of this study, and how two arms are compared."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from saltus.experiment import Experiment
from saltus.runs import Run
from saltus.studies.claim import Arms, Kind, Quantity, Range, Verdict
from saltus.tasks.base import Task
from saltus.tasks.images import TwoStepImage
from saltus.transitions import Interval, Times, share_interval
from saltus.transitions.statistics.effects import effect
from saltus.transitions.statistics.eureka import ACCURACY, EurekaMoments, eureka_moments

PerSeed = Float[ndarray, " seed"]
PerOther = Float[ndarray, " other"]  # seeds of an arm that is compared with
VALIDATION, TRAINING = "evaluation/accuracy", "training/accuracy"
EPOCH = 117  # steps of 512 images at paper scale
RESAMPLES = 10_000


class Window(NamedTuple):
    """From a step to a step, both included; NaN where there is none."""

    start: float
    end: float

    @property
    def length(self) -> float:
        return self.end - self.start

    @property
    def late(self) -> Window:
        """The second half."""
        return Window(self.start + self.length / 2, self.end)


def task_of(run: Run) -> Task:
    """What a run was trained on."""
    return Experiment.of(run.experiment, str(run.path)).task


def moments(run: Run, name: str = VALIDATION) -> EurekaMoments:
    """The Eureka-moment of each seed, by accuracy on fresh compositions or on training batches."""
    series = run.series(name)
    return eureka_moments(series.steps, series.values)


def times(run: Run) -> Times:
    """The same as times to an event."""
    return moments(run).times


def times_on_images(arms: Arms) -> dict[str, Times]:
    """When a Eureka-moment came, for every arm on the two-step images as they are: not for the
    control, the stand-ins, or arms of several settings."""
    return {
        name: times(run)
        for name, run in arms.items()
        if isinstance(task := task_of(run), TwoStepImage)
        and task.control == "none"
        and not run.experiment["vary"]
    }


def counted(found: EurekaMoments, budget: float | None = None) -> PerSeed:
    """e* of each seed, failed ones counted at the budget: its mean is the censored mean.

    With a shorter budget, as if the run had ended there.
    """
    end = found.budget if budget is None else min(budget, found.budget)
    return np.minimum(np.where(found.happened, found.step, end), end)


def saturation(run: Run, name: str = VALIDATION) -> PerSeed:
    """e* - e_p of each seed; of a failed one how long it has waited; NaN if it never began to."""
    found = moments(run, name)
    return np.where(found.happened, found.step, found.last) - found.plateau


def waiting(run: Run) -> list[Window]:
    """Of each seed: from e_p, where both targets are read, to the last evaluation below 0.60 before
    its Eureka-moment; of a failed one, to the last of all that are below."""
    series, found = run.series(VALIDATION), moments(run)
    windows = []
    for values, start, end in zip(series.values, found.plateau, found.step, strict=True):
        before = (series.steps >= start) & (values < 0.60)  # NaN: it never reads both targets
        before &= series.steps < (np.inf if np.isnan(end) else end)
        on = series.steps[before]
        windows.append(Window(float(start), float(on[-1]) if len(on) else np.nan))
    return windows


def rise(run: Run, name: str = VALIDATION) -> PerSeed:
    """Steps from the last accuracy below 0.60 before e* to the first above 0.90 from it on."""
    seeds = len(run.series(name).values)
    return _climb(run, name, np.full(seeds, 0.60), np.full(seeds, 0.90))


def abruptness(run: Run, name: str = VALIDATION) -> PerSeed:
    """Steps from 10 % to 90 % of the way from 0.55 to the accuracy that the seed ends at."""
    way = final(run, name) - ACCURACY.plateau
    return _climb(run, name, ACCURACY.plateau + 0.1 * way, ACCURACY.plateau + 0.9 * way)


def final(run: Run, name: str = VALIDATION) -> PerSeed:
    """The mean of the last three readings."""
    return run.series(name).values[:, -3:].mean(axis=1)


def longest_stretch(
    steps: Int[ndarray, " reading"], inside: Bool[ndarray, "seed reading"]
) -> list[Window]:
    """Of each seed, its longest stretch of consecutive readings that lie inside."""
    found = []
    for row in inside:
        edges = np.diff(np.concatenate([[0], row.astype(int), [0]]))
        starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
        if len(starts):
            best = int((steps[ends] - steps[starts]).argmax())
            found.append(Window(float(steps[starts[best]]), float(steps[ends[best]])))
        else:
            found.append(Window(np.nan, np.nan))
    return found


def over(run: Run, name: str, windows: Sequence[Window]) -> PerSeed:
    """The mean of each seed's readings in its window; NaN where there is none."""
    return np.array([row.mean() if len(row) else np.nan for row in _read(run, name, windows)])


def last_in(run: Run, name: str, windows: Sequence[Window]) -> PerSeed:
    """Each seed's last reading in its window; NaN where there is none."""
    return np.array([row[-1] if len(row) else np.nan for row in _read(run, name, windows)])


def by_setting(run: Run, field: str) -> dict[float, Int[ndarray, " member"]]:
    """The places of the members, by the value of a setting that was varied."""
    values = np.array([float(member["overrides"][field]) for member in run.members])
    return {float(value): np.flatnonzero(values == value) for value in np.unique(values)}


def difference(name: str, arm: PerSeed, reference: PerOther, accepted: Range) -> Quantity:
    """Mean of an arm minus mean of the reference, with Welch's interval, must lie in the range."""
    apart = effect(np.asarray(reference, np.float64), np.asarray(arm, np.float64)).difference
    known = reference[np.isfinite(reference)]
    values = arm - (known.mean() if len(known) else np.nan)
    return _compared(name, values, accepted, apart, min(len(arm), len(known)))


def quotient(
    name: str, arm: PerSeed, reference: PerOther, accepted: Range, fewest: int = 2
) -> Quantity:
    """Mean of an arm over mean of the reference: the interval must lie in the range.

    Percentile bootstrap over the seeds of both, from a fixed stream; too narrow with a handful of
    seeds. Below `fewest` seeds in an arm, or with a seed without a value, inconclusive at best.
    """
    top, bottom = (np.sort(each[np.isfinite(each)]) for each in (arm, reference))
    count = min(len(top), len(bottom))
    if count == 0 or not bottom.any():  # nothing to divide by
        return _compared(name, arm * np.nan, accepted, Interval(np.nan, -np.inf, np.inf, 0), 0)
    ratio, low, high = top.mean() / bottom.mean(), -np.inf, np.inf
    if count >= 2:
        stream = np.random.Generator(np.random.Philox(key=0))
        drawn = [
            each[stream.integers(0, len(each), (RESAMPLES, len(each)))].mean(axis=1)
            for each in (top, bottom)
        ]
        low, high = np.quantile(drawn[0] / drawn[1], [0.025, 0.975])
    interval = Interval(float(ratio), float(low), float(high), count)
    whole = len(top) == len(arm) and len(bottom) == len(reference)
    enough = count if count >= fewest and whole else 0
    return _compared(name, arm / bottom.mean(), accepted, interval, enough)


def no_smaller_share(name: str, arm: Times, reference: Times) -> Quantity:
    """Share of seeds with an event, the arm's minus the reference's: not below 0.

    The rule of our spec compares two numbers. Smaller by chance is no contradiction: only where
    Newcombe's interval of the difference (1998, method 10) lies below 0 it is.
    """
    own, other = (share_interval(each.leaps, each.count) for each in (arm, reference))
    gap = own.estimate - other.estimate
    low = gap - sqrt((own.estimate - own.low) ** 2 + (other.high - other.estimate) ** 2)
    high = gap + sqrt((own.high - own.estimate) ** 2 + (other.estimate - other.low) ** 2)
    interval = Interval(gap, low, high, min(arm.count, reference.count))
    verdict = Verdict.INCONCLUSIVE
    if min(arm.count, reference.count) >= 2:
        if gap >= 0:
            verdict = Verdict.REPRODUCED
        elif high < 0:
            verdict = Verdict.CONTRADICTED
    values = tuple(float(value) - other.estimate for value in arm.happened)
    return Quantity(name, values, Range(low=0.0), interval, verdict)


def _compared(
    name: str, values: PerSeed, accepted: Range, interval: Interval, count: int
) -> Quantity:
    """Judged by where the interval lies, with two seeds in either arm and none lost."""
    known = np.isfinite(values).all() and count >= 2
    verdict = accepted.judge(interval) if known else Verdict.INCONCLUSIVE
    return Quantity(name, tuple(map(float, values)), accepted, interval, verdict, Kind.MEAN)


def _read(run: Run, name: str, windows: Sequence[Window]) -> list[ndarray]:
    series = run.series(name)
    return [
        values[(series.steps >= window.start) & (series.steps <= window.end)]
        for values, window in zip(series.values, windows, strict=True)
    ]


def _climb(run: Run, name: str, low: PerSeed, high: PerSeed) -> PerSeed:
    """From the last reading below before e* to the first above from it on; NaN without either."""
    series, found = run.series(name), moments(run, name)
    climbs = np.full(len(series.values), np.nan)
    for seed in np.flatnonzero(found.happened):
        values, end = series.values[seed], found.step[seed]
        below = series.steps[(values < low[seed]) & (series.steps < end)]
        above = series.steps[(values > high[seed]) & (series.steps >= end)]
        if len(below) and len(above):
            climbs[seed] = above[0] - below[-1]
    return climbs
