"""The effect on every metric that groups of seeds share: their readings at the end, compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np
from jaxtyping import Float, Real
from numpy import ndarray

from saltus.report.clock import clock_of
from saltus.report.figure import STEP
from saltus.report.gather import Group
from saltus.runs import Run, Series
from saltus.transitions.statistics.effects import Effect, effect, holm

Shared = Mapping[str, Sequence[Series]]  # name → the series of each group's run


@dataclass(frozen=True)
class Reading:
    """One value per seed of a group: of a metric, at one step (or time of a gradient flow)."""

    seeds: tuple[int, ...]
    values: Float[ndarray, " seed"]
    at: float


@dataclass(frozen=True)
class MetricEffect:
    """What a metric is in the reference and in another group, and the difference."""

    metric: str  # the name of the series
    group: Group  # the one that is compared with the reference
    at: tuple[float, float]  # where the reference and the group were read
    effect: Effect
    adjusted: float  # Holm's p over all metrics and groups of the comparison

    @property
    def size(self) -> float:
        """|g| for sorting: what has none comes last."""
        size = abs(self.effect.standardised.estimate)
        return size if isfinite(size) else -1.0


def effects_of(groups: Sequence[Group], shared: Shared, at_end: bool = False) -> list[MetricEffect]:
    """Every group against the first one on every metric they share; the largest |g| first.

    Each metric is read at the last step at which all groups were read, so that no group is ahead
    for having trained longer. Where they share none in the second half of the shortest budget, at
    each group's last reading within it. With `at_end` each group is read at its own end. Groups of
    the same seeds are compared pair by pair.
    """
    found: list[MetricEffect] = []
    for name, series in shared.items():
        reference, *others = readings(groups, series, at_end)
        for group, reading in zip(groups[1:], others, strict=True):
            paired = set(reading.seeds) == set(reference.seeds)
            values = [_by_seed(each) if paired else each.values for each in (reference, reading)]
            at = (reference.at, reading.at)
            found.append(MetricEffect(name, group, at, effect(*values, paired=paired), np.nan))
    adjusted = holm([each.effect.p for each in found])
    found = [replace(each, adjusted=p) for each, p in zip(found, adjusted, strict=True)]
    strongest: dict[str, float] = {}
    for each in found:
        strongest[each.metric] = max(strongest.get(each.metric, -1.0), each.size)
    return sorted(found, key=lambda each: -strongest[each.metric])  # stable: groups in their order


def shared_series(groups: Sequence[Group]) -> Shared:
    """The scalar series that every group has at least one reading of, losses first.

    Each is the whole run's: `Group.places` are a group's rows.
    """
    runs = {group.run.path: group.run for group in groups}
    known = {path: _scalars(run) for path, run in runs.items()}
    first = known[groups[0].run.path]
    names = [name for name in first if all(name in each for each in known.values())]
    names.sort(key=lambda name: (not name.startswith(("loss", "evaluation")), name))
    return {name: [known[group.run.path][name] for group in groups] for name in names}


def readings(
    groups: Sequence[Group], series: Sequence[Series], at_end: bool = False
) -> list[Reading]:
    """Each group's values of its series at the end of what all have, or at its own end."""
    places = positions(groups, [each.steps for each in series])
    shared = _shared_places(places)
    last = min(float(each[-1]) for each in places)
    if len(shared) and shared[-1] >= last / 2:
        last = float(shared[-1])
    found = []
    for group, each, x in zip(groups, series, places, strict=True):
        # Moments of two flows are computed by the same formula but for rounding.
        known = len(x) if at_end else int(np.searchsorted(x, last + 1e-9 * abs(last), "right"))
        place = max(known, 1) - 1  # a group that was first read later than that: its first
        rows = list(group.places)
        seeds = tuple(int(seed) for seed in group.run.seeds[rows])
        found.append(Reading(seeds, each.values[rows, place], float(x[place])))
    return found


def _shared_places(places: Sequence[Real[ndarray, " _"]]) -> Float[ndarray, " shared"]:
    """Where all groups have a reading; moments of two flows are equal but for rounding."""
    shared = np.asarray(places[0], dtype=np.float64)
    for other in places[1:]:
        near = np.abs(np.asarray(other, dtype=np.float64) - shared[:, None]).min(axis=1)
        shared = shared[near <= 1e-9 * np.abs(shared)]
    return shared


def positions(
    groups: Sequence[Group], steps: Sequence[Real[ndarray, " _"]]
) -> list[Real[ndarray, " _"]]:
    """Where the readings of each group stand: times of gradient flows if all are on one clock."""
    if axis_of(groups)[0] == STEP:
        return list(steps)
    return [clock_of(group.run).at(own) for group, own in zip(groups, steps, strict=True)]


def axis_of(groups: Sequence[Group]) -> tuple[str, bool]:
    """The label of the groups' common x axis, and whether it is logarithmic."""
    clocks = [clock_of(group.run) for group in groups]
    if len({clock.label for clock in clocks}) > 1:
        return STEP, False
    return clocks[0].label, any(clock.log for clock in clocks)


def one_clock(groups: Sequence[Group]) -> bool:
    """Whether a step, or a time, is the same thing in all groups."""
    return len({clock_of(group.run).label for group in groups}) == 1


def _scalars(run: Run) -> dict[str, Series]:
    """One number per member, at one step at least; each is read from the disk once."""
    found = {name: run.array(name) for name in run.names()}
    return {
        name: Series(name, each.steps, each.values.astype(np.float64))
        for name, each in found.items()
        if each.values.ndim == 2 and len(each.steps)
    }


def _by_seed(reading: Reading) -> Float[ndarray, " seed"]:
    return reading.values[np.argsort(reading.seeds, kind="stable")]
