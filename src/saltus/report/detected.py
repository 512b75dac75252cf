"""The leaps that the detector finds in one series of a run, on the clock that the page draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from saltus.report.clock import Clock, clock_of
from saltus.report.figure import Mark
from saltus.runs import Run
from saltus.transitions import Times, Transition, largest, times_of

LOSS = "loss/train"
COMPARABLE = 0.5  # of the height of the group that leaps highest


@dataclass(frozen=True)
class Leaps:
    """What was found in some members of a run, in their order."""

    found: tuple[tuple[Transition, ...], ...]  # in training steps, one tuple per member
    clock: Clock

    @property
    def any(self) -> bool:
        """Whether some member leapt."""
        return any(not each.censored for row in self.found for each in row)

    @property
    def placed(self) -> tuple[tuple[Transition, ...], ...]:
        """The same on the run's clock."""
        return tuple(tuple(on_clock(each, self.clock) for each in row) for row in self.found)

    @property
    def largest(self) -> tuple[Transition, ...]:
        """Each member's largest leap, on the run's clock."""
        return tuple(largest(row) for row in self.placed)

    @property
    def times(self) -> Times:
        """When each member's largest leap came, on the run's clock."""
        return times_of(self.placed)

    @property
    def median_steps(self) -> tuple[float, float, float] | None:
        """Onset, middle and end of the leap in training steps: medians; None if most have none."""
        return _medians([largest(row) for row in self.found])


def detected(run: Run, places: Sequence[int], name: str = LOSS) -> Leaps | None:
    """The leaps of these members in a series; None where the run has not recorded it."""
    if name not in run.names() or not len(steps := run.series(name).steps):
        return None
    found = _transitions(run, name, int(steps[-1]))
    return Leaps(tuple(found[place] for place in places), clock_of(run))


def comparable(found: Mapping[str, Leaps]) -> dict[str, Leaps]:
    """The same groups without leaps that are not of the kind the others made.

    A loss may fall a little where something small is learned. Leaps of less than half the height of
    those of the group that leaps highest (the median of its seeds that leapt) do not count, and a
    seed without another one is censored.
    """
    heights = [
        float(np.median([one.height for one in each.largest if not one.censored]))
        for each in found.values()
        if each.any
    ]
    least = COMPARABLE * max(heights, default=0.0)
    return {
        label: replace(each, found=tuple(_at_least(row, least) for row in each.found))
        for label, each in found.items()
    }


def _at_least(row: tuple[Transition, ...], least: float) -> tuple[Transition, ...]:
    high = tuple(one for one in row if one.censored or one.height >= least)
    return high or (Transition(None, row[0].budget),)


def leap_mark(leaps: Leaps, color: int) -> Mark:
    """The median leap, a tick for each seed's, and a shade from the median onset to the end.

    Seeds that did not leap count as later than all others in the medians.
    """
    each = sorted(one.step for one in leaps.largest if one.step is not None)
    middle = _medians(leaps.largest)
    span = None if middle is None else (middle[0], max(middle[0], middle[2]))
    median = None if middle is None else middle[1]
    return Mark("leap", color, median, tuple(each), len(leaps.found), span)


def on_clock(found: Transition, clock: Clock) -> Transition:
    """A transition in training steps, put on a run's clock; linear between its moments."""
    if not clock.moments:
        return found

    def at(step: float) -> float:
        return float(np.interp(step, np.arange(len(clock.moments)), clock.moments))

    plateau = found.plateau
    if plateau is not None:
        plateau = replace(plateau, start=at(plateau.start), end=at(plateau.end))
    moved = {
        name: at(step)
        for name in ("onset", "step", "late", "end")
        if (step := getattr(found, name)) is not None
    }
    return replace(found, plateau=plateau, budget=at(found.budget), **moved)


@lru_cache(maxsize=128)  # asked for by several figures of a page, and for every group of a grid
def _transitions(run: Run, name: str, last: int) -> tuple[tuple[Transition, ...], ...]:
    """Of all members, as far as step `last`: a run that has come further is looked at again."""
    return tuple(run.transitions(name))


def _medians(found: Sequence[Transition]) -> tuple[float, float, float] | None:
    """Onset, middle and end over seeds, None where fewer than half of them leapt."""
    times = [
        (one.onset, one.step, one.budget if one.end is None else one.end)
        if not one.censored
        else (np.inf, np.inf, np.inf)
        for one in found
    ]
    onset, step, end = np.median(np.array(times, dtype=float), axis=0).tolist()
    return (onset, step, end) if np.isfinite(step) else None
