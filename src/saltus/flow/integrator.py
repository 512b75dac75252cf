"""Many trajectories of y' = v(y) at once, each with its own steps: what gradient flow runs on.

An explicit Runge-Kutta method with adaptive steps (DOP853 by default: the flow is not stiff) takes
the rows of an ensemble through time. The rows share the calls of the velocity, for that is where
the time goes, and nothing else: step sizes, errors and events are each row's own, and on CPU a
row's bits do not depend on the rows beside it (if those of the velocity do not).

Why not a library: torchdiffeq controls one error for the whole batch, so seeds influence one
another. torchode has a step per row, but no method above order 5, no events, no state from which
a run continues bit for bit, and it depends on torchtyping. scipy solves one row at a time, on
CPU; it stays the reference (reference.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from saltus.flow.checks import check_choices, check_problem, check_times
from saltus.flow.control import AT_START, Pace, error_norms, first_size, first_trial
from saltus.flow.dense import Step, column
from saltus.flow.events import Signals, find_events, look
from saltus.flow.stepper import Stepper, Velocity
from saltus.flow.tableaus import METHODS

# What a state holds of each row's pace.
TIMES = ("before", "time", "size")
COUNTS = ("evaluations", "dense", "accepted", "rejected", "again", "failed")


@dataclass(frozen=True)
class Counts:
    """Per row: evaluations of the velocity, and attempted steps.

    `evaluations` is what scipy counts when nothing is asked of its dense output: one at the start,
    one to choose the first step, and the stages of every attempt, good or bad. Those that only
    dense output and events had need of are in `dense`: three for each such step of DOP853.
    """

    evaluations: list[int]
    dense: list[int]
    accepted: list[int]
    rejected: list[int]


class Integrator:
    """The trajectories of all rows from time 0, in float64.

    `velocity` is called with the rows that need it and only those; it must treat each row as if
    it were alone, and bear states that are not finite (such a trial step is taken back).
    `rtol` and `atol` bound the local error of every step as in scipy: rms over the state of
    error / (atol + rtol |y|) below 1. No step goes beyond `end`. `signals` gives `events` columns;
    they are looked at after every step and at `looks` points within it, until all have happened.
    `largest` is the number of attempted steps after which a row is given up.
    """

    def __init__(
        self,
        velocity: Velocity,
        start: Tensor,
        *,
        end: Sequence[float],
        rtol: float = 1e-8,
        atol: float = 1e-10,
        method: str = "dop853",
        signals: Signals | None = None,
        events: int = 0,
        looks: int = 4,
        largest: int = 1_000_000,
    ) -> None:
        check_problem(start, end, rtol, atol)
        check_choices(method, looks, largest, events, signals is not None)
        self.tableau, self.signals = METHODS[method], signals
        self.rtol, self.atol, self.looks, self.largest = rtol, atol, looks, largest
        self.paces = [Pace(float(time)) for time in end]
        self.asked = [0.0] * len(self.paces)
        # A row's current step leads from `old` to `new`, where the velocity is `slope`.
        self.old, self.new = start.detach().clone(), start.detach().clone()
        self.slope = torch.zeros_like(self.new)
        # The whole of it is kept only while the time asked for lies within it.
        self.kept: dict[int, Step] = {}
        self.stepper = Stepper(velocity, self.tableau, self.new)
        self.event_times = self.new.new_full((len(self.paces), events), math.nan)
        self._begin()

    def at(self, times: Sequence[float]) -> Float[Tensor, "row state"]:
        """The state of every row at its own time, which may not decrease from call to call.

        Steps are taken in rows that have not come so far. They do not end at the times asked for:
        dense output gives the states there, and the path of a row is the same whatever is asked.
        A row that failed before its time stays where it was when it failed.
        """
        check_times(times, self.asked, [pace.end for pace in self.paces])
        self.asked = [float(time) for time in times]
        while rows := [row for row in range(len(self.paces)) if self._moves(row)]:
            self._attempt(rows)
        found = self.new.clone()
        for row, step in self.kept.items():
            pace = self.paces[row]
            if self.asked[row] < pace.time:
                found[row] = step.inside([(self.asked[row] - pace.before) / step.sizes[0]])[0]
        return found

    def events_by(self, times: Sequence[float]) -> Float[Tensor, "row event"]:
        """The event times found so far that are not after a row's own time; NaN elsewhere."""
        late = self.event_times > column(self.event_times, [float(time) for time in times])
        return self.event_times.masked_fill(late, math.nan)

    @property
    def counts(self) -> Counts:
        """What each row's path has cost so far."""
        each = [(p.evaluations, p.dense, p.accepted, p.rejected) for p in self.paces]
        return Counts(*map(list, zip(*each, strict=True)))

    @property
    def times(self) -> list[float]:
        """The time each row's steps have come to: not before what was asked, unless it failed."""
        return [pace.time for pace in self.paces]

    @property
    def failed(self) -> dict[int, str]:
        """The rows that were stopped on the way, and why."""
        return {row: pace.reason() for row, pace in enumerate(self.paces) if pace.failed}

    def state(self) -> dict[str, Tensor]:
        """All that is needed to continue to the same bits: one state and a few numbers per row."""
        times = [
            [*(getattr(pace, name) for name in TIMES), asked]
            for pace, asked in zip(self.paces, self.asked, strict=True)
        ]
        counts = [[getattr(pace, name) for name in COUNTS] for pace in self.paces]
        return {
            "state": self.old.clone(),
            "times": torch.tensor(times, dtype=torch.float64),
            "counts": torch.tensor(counts, dtype=torch.int64),
            "event_times": self.event_times.clone(),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from a `state()`: takes the current step of each row again, uncounted."""
        self.old.copy_(tensors["state"])
        self.new.copy_(self.old)
        self.event_times.copy_(tensors["event_times"])
        for pace, times, counts in zip(
            self.paces, tensors["times"].tolist(), tensors["counts"].tolist(), strict=True
        ):
            for name, value in zip((*TIMES, *COUNTS), (*times[:-1], *counts), strict=True):
                setattr(pace, name, value)
        self.asked = tensors["times"][:, -1].tolist()
        self.kept.clear()
        rows = [row for row, pace in enumerate(self.paces) if not pace.failed]
        if not rows:
            return
        self.slope[rows] = self.stepper.velocity(rows, self.old[rows])
        if rows := [row for row in rows if self.paces[row].time > self.paces[row].before]:
            sizes = [self.paces[row].time - self.paces[row].before for row in rows]
            step = self.stepper.step(rows, self.old[rows], self.slope[rows], sizes)
            self.new[rows], self.slope[rows] = step.new, step.stages[self.tableau.last]
            within = [place for place, row in enumerate(rows) if self._rests_within(row)]
            if within:
                self._keep(self._extended(step, within))

    def _begin(self) -> None:
        """The velocity at the start, the first step sizes, and events that are there already."""
        if self.event_times.numel() and self.signals is not None:
            rows = list(range(len(self.paces)))
            values = look(self.signals, rows, self.new, self.event_times.shape[1])
            happened = [[value >= 0.0 for value in row] for row in values]
            self.event_times[torch.tensor(happened, device=self.new.device)] = 0.0
        rows = [row for row, pace in enumerate(self.paces) if pace.end > 0.0]
        if not rows:
            return
        self.slope[rows] = self.stepper.velocity(rows, self.new[rows])
        finite = self.slope.isfinite().all(dim=1).tolist()
        for row in rows:
            self.paces[row].evaluations = 1
            if not finite[row]:
                self.paces[row].fail(AT_START)
        if not (rows := [row for row in rows if finite[row]]):
            return
        y, v, ends = self.new[rows], self.slope[rows], [self.paces[row].end for row in rows]
        trials = first_trial(y, v, ends, self.rtol, self.atol)
        moved = self.stepper.velocity(rows, y + v * column(y, trials))
        sizes = first_size(self.tableau, y, v, moved, trials, ends, self.rtol, self.atol)
        for row, size in zip(rows, sizes, strict=True):
            self.paces[row].size, self.paces[row].evaluations = size, 2

    def _moves(self, row: int) -> bool:
        return self.paces[row].time < self.asked[row] and not self.paces[row].failed

    def _rests_within(self, row: int) -> bool:
        return self.paces[row].before < self.asked[row] < self.paces[row].time

    def _attempt(self, rows: list[int]) -> None:
        """One attempted step of each of these rows."""
        ends: dict[int, float] = {}
        for row in rows:
            end = self.paces[row].target(self.largest)
            if end is None:
                self.old[row] = self.new[row]
                self.kept.pop(row, None)
            else:
                ends[row] = end
        if not ends:
            return
        rows = list(ends)
        sizes = [ends[row] - self.paces[row].time for row in rows]
        step = self.stepper.step(rows, self.new[rows], self.slope[rows], sizes)
        errors = error_norms(step, self.rtol, self.atol)
        good = [place for place, error in enumerate(errors) if error < 1.0]
        pending = self.event_times.isnan().tolist()
        within = [
            place
            for place, row in enumerate(rows)
            if place in good and (any(pending[row]) or self.asked[row] < ends[row])
        ]
        dense = self._extended(step, within) if within else None
        events = self._events(dense, pending) if dense else {}
        # From here on nothing is called that may fail: a row's step is taken wholly or not at all.
        for row, error in zip(rows, errors, strict=True):
            self.paces[row].evaluations += self.tableau.last
            self.paces[row].judge(ends[row], error, self.tableau)
        taken = [rows[place] for place in good]
        self.old[taken], self.new[taken] = step.old[good], step.new[good]
        self.slope[taken] = step.stages[self.tableau.last][good]
        for row in taken:
            self.kept.pop(row, None)
        if dense:
            for row in dense.rows:
                self.paces[row].dense += len(self.tableau.extra)
            self._keep(dense)
        for (row, event), time in events.items():
            self.event_times[row, event] = time

    def _extended(self, step: Step, which: list[int]) -> Step:
        """The steps of some of the rows, with the stages for dense output."""
        step = step if len(which) == len(step.rows) else step.pick(which)
        self.stepper.extend(step)
        return step

    def _keep(self, dense: Step) -> None:
        """Keep the steps that the time asked for lies within."""
        for place, row in enumerate(dense.rows):
            if self._rests_within(row):
                self.kept[row] = dense.pick([place])

    def _events(self, dense: Step, pending: list[list[bool]]) -> dict[tuple[int, int], float]:
        """The times of the events that happen within steps not yet taken."""
        places = [place for place, row in enumerate(dense.rows) if any(pending[row])]
        if self.signals is None or not places:
            return {}
        step = dense if len(places) == len(dense.rows) else dense.pick(places)
        starts = [self.paces[row].time for row in step.rows]
        waiting = [pending[row] for row in step.rows]
        return find_events(self.signals, step, starts, waiting, self.looks)
