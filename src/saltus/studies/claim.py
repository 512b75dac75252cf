"""A claim is one statement of a paper as code: quantities, accepted ranges, and a verdict.

The rule is the same for every claim. A quantity is measured on every seed; its interval over seeds
(95 %) is compared with the accepted range. Inside: `reproduced`. Outside altogether:
`contradicted`. Across a border, or too few seeds: `inconclusive`. A claim with several quantities
is reproduced when all are, contradicted when any is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from saltus.runs import Run
from saltus.transitions import Interval, mean_interval, share_interval

Arms = Mapping[str, Run]


class Verdict(StrEnum):
    """What runs say of a claim."""

    REPRODUCED = "reproduced"
    CONTRADICTED = "contradicted"
    INCONCLUSIVE = "inconclusive"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Range:
    """Accepted values, borders included."""

    low: float = -np.inf
    high: float = np.inf

    def __str__(self) -> str:
        if self.low == -np.inf:
            return f"≤ {self.high:g}"
        return f"≥ {self.low:g}" if self.high == np.inf else f"{self.low:g} to {self.high:g}"

    def judge(self, interval: Interval) -> Verdict:
        if interval.count < 2:
            return Verdict.INCONCLUSIVE
        if self.low <= interval.low and interval.high <= self.high:
            return Verdict.REPRODUCED
        if interval.high < self.low or interval.low > self.high:
            return Verdict.CONTRADICTED
        return Verdict.INCONCLUSIVE


@dataclass(frozen=True)
class Quantity:
    """One measured number per seed, with what is accepted and what is known of it."""

    name: str
    values: tuple[float, ...]
    accepted: Range
    interval: Interval
    verdict: Verdict

    @property
    def seeds(self) -> int:
        return len(self.values)


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
    """A number per seed: the mean over seeds, with a Student-t interval, must lie in the range.

    A seed without a finite value cannot be averaged away: then the verdict is inconclusive at best.
    """
    numbers = tuple(float(value) for value in values)
    interval = mean_interval(numbers)
    verdict = accepted.judge(interval)
    if verdict is Verdict.REPRODUCED and interval.count < len(numbers):
        verdict = Verdict.INCONCLUSIVE
    return Quantity(name, numbers, accepted, interval, verdict)


def holds(name: str, values: Sequence[bool]) -> Quantity:
    """A yes or no per seed: the Wilson interval of the share of seeds must lie above one half."""
    flags = tuple(bool(value) for value in values)
    interval = share_interval(sum(flags), len(flags))
    accepted = Range(low=0.5)
    return Quantity(name, tuple(map(float, flags)), accepted, interval, accepted.judge(interval))


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Contradicted if any is, reproduced if all are, inconclusive otherwise."""
    seen = set(verdicts)
    if Verdict.CONTRADICTED in seen:
        return Verdict.CONTRADICTED
    return Verdict.REPRODUCED if seen == {Verdict.REPRODUCED} else Verdict.INCONCLUSIVE
