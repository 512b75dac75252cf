"""Rules of others, and older ones of ours, as columns of `saltus dropbench`.

Finished series (ruptures: Truong, Oudre and Vayatis 2020):

    pelt-bic     least-squares change points by PELT, penalty 2 sigma^2 log n (BIC); every change
                 to a level lower by 3 sigma is a drop: the textbook
    pelt         penalty `PENALTY` sigma^2 log n, read as drops by the rule below
    pelt-rbf     the rbf kernel on values / sigma at the median bandwidth, penalty `PENALTY_RBF`
                 log n, read likewise
    binseg       least squares by binary segmentation at every 5th point, read like pelt
    half-height  `saltus.transitions.drop`: a moving average falls below half of the plateau

PELT is ruptures' implementation in C (KernelCPD): the same optimum. Change points are not leaps, so
they are read by one rule that was given some care: neighbouring downward changes are one drop; it
must exceed `NOISES` sigma, `SMALLEST` of the range and `CONTRAST` times the trend within the
stretch before it; that stretch must be as long as the drop and `SHORTEST` of the series; the series
must then stay below the middle; what begins at a known change of the learning rate is not named.
sigma is 1.48 times the median |difference| over sqrt 2, and at least 10^-3 of the range.

Growing series:

    cusum           Page's one-sided sum (1954) on values standardised by the mean and deviation of
                    the first 20 points after 5 are left out, allowance 1/2, threshold 5: the
                    textbook; after an alarm or a learning-rate step it standardises anew
    cusum-cautious  the same with 40 points, allowance `ALLOWANCE` and threshold `THRESHOLD`
    pelt-again      at every 10th point the rule `pelt` on the last 200 points since the last
                    learning-rate step

The constants in capitals were chosen on the split "development".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Real

from saltus.errors import SaltusError
from saltus.transitions.drop import drops

PENALTY = 30.0
PENALTY_RBF = 1.0
NOISES = 2.0
CONTRAST = 6.0
SHORTEST = 0.05
SMALLEST = 0.05
ALLOWANCE = 2.0
THRESHOLD = 20.0

Steps = Real[np.ndarray, " step"]
Values = Float[np.ndarray, " step"]


class Alarm(NamedTuple):
    """What a live detector says, with the fields of `saltus.transitions.online.Event`."""

    member: int
    step: float
    kind: str
    since: float


def pelt_bic(steps: Steps, values: Values, changes: Sequence[float] = ()) -> list[float]:
    """Every downward change of more than 3 sigma; it knows no learning-rate steps."""
    sigma = noise_of(values)
    inner = _change_points("linear", values, 2 * sigma**2)
    levels = [float(values[a:b].mean()) for a, b in pairwise([0, *inner, len(values)])]
    falls = [upper - lower for upper, lower in pairwise(levels)]
    return [float(steps[at]) for at, fall in zip(inner, falls, strict=True) if fall > 3 * sigma]


def pelt(steps: Steps, values: Values, changes: Sequence[float] = ()) -> list[float]:
    """Drop steps from least-squares change points."""
    sigma = noise_of(values)
    found = _change_points("linear", values, PENALTY * sigma**2)
    return read_as_drops(steps, values, found, changes, sigma)


def pelt_rbf(steps: Steps, values: Values, changes: Sequence[float] = ()) -> list[float]:
    """Drop steps from change points of the distribution (rbf kernel)."""
    sigma = noise_of(values)
    found = _change_points("rbf", values / sigma, PENALTY_RBF)
    return read_as_drops(steps, values, found, changes, sigma)


def binseg(steps: Steps, values: Values, changes: Sequence[float] = ()) -> list[float]:
    """Drop steps from change points by binary segmentation."""
    from ruptures import Binseg

    sigma = noise_of(values)
    search = Binseg(model="l2", min_size=2, jump=5).fit(values[:, None])
    found = search.predict(pen=PENALTY * sigma**2 * np.log(len(values)))
    return read_as_drops(steps, values, found[:-1], changes, sigma)


def half_height(steps: Steps, values: Values, changes: Sequence[float] = ()) -> list[float]:
    """The drop step of the half-height rule, with its own constants; it knows no changes."""
    try:
        (found,) = drops(steps, values[None])
    except SaltusError:  # no point within 5 to 20 % of the budget
        return []
    return [] if found.step is None else [float(found.step)]


class Cusum:
    """Page's cumulative sum for falls, for many members at once."""

    left_out, reference, allowance, threshold = 5, 20, 0.5, 5.0

    def __init__(self, members: int) -> None:
        self.seen = np.full(members, -self.left_out)
        self.first = np.zeros((members, self.reference))
        self.mean, self.deviation, self.sum = (np.zeros(members) for _ in range(3))
        self.since = np.zeros(members)

    def update(
        self, step: float, values: Float[np.ndarray, " member"], changed: bool = False
    ) -> list[Alarm]:
        """Take one value of each member; `changed`: standardise anew."""
        if changed:
            self.seen[:] = -self.left_out
        learning = self.seen < self.reference
        taking = np.flatnonzero(learning & (self.seen >= 0))
        self.first[taking, self.seen[taking]] = values[taking]
        self.seen[learning] += 1
        ready = np.flatnonzero(learning & (self.seen == self.reference))
        if len(ready):
            self.mean[ready] = self.first[ready].mean(axis=1)
            spread = self.first[ready].std(axis=1, ddof=1)
            self.deviation[ready] = np.maximum(spread, 1e-3 * np.abs(self.mean[ready]) + 1e-300)
            self.sum[ready], self.since[ready] = 0, step
        watching = ~learning
        fall = (self.mean - values) / np.where(watching, self.deviation, 1)
        grown = np.where(watching, np.maximum(self.sum + fall - self.allowance, 0), 0)
        self.since[watching & (grown == 0)] = step
        said = np.flatnonzero(grown > self.threshold)
        self.sum = grown
        self.seen[said] = -self.left_out
        return [Alarm(int(k), step, "leap begun", float(self.since[k])) for k in said]


