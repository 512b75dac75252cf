"""A claim is one statement of a paper as code: quantities, accepted ranges, and a verdict.

What is judged follows from the kind of a quantity, and the rule of a kind is the same everywhere:

- `amount`, `median`, `holds`: the mean, the median, or the share of yes over seeds. Its 95 %
  interval over seeds is compared with the accepted range. Inside: `reproduced`. Outside altogether:
  `contradicted`. Across a border, or too few seeds: `inconclusive`.
- `every`: each seed on its own must lie in the accepted range, or a stated share of the seeds must.
  That many do: `reproduced`. Where all must, one seed outside is a counterexample: `contradicted`.
  Where a share must, it is contradicted when the Wilson interval of the share found lies below it.
- `exact`: a number without seeds. Inside: `reproduced`; outside: `contradicted`.

A seed without a finite value (what was looked for never happened) cannot be averaged away and lies
nowhere: it makes any kind inconclusive at best. A claim with several quantities is reproduced when
all are, contradicted when any is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import isfinite
from typing import SupportsFloat

import numpy as np

from saltus.runs import Run
from saltus.transitions import Interval, mean_interval, median_interval, share_interval

Arms = Mapping[str, Run]

# Seeds that all agree show what most seeds do from four on: Wilson's interval of 3 of 3 starts at
# 0.44, of 4 of 4 at 0.51. Fewer cannot show what every seed does.
FEWEST_FOR_SHARE = 4
# No resampling reaches beyond the smallest and the largest seed, and even these two miss the median
# in 2 of 2^n cases: 6 % for five seeds, 3 % for six.
FEWEST_FOR_MEDIAN = 6


class Verdict(StrEnum):
    """What runs say of a claim."""

    REPRODUCED = "reproduced"
    CONTRADICTED = "contradicted"
    INCONCLUSIVE = "inconclusive"
    NOT_RUN = "not run"


class Kind(StrEnum):
    """What of the values of a quantity is judged."""

    MEAN = "mean"
    MEDIAN = "median"
    SHARE = "share"
    EVERY = "every"
    EXACT = "exact"


@dataclass(frozen=True)
class Range:
    """Accepted values, borders included, or left out where the range is open."""

    low: float = -np.inf
    high: float = np.inf
    open: bool = False

    def __str__(self) -> str:
        if self.low == -np.inf:
            return f"{'<' if self.open else '≤'} {self.high:g}"
        if self.high == np.inf:
            return f"{'>' if self.open else '≥'} {self.low:g}"
        middle = "between {:g} and {:g}" if self.open else "{:g} to {:g}"
        return middle.format(self.low, self.high)

    def __contains__(self, value: float) -> bool:
        if self.open:
            return self.low < value < self.high
        return self.low <= value <= self.high

    def judge(self, interval: Interval) -> Verdict:
        """By where the interval lies; two seeds at least."""
        if interval.count < 2:
            return Verdict.INCONCLUSIVE
        if interval.low in self and interval.high in self:
            return Verdict.REPRODUCED
        if self.open:
            outside = interval.high <= self.low or interval.low >= self.high
        else:
            outside = interval.high < self.low or interval.low > self.high
        return Verdict.CONTRADICTED if outside else Verdict.INCONCLUSIVE


@dataclass(frozen=True)
class Quantity:
    """One measured number per seed (or one without seeds), what is accepted, and the verdict."""

    name: str
    values: tuple[float, ...]  # one per seed; of `exact` the number itself
    accepted: Range
    interval: Interval | None  # of what is judged; of `every`: of the share of seeds inside
    verdict: Verdict
    kind: Kind = Kind.MEAN
    share: float | None = None  # of `every`: the share of seeds that must lie inside

    @property
    def seeds(self) -> int:
        """How many seeds were measured; 0 for a number without seeds."""
        return 0 if self.kind is Kind.EXACT else len(self.values)

    @property
    def with_value(self) -> int:
        """Seeds with a finite value."""
        return 0 if self.kind is Kind.EXACT else len(self._finite)

    @property
    def within(self) -> int:
        """Seeds in the accepted range."""
        return 0 if self.kind is Kind.EXACT else sum(v in self.accepted for v in self._finite)

    @property
    def estimate(self) -> float:
        """The one number to show: mean, median, share, or the number itself; of `every` the median.

        nan where there is none.
        """
        if self.kind is Kind.EXACT:
            return self.values[0]
        if self.kind is Kind.EVERY:
            return float(np.median(self._finite)) if self._finite else float("nan")
        return self.interval.estimate if self.interval else float("nan")

    @property
    def low(self) -> float:
        """The lower end of what stands beside the estimate: its interval; of `every` the smallest.

        nan where there is none.
        """
        return self._end(min)

    @property
    def high(self) -> float:
        """The upper end, likewise."""
        return self._end(max)

    @property
    def _finite(self) -> list[float]:
        return [value for value in self.values if isfinite(value)]

    def _end(self, choose: Callable[..., float]) -> float:
        if self.kind is Kind.EVERY:
            return choose(self._finite, default=float("nan"))
        return choose(self.interval.low, self.interval.high) if self.interval else float("nan")


@dataclass(frozen=True)
class Finding:
    """A claim's outcome."""

    claim: Claim
    quantities: tuple[Quantity, ...]
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True)
class Claim:
    """A statement, where it stands, what the paper says, and how to measure it from runs."""

    number: int
    statement: str
    source: str
    paper: str  # the paper's value in words, or "not established"
    tolerance: str  # what is accepted, in words; the code below is the same thing
    arms: tuple[str, ...]
    measure: Callable[[Arms], Sequence[Quantity]] = field(repr=False)

    def judge(self, arms: Arms) -> Finding:
        """The verdict from finished runs; `not run` where an arm is missing."""
        missing = [arm for arm in self.arms if arm not in arms]
        if missing:
            return Finding(self, (), Verdict.NOT_RUN, f"arm {', '.join(missing)} was not run")
        quantities = tuple(self.measure(arms))
        return Finding(self, quantities, worst(q.verdict for q in quantities))


