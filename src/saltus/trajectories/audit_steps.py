"""Wrong steps: that repeat or fall, that the files contradict, that a regular series lacks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from saltus.trajectories.findings import Finding
from saltus.trajectories.trajectory import Trajectory

WINDOW = 4  # intervals on either side from which the regular one is known
LARGEST_AT_THE_END = 3  # a first or last interval of more regular ones may be meant


def wrong_steps(trajectory: Trajectory) -> Iterator[Finding]:
    """Steps out of order, steps that differ from what the files state, gaps in regular steps."""
    names, steps = trajectory.checkpoints, trajectory.steps.tolist()
    for i in range(1, len(steps)):
        if steps[i] <= steps[i - 1]:
            verb = "repeats" if steps[i] == steps[i - 1] else "falls below"
            text = f"step {steps[i]} {verb} {steps[i - 1]}"
            yield Finding("order", names[i - 1 : i + 1], (steps[i - 1], steps[i]), text, {})
    if trajectory.numbered:
        yield from _contradicted(trajectory)
        yield from _gaps(trajectory)


def _contradicted(trajectory: Trajectory) -> Iterator[Finding]:
    """A stated step that differs from the name's, unless all do: names may count epochs."""
    said = trajectory.stated
    triples = list(zip(trajectory.checkpoints, trajectory.steps.tolist(), said, strict=True))
    if any(step == stated for _, step, stated in triples):
        for name, step, stated in triples:
            if stated is not None and stated != step:
                text = f"its files state step {stated}"
                yield Finding("order", (name,), (step,), text, {"stated": float(stated)})


def _gaps(trajectory: Trajectory) -> Iterator[Finding]:
    """Intervals of several regular ones. Unreadable checkpoints are there, as far as steps go."""
    listed = list(zip(trajectory.steps.tolist(), trajectory.checkpoints, strict=True))
    listed += [(each.step, each.name) for each in trajectory.damaged]
    listed.sort()
    steps = np.array([step for step, _ in listed])
    intervals = np.diff(steps)
    for i, interval in enumerate(intervals.tolist()):
        before, after = intervals[max(i - WINDOW, 0) : i], intervals[i + 1 : i + 1 + WINDOW]
        near = np.concatenate([before, after])
        values, counts = np.unique(near[near > 0], return_counts=True)
        if not len(values) or counts.max() < 3:
            continue
        regular = int(values[counts.argmax()])
        lacking, rest = divmod(interval, regular)
        inside = regular in before and regular in after
        at_the_end = not len(before) or not len(after)
        if rest or lacking < 2 or not (inside or (at_the_end and lacking <= LARGEST_AT_THE_END)):
            continue
        absent = [int(steps[i]) + k * regular for k in range(1, lacking)]
        shown = ", ".join(map(str, absent[:5])) + (", …" if len(absent) > 5 else "")
        yield Finding(
            "missing",
            (listed[i][1], listed[i + 1][1]),
            (int(steps[i]), int(steps[i + 1])),
            f"{interval} steps between them, {regular} around them: step {shown} is not there",
            {"interval": float(interval), "regular": float(regular)},
        )