class CautiousCusum(Cusum):
    """With a longer reference and a threshold that noise seldom reaches."""

    reference, allowance, threshold = 40, ALLOWANCE, THRESHOLD


class PeltAgain:
    """The rule `pelt` on the last 200 points, at every 10th point."""

    every, kept = 10, 200

    def __init__(self, members: int) -> None:
        self.steps: list[float] = []
        self.values: list[np.ndarray] = []
        self.latest = np.full(members, -np.inf)  # step of the last drop that was told
        self.count = 0

    def update(
        self, step: float, values: Float[np.ndarray, " member"], changed: bool = False
    ) -> list[Alarm]:
        """Take one value of each member; `changed`: forget the past."""
        if changed:
            self.steps, self.values, self.count = [], [], 0
        self.steps, self.values = [*self.steps, step][-self.kept :], [*self.values, values]
        self.values, self.count = self.values[-self.kept :], self.count + 1
        if self.count % self.every or self.count < 40:
            return []
        steps, told = np.array(self.steps), []
        near = 10 * (steps[-1] - steps[-2])
        for member, series in enumerate(np.stack(self.values, axis=1)):
            new = [drop for drop in pelt(steps, series) if drop > self.latest[member] + near]
            if new:
                self.latest[member] = new[-1]
                told.append(Alarm(member, step, "leap begun", new[-1]))
        return told


OFFLINE: dict[str, Callable[..., Any]] = {
    "pelt-bic": pelt_bic,
    "pelt": pelt,
    "pelt-rbf": pelt_rbf,
    "binseg": binseg,
    "half-height": half_height,
}


LIVE: dict[str, Callable[[int], Any]] = {
    "cusum": Cusum,
    "cusum-cautious": CautiousCusum,
    "pelt-again": PeltAgain,
}
# The slow ones see the first so many curves; the table says how many each has seen.
AT_MOST = {"pelt-rbf": 1000, "pelt-again": 500}


def _change_points(kernel: str, values: Values, penalty: float) -> list[int]:
    """By PELT, with `penalty` times log n for each."""
    from ruptures import KernelCPD

    if not np.ptp(values) > 0:
        return []  # nothing changes, and the rbf bandwidth would be that of nothing
    search = KernelCPD(kernel=kernel, min_size=2).fit(values[:, None])
    return [int(at) for at in search.predict(pen=penalty * np.log(len(values))) or []][:-1]


def noise_of(values: Values) -> float:
    """The deviation of one point, from differences, so that leaps and ramps do not count."""
    rough = 1.4826 * float(np.median(np.abs(np.diff(values)))) / np.sqrt(2)
    return max(rough, 1e-3 * float(np.ptp(values)), 1e-150)  # its square is above 0


def read_as_drops(
    steps: Steps,
    values: Values,
    breaks: Sequence[int],
    changes: Sequence[float],
    sigma: float,
) -> list[float]:
    """The drops among change points, by the rule at the head of this file."""
    edges = [0, *breaks, len(values)]
    levels = [float(np.median(values[a:b])) for a, b in pairwise(edges)]
    found, first = [], 1
    while first < len(levels):
        if levels[first] >= levels[first - 1]:
            first += 1
            continue
        before = edges[first] - edges[first - 1]
        last = first
        while (
            last + 1 < len(levels)
            and levels[last + 1] < levels[last]
            and edges[last + 1] - edges[last] < before / 2
            and edges[last + 1] - edges[first] <= before
        ):
            last += 1
        start, end = edges[first], edges[last]
        upper, lower = levels[first - 1], levels[last]
        if _stands_out(values, edges[first - 1], start, end, upper - lower, sigma):
            reason = any(start - 3 <= np.searchsorted(steps, at) <= end for at in changes)
            if not reason:
                inside = values[start : end + 1] < (upper + lower) / 2
                place = start + int(inside.argmax()) if inside.any() else end
                found.append(float(steps[min(place, len(steps) - 1)]))
        first = last + 1
    return found


def _stands_out(
    values: Values, begin: int, start: int, end: int, fall: float, sigma: float
) -> bool:
    before = values[begin:start]
    if len(before) < SHORTEST * len(values) or fall < SMALLEST * np.ptp(values):
        return False
    half = len(before) // 2
    trend = float(np.median(before[:half]) - np.median(before[half:])) if half >= 2 else 0.0
    after = values[end : end + max(len(before), end - start, 10)]
    middle = float(np.median(before)) - fall / 2
    stays = float(np.mean(after < middle)) > 0.8
    return fall > NOISES * sigma and fall > CONTRAST * max(trend, 0.0) and stays
