"""The batched solver against scipy's DOP853, on flows of the engine's own velocity.

Both take the members of an ensemble from their start to the end of their flow with the same
velocity and the same tolerances, in turns, in a process of its own with one thread. scipy solves
one row after the other; for comparison also all rows as one joint state, where they share every
step and one error norm, so that no seed is on its own any more.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor

from saltus.bench.one_thread import in_one_thread
from saltus.experiment import Experiment
from saltus.flow.reference import reference
from saltus.studies.word_cooccurrence.recipe import flow, paper, phases
from saltus.training.ensemble import Ensemble
from saltus.training.follow import Follower
from saltus.training.launch import start
from saltus.training.plan import cores

ROUNDS = 3
BATCHED, BY_ROW, JOINT = "batched, a step per row", "scipy, row by row", "scipy, one joint state"


def problems() -> dict[str, Experiment]:
    """What is solved: settings of the word co-occurrence study, without instruments."""
    bare = {"instruments": [], "optimizer.first": None, "steps": 1}
    return {
        "SA to tau = 1000": flow("SA", 20, 1000.0, 1, []).override(bare),
        "the paper's configuration to t = 300": paper(3).override(bare),
    }


def measure(rounds: int, told: Callable[[dict[str, Any]], None]) -> list[dict[str, Any]]:
    """Every problem, then the engine's whole run of SA; `told` hears each result as it comes."""
    results = []
    for name in problems():
        results.append(in_one_thread(compare, name, rounds))
        told(results[-1])
    results.append(in_one_thread(whole_run))
    told(results[-1])
    return results


def compare(name: str, rounds: int) -> dict[str, Any]:
    """Median seconds of all contenders, what they evaluated, and how far they are apart."""
    experiment = problems()[name]
    ensemble = Ensemble(experiment.members())
    contest = Contest(ensemble)
    contest.velocity(contest.rows, contest.start)  # the first call is slower than all others
    contenders = {BATCHED: contest.batched, BY_ROW: contest.by_row, JOINT: contest.joint}
    seconds: dict[str, list[float]] = {contender: [] for contender in contenders}
    ends: dict[str, Tensor] = {}
    counts: dict[str, list[int]] = {}
    calls: dict[str, int] = {}
    for _ in range(rounds):
        for contender, solve in contenders.items():
            contest.calls, begin = 0, time.perf_counter()
            ends[contender], counts[contender] = solve()
            seconds[contender].append(time.perf_counter() - begin)
            calls[contender] = contest.calls
    times = {contender: median(values) for contender, values in seconds.items()}
    return {
        "problem": name,
        "rows": len(contest.rows),
        "numbers": contest.start.shape[1],
        "rtol": contest.settings.rtol,
        "seconds": times,
        "seconds_per_row": times[BATCHED] / len(contest.rows),
        "evaluations": {contender: sum(values) for contender, values in counts.items()},
        "calls": calls,
        "rows_with_equal_counts": sum(
            ours == theirs for ours, theirs in zip(counts[BATCHED], counts[BY_ROW], strict=True)
        ),
        "ratio": times[BY_ROW] / times[BATCHED],
        "difference": {other: _difference(ends[other], ends[BY_ROW]) for other in (BATCHED, JOINT)},
    }


class Contest:
    """One ensemble, its velocity, and three ways to its end."""

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble, self.follower, self.calls = ensemble, Follower(ensemble), 0
        self.settings = self.follower.settings
        self.rows = list(range(len(ensemble.members)))
        self.ends = self.follower.times(self.follower.steps)
        self.start = self.follower.integrator.new.clone()

    def velocity(self, rows: Sequence[int], states: Tensor) -> Tensor:
        """The engine's own gradient of some members, negated."""
        self.calls += 1
        return self.follower.slope(rows, states)[0]

    def batched(self) -> tuple[Tensor, list[int]]:
        """Every row on its own path, with its own steps; the calls of the velocity are shared."""
        fresh = Follower(self.ensemble)
        fresh.slope = self._counted(fresh)  # type: ignore[method-assign]
        states = fresh.integrator.at(self.ends)
        return states, fresh.integrator.counts.evaluations

    def by_row(self) -> tuple[Tensor, list[int]]:
        """scipy, one row after the other."""
        states, counts = [], []
        for row, end in zip(self.rows, self.ends, strict=True):
            found = self._scipy(lambda y, row=row: self.velocity([row], y), self.start[row], end)
            states.append(found.states[0, 0])
            counts += found.counts.evaluations
        return torch.stack(states), counts

    def joint(self) -> tuple[Tensor, list[int]]:
        """scipy on all rows as one state, over the share of each row's time that has passed."""
        ends = torch.tensor(self.ends, dtype=self.start.dtype)[:, None]
        shape = self.start.shape

        def velocity(y: Tensor) -> Tensor:
            return (self.velocity(self.rows, y.view(shape)) * ends).view(1, -1)

        found = self._scipy(velocity, self.start.flatten(), 1.0)
        return found.states.view(shape), found.counts.evaluations * len(self.rows)

    def _scipy(self, velocity: Callable[[Tensor], Tensor], begin: Tensor, end: float) -> Any:
        rtol, atol = self.settings.rtol, self.settings.atol
        return reference(velocity, begin, [end], rtol=rtol, atol=atol)

    def _counted(self, follower: Follower) -> Callable[..., Any]:
        slope = follower.slope

        def counted(rows: Sequence[int], states: Tensor) -> Any:
            self.calls += 1
            return slope(rows, states)

        return counted


def whole_run() -> dict[str, Any]:
    """SA with events, all instruments and checkpoints, in a worker per core."""
    experiment = phases("SA", 20, 3).override({"engine.workers": "auto"})
    with tempfile.TemporaryDirectory() as root:
        begin = time.perf_counter()
        spent = start(experiment, root).status["instrument_seconds"]
        seconds = time.perf_counter() - begin
    return {
        "run": "SA to tau = 1000",
        "rows": len(experiment.seeds),
        "workers": cores(),
        "seconds": seconds,
        "instrument_seconds": spent,
        "moments": experiment.steps,
    }


def show(result: dict[str, Any]) -> None:
    """One result as a few lines."""
    if "run" in result:
        print(
            f"\ngradient flow, {result['run']}, the engine's whole run: {result['rows']} seeds in "
            f"{result['workers']} workers\n  {result['seconds']:.1f} s, with events, and all "
            f"instruments at {result['moments']} moments "
            f"({result['instrument_seconds']:.1f} s of a core for them)",
            flush=True,
        )
        return
    rows, numbers = result["rows"], result["numbers"]
    print(
        f"\ngradient flow, {result['problem']}: {rows} rows of {numbers:,} numbers, "
        f"DOP853, rtol {result['rtol']:g}"
    )
    for name, seconds in result["seconds"].items():
        print(
            f"  {name:<24} {seconds:7.2f} s  {result['evaluations'][name]:6} evaluations of a row "
            f"in {result['calls'][name]} calls"
        )
    off = result["difference"]
    print(
        f"  batched {result['ratio']:.2f} times as fast as scipy row by row, "
        f"{result['seconds_per_row']:.2f} s per seed; equal counts in "
        f"{result['rows_with_equal_counts']} of {rows} rows\n"
        f"  largest relative difference from it at the end: batched {off[BATCHED]:.1e}, "
        f"joint {off[JOINT]:.1e}",
        flush=True,
    )


def _difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest over rows of |ours - theirs| / |theirs|."""
    return float(((ours - theirs).norm(dim=1) / theirs.norm(dim=1)).max())