def amount(name: str, values: Sequence[float] | np.ndarray, accepted: Range) -> Quantity:
    """A number per seed: the mean over seeds, with a Student-t interval, must lie in the range."""
    numbers = _numbers(values)
    return _judged(name, numbers, accepted, mean_interval(numbers), Kind.MEAN)


def median(name: str, values: Sequence[float] | np.ndarray, accepted: Range) -> Quantity:
    """A number per seed: the median, with a bootstrap interval, must lie in the range.

    For quantities with heavy tails. With fewer than six seeds it is inconclusive: the whole range
    of their values is no 95 % interval then.
    """
    numbers = _numbers(values)
    return _judged(
        name, numbers, accepted, median_interval(numbers), Kind.MEDIAN, FEWEST_FOR_MEDIAN
    )


def holds(name: str, values: Sequence[bool] | np.ndarray) -> Quantity:
    """A yes or no per seed: the Wilson interval of the share of seeds must lie above one half."""
    flags = tuple(bool(value) for value in values)
    interval = share_interval(sum(flags), len(flags))
    return _judged(name, tuple(map(float, flags)), Range(low=0.5), interval, Kind.SHARE)


def every(
    name: str, values: Sequence[float] | np.ndarray, accepted: Range, share: float = 1.0
) -> Quantity:
    """A number per seed, each of which must lie in the range; or the given share of them must.

    Fewer than four seeds reproduce nothing. With a share below 1 they contradict nothing either:
    one seed outside is no surprise then. (Wilson's interval is somewhat short near 1: of 20 seeds
    with a chance of 0.95 each, three are outside once in 13 times, and that counts as a
    contradiction.)
    """
    if not 0 < share <= 1:
        raise ValueError(f"share: {share:g} is not allowed: above 0, at most 1")
    numbers = _numbers(values)
    finite = [value for value in numbers if isfinite(value)]
    found = share_interval(sum(value in accepted for value in finite), len(finite))
    enough = found.count >= FEWEST_FOR_SHARE
    verdict = Verdict.INCONCLUSIVE
    if found.estimate >= share:
        if enough and found.count == len(numbers):
            verdict = Verdict.REPRODUCED
    elif finite and (share == 1 or (enough and found.high < share)):
        verdict = Verdict.CONTRADICTED
    return Quantity(name, numbers, accepted, found, verdict, Kind.EVERY, share)


def exact(name: str, value: SupportsFloat, accepted: Range) -> Quantity:
    """A number without seeds (a fixture, a closed system, a constant): it lies inside or not."""
    number = float(value)
    if number in accepted:
        verdict = Verdict.REPRODUCED if isfinite(number) else Verdict.INCONCLUSIVE
    else:
        verdict = Verdict.INCONCLUSIVE if np.isnan(number) else Verdict.CONTRADICTED
    return Quantity(name, (number,), accepted, None, verdict, Kind.EXACT)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Contradicted if any is, reproduced if all are, inconclusive otherwise."""
    seen = set(verdicts)
    if Verdict.CONTRADICTED in seen:
        return Verdict.CONTRADICTED
    return Verdict.REPRODUCED if seen == {Verdict.REPRODUCED} else Verdict.INCONCLUSIVE


def _judged(
    name: str,
    numbers: tuple[float, ...],
    accepted: Range,
    interval: Interval,
    kind: Kind,
    fewest: int = 2,
) -> Quantity:
    """Judged by where the interval lies; a lost seed, or too few of them, leaves it open."""
    verdict = accepted.judge(interval) if interval.count >= fewest else Verdict.INCONCLUSIVE
    if verdict is Verdict.REPRODUCED and interval.count < len(numbers):
        verdict = Verdict.INCONCLUSIVE
    return Quantity(name, numbers, accepted, interval, verdict, kind)


def _numbers(values: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
