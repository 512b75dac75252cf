"""What is wrong with a series of checkpoints, told from the weights alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from saltus.trajectories.audit_path import off_the_path
from saltus.trajectories.audit_steps import wrong_steps
from saltus.trajectories.findings import KINDS, Finding
from saltus.trajectories.geometry import swaps
from saltus.trajectories.trajectory import Trajectory

# Training that comes to rest, not copies of the last checkpoint: a step into it of so many median
# steps at most, and so large a share of those that follow.
SLOW, MOST = 0.25, 2 / 3

__all__ = ["KINDS", "Finding", "audit"]


def audit(trajectory: Trajectory) -> tuple[Finding, ...]:
    """Everything wrong with a series, in the order of its checkpoints; () where nothing is found.

    Unreadable files, numbers that are not finite, equal weights and wrong steps are facts. What is
    "swapped", a "stranger", "corrupt" in its numbers or "missing" without a gap in steps is told
    by the path (see `geometry`, whose thresholds are fixed and were not fitted): checkpoints that
    are exchangeable, as those of a model at rest are, cannot be told apart by anyone, and a series
    that is reversed as a whole is as good a path as before.
    """
    found = [
        Finding(each.kind, (each.name,), (each.step,), each.reason, {})
        for each in trajectory.damaged
    ]
    found += wrong_steps(trajectory)
    found += _not_finite(trajectory)
    sound = np.flatnonzero(trajectory.not_finite.sum(0) == 0).tolist()
    equals, kept = _without_copies(trajectory, sound)
    found += _equal_weights(trajectory, equals, sound)
    exchanged = swaps(trajectory.distances[np.ix_(kept, kept)])
    order = list(kept)
    for i, j, share in exchanged:
        order[i], order[j] = kept[j], kept[i]
        found.append(_swapped(trajectory, kept[i], kept[j], share))
    found += off_the_path(trajectory, order, sound)
    return tuple(sorted(found, key=lambda each: (each.steps, KINDS.index(each.kind))))


def _not_finite(trajectory: Trajectory) -> Iterator[Finding]:
    for t in np.flatnonzero(trajectory.not_finite.sum(0)).tolist():
        rows = np.flatnonzero(trajectory.not_finite[:, t]).tolist()
        count = int(trajectory.not_finite[:, t].sum())
        first = trajectory.parameters[rows[0]].name
        text = f"{count} numbers are NaN or infinite, in {len(rows)} tensors, the first {first}"
        yield _finding(trajectory, "not finite", [t], text, {"count": float(count)})


def _without_copies(
    trajectory: Trajectory, sound: Sequence[int]
) -> tuple[list[list[int]], list[int]]:
    """Classes of checkpoints with equal weights, and the series with one of each class: the one
    that makes the shortest way with its neighbours, so that the path is that of the originals."""
    classes: dict[bytes, list[int]] = {}
    for t in sound:
        classes.setdefault(trajectory.signatures[t].tobytes(), []).append(t)
    equals = [each for each in classes.values() if len(each) > 1]
    copies = {t for each in equals for t in each}
    distances = trajectory.distances

    def way(t: int) -> float:
        others = [k for k in sound if k not in copies]
        before = max((k for k in others if k < t), default=None)
        after = min((k for k in others if k > t), default=None)
        if before is None or after is None:  # at an end: the one nearer to it is the original
            near = after if before is None else before
            return 0.0 if near is None else 2 * float(distances[t, near])
        return float(distances[before, t] + distances[t, after] - distances[before, after])

    originals = {min(each, key=lambda t: (way(t), -t)) for each in equals}
    return equals, [t for t in sound if t not in copies or t in originals]


def _equal_weights(
    trajectory: Trajectory, equals: Sequence[list[int]], sound: Sequence[int]
) -> Iterator[Finding]:
    last = len(trajectory.checkpoints) - 1
    steps = trajectory.total.step
    typical = float(np.median(steps[np.isfinite(steps)])) if np.isfinite(steps).any() else 0.0
    for group in equals:
        rest = _at_rest(trajectory, group, sound)
        copies = [t for t in group if t < rest[0]] if len(rest) > 1 else group[:-1]
        if not copies:
            continue
        original = rest[0] if len(rest) > 1 else group[-1]
        evidence = {"distance": 0.0, "typical step": typical}
        if last in group and len(copies) > 1:
            text = f"{len(copies)} checkpoints hold the weights of the last one"
            kind, evidence["copies"] = "final weights", float(len(copies))
        else:
            kind, text = "duplicated", "equal weights"
        group = [*copies, original]
        text += f" (distance 0, between neighbours {typical:.3g})"
        yield _finding(trajectory, kind, group, text, evidence)


def _at_rest(trajectory: Trajectory, group: Sequence[int], sound: Sequence[int]) -> list[int]:
    """Those of equal checkpoints that are the end of a training that slowed down to it: the rate
    went to 0, and equal weights are what it left. Most sound ones from there on are equal."""
    distances = trajectory.distances
    first = {trajectory.signatures[t].tobytes(): t for t in reversed(sound)}
    path = sorted(first.values())  # without copies, whose steps would count twice
    usual = np.median([distances[a, b] for a, b in pairwise(path)]) if len(path) > 1 else 0.0
    for start in group:
        tail = [t for t in group if t >= start]
        before = [t for t in sound if t < start]
        if not before or len(tail) < MOST * sum(t >= start for t in sound):
            continue
        if distances[before[-1], start] < SLOW * usual:
            return tail
    return []


def _swapped(trajectory: Trajectory, i: int, j: int, share: float) -> Finding:
    text = f"stand in each other's place: exchanged, their way to their neighbours is {share:.2f} "
    text += "of what it is"
    return _finding(trajectory, "swapped", [i, j], text, {"share": share})


def _finding(
    trajectory: Trajectory, kind: str, rows: Sequence[int], text: str, evidence: dict[str, float]
) -> Finding:
    names = tuple(trajectory.checkpoints[t] for t in rows)
    return Finding(kind, names, tuple(int(trajectory.steps[t]) for t in rows), text, evidence)
