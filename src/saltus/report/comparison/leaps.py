"""When the seeds of each group leap, how many do, and whether the groups differ in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan

from saltus.report.clock import Clock, clock_of
from saltus.report.comparison.effects import axis_of
from saltus.report.detected import Leaps, comparable
from saltus.report.figure import STEP, Figure
from saltus.report.gather import Group
from saltus.report.names import title_of
from saltus.report.survival import survival_figure
from saltus.transitions.statistics.effects import holm, median_ratio
from saltus.transitions.statistics.intervals import Interval
from saltus.transitions.statistics.survival import (
    LogRank,
    Times,
    leap_probability,
    log_rank,
    median_difference,
    median_time,
    restricted_mean_difference,
)
from saltus.transitions.transition import Direction


@dataclass(frozen=True)
class GroupLeaps:
    """The leaps of one group's seeds."""

    group: Group
    found: Leaps
    times: Times  # of the largest leap
    share: Interval  # of seeds that leapt within the budget
    median: Interval  # time to the leap; infinite where fewer than half leapt


@dataclass(frozen=True)
class LeapContrast:
    """A group against the reference: positive differences where the group leaps later."""

    group: Group
    difference: Interval  # of the medians
    ratio: Interval  # of the medians
    restricted: Interval  # of the mean time to the leap, up to the horizon
    test: LogRank
    adjusted: float  # Holm's p over the groups, of the exact test where there is one


@dataclass(frozen=True)
class LeapComparison:
    """The comparison of all groups in one series."""

    series: str
    direction: Direction
    horizon: float  # up to which every group was watched
    x_label: str
    x_log: bool
    groups: list[GroupLeaps]  # the reference first
    contrasts: list[LeapContrast]
    overall: LogRank  # all groups at once

    def figure(self) -> Figure:
        """The groups' Kaplan-Meier curves."""
        word = "leap" if self.direction == "down" else "rise"
        return survival_figure(
            {each.group.label: each.times for each in self.groups},
            f"{word} of {title_of(self.series)[:1].lower()}{title_of(self.series)[1:]}",
            x_label=self.x_label,
            colors={each.group.label: each.group.color for each in self.groups},
            x_log=self.x_log or None,
        )


def leaps_of(groups: Sequence[Group], series: str, direction: Direction = "down") -> LeapComparison:
    """Times to the largest leap of each seed in a series, and what is known of their difference.

    A seed that does not leap within its budget, or that diverges before, is censored there; so is
    one whose leap is less than half as high as those of the group that leaps highest. The
    horizon of the restricted mean is the shortest budget. The tests take the groups as independent
    also where they have the same seeds, which makes them careful. Raises SaltusError for a series
    that a group does not have.
    """
    x_label, x_log = axis_of(groups)
    every = {group.label: _detected(group, series, direction, x_label) for group in groups}
    found = list(comparable(every).values())
    times = [each.times for each in found]
    budgets = [max(seed.budget for seed in each.largest) for each in found]
    horizon = min(_horizon(own, end) for own, end in zip(times, budgets, strict=True))
    tests = [log_rank(times[0], other) for other in times[1:]]
    adjusted = holm([test.best for test in tests])
    return LeapComparison(
        series,
        direction,
        horizon,
        x_label,
        x_log,
        [
            GroupLeaps(group, leaps, own, leap_probability(own), median_time(own))
            for group, leaps, own in zip(groups, found, times, strict=True)
        ],
        [
            LeapContrast(
                group,
                median_difference(own, times[0]),
                median_ratio(own, times[0]),
                _restricted(own, times[0], horizon),
                test,
                p,
            )
            for group, own, test, p in zip(groups[1:], times[1:], tests, adjusted, strict=True)
        ],
        log_rank(*times),
    )


def _detected(group: Group, series: str, direction: Direction, x_label: str) -> Leaps:
    """In steps, or on the clock that all groups share."""
    found = group.run.transitions(series, direction)
    clock = Clock() if x_label == STEP else clock_of(group.run)
    return Leaps(tuple(found[place] for place in group.places), clock)


def _horizon(times: Times, budget: float) -> float:
    """Up to which a group's curve is known: its budget, unless the last to be seen diverged."""
    last = times.times == times.times.max()
    return budget if times.happened[last].all() else float(times.times.max())


def _restricted(own: Times, reference: Times, horizon: float) -> Interval:
    if horizon <= 0:  # a group of which nothing was seen
        return Interval(nan, -inf, inf, own.count + reference.count)
    return restricted_mean_difference(own, reference, horizon)
