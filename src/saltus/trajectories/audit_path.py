"""Checkpoints off the path, as a whole (of another run) or in some tensors (corrupt), and jumps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float

from saltus.trajectories.findings import Finding
from saltus.trajectories.geometry import DETOUR, detours
from saltus.trajectories.trajectory import Trajectory

LEAST = 64  # numbers of a tensor below which its distances are too noisy to judge it alone
# One tensor alone may make a detour in earnest: it must be great, and of so many usual distances
# from the middle of both neighbours; with one neighbour, its step of so many usual ones.
TENSOR, TENSOR_END = 8.0, 32.0
END = 8.0  # a last or first step of so many usual ones leads off the path
# Where a checkpoint may belong instead: a detour of 2, as at rest, and 10 %, and a way to both
# neighbours of this share of that where it stands.
ON_THE_PATH, NEARER = 2.2, 0.75
ZEROS = 8  # numbers that are zero at once
JUMP, WIDEST = 1.3, 2.3  # of a step beside those around it, if a checkpoint or two are missing
TOGETHER = 0.9  # the share of tensors that must jump so for a gap in the path


def off_the_path(
    trajectory: Trajectory, order: Sequence[int], sound: Sequence[int]
) -> Iterator[Finding]:
    """Strangers, corrupt tensors and jumps, of the checkpoints `order` without copies, after what
    was swapped has been put right."""
    order = list(order)
    distances = trajectory.distances[np.ix_(order, order)]
    around = detours(distances)
    touched = {t for place, t in enumerate(order) if place and order[place - 1] > t}
    off = {order[i]: float(around[i]) for i in np.flatnonzero(around > DETOUR)}
    off |= _ends(distances, order)
    plain = _plain_triples(order, len(trajectory.checkpoints)) - touched
    tensors = _tensors_off(trajectory, plain)
    ends = _tensors_off_at_the_ends(trajectory, set(order) - touched)
    for t in sorted({*off, *tensors, *ends}):
        odd = tensors.get(t) or ends.get(t) or {}
        judged = sum(each.numel >= LEAST for each in trajectory.parameters)
        if odd and len(odd) <= judged / 2:
            worst = max(odd, key=lambda name: odd[name])
            where = worst if len(odd) == 1 else f"{len(odd)} tensors, most of all {worst}"
            text = f"off the path in {where}: {odd[worst]:.3g} times the way without it"
            yield _finding(trajectory, "corrupt", (t,), text, {"detour": odd[worst]})
        elif t in off and (place := _place(distances, order.index(t))) is not None:
            names = [trajectory.checkpoints[order[k]] for k in place]
            text = f"off the path by {off[t]:.3g} times; its place is between {' and '.join(names)}"
            yield _finding(trajectory, "swapped", (t,), text, {"detour": off[t]})
        elif t in off:
            text = f"off the path: {off[t]:.3g} times the way without it; weights of another run?"
            yield _finding(trajectory, "stranger", (t,), text, {"detour": off[t]})
    yield from _zeros(trajectory, set(order))
    bad = {*off, *tensors, *ends}
    yield from _jumps(trajectory, [t for t in order if t not in bad], plain)


def _ends(distances: np.ndarray, order: Sequence[int]) -> dict[int, float]:
    """The first and the last have one neighbour: how long is the step, of those next to it?"""
    found: dict[int, float] = {}
    if len(order) >= 5:
        steps = np.array([distances[i, i + 1] for i in range(len(order) - 1)])
        for t, step, others in (
            (order[0], steps[0], steps[1:4]),
            (order[-1], steps[-1], steps[-4:-1]),
        ):
            if step > END * others.max():
                found[t] = float(step / others.max())
    return found


def _place(distances: np.ndarray, own: int) -> tuple[int, int] | None:
    """Two neighbours elsewhere between which a checkpoint is on the path, if there are any."""
    others = [k for k in range(len(distances)) if k != own]
    places = [(a, b) for a, b in pairwise(others) if own not in range(a, b + 1)]
    if not places:
        return None

    def detour(place: tuple[int, int]) -> float:
        a, b = place
        around = distances[a, own] + distances[own, b]
        return float(around / distances[a, b]) if distances[a, b] > 0 else np.inf

    a, b = best = min(places, key=detour)
    here = distances[own, [k for k in (own - 1, own + 1) if 0 <= k < len(distances)]].mean()
    nearer = (distances[a, own] + distances[own, b]) / 2 < NEARER * here
    return best if nearer and detour(best) < ON_THE_PATH else None


def _plain_triples(order: Sequence[int], count: int) -> set[int]:
    """The checkpoints that stand between the neighbours they had when sums were taken."""
    kept = set(order)
    return {t for t in range(1, count - 1) if {t - 1, t, t + 1} <= kept}


def _tensors_off(trajectory: Trajectory, plain: set[int]) -> dict[int, dict[str, float]]:
    """Of each checkpoint: the tensors that make a detour there alone, and how great a one.

    The distance from the middle of both neighbours must also be far above the tensor's usual one:
    (2 ‖δ_a‖² + 2 ‖δ_b‖² - ‖δ_a + δ_b‖²) / 4.
    """
    squares = trajectory.step_squares
    first, second = squares[:, :-1], squares[:, 1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        straight = np.maximum(first + second + 2 * trajectory.turns, 0.0)
        ratio = (np.sqrt(first) + np.sqrt(second)) / np.sqrt(straight)
        middle = np.sqrt((2 * first + 2 * second - straight) / 4)
    found: dict[int, dict[str, float]] = {}
    for row, parameter in enumerate(trajectory.parameters):
        if parameter.numel < LEAST:
            continue
        for t in sorted(plain):
            near = [k - 1 for k in range(t - 4, t + 5) if k in plain and k != t]
            usual = float(np.median(middle[row, near])) if near else 0.0
            off = ratio[row, t - 1] > TENSOR and middle[row, t - 1] > TENSOR * usual
            if off and near:
                found.setdefault(t, {})[parameter.name] = float(ratio[row, t - 1])
    return found


def _tensors_off_at_the_ends(trajectory: Trajectory, kept: set[int]) -> dict[int, dict[str, float]]:
    """The same where there is one neighbour: a tensor's step beside its others and all tensors'."""
    steps = np.sqrt(trajectory.step_squares)
    count = len(trajectory.checkpoints)
    found: dict[int, dict[str, float]] = {}
    for t, step, others in ((0, 0, (1, 2, 3)), (count - 1, count - 2, (-4, -3, -2))):
        places = {k % (count - 1) for k in others} if count > 5 else set()
        if not places or not {t, *places, *(k + 1 for k in places), step, step + 1} <= kept:
            continue
        most = steps[:, sorted(places)].max(1)
        for row, parameter in enumerate(trajectory.parameters):
            if (
                parameter.numel >= LEAST
                and most[row] > 0
                and steps[row, step] > TENSOR_END * most[row]
            ):
                found.setdefault(t, {})[parameter.name] = float(steps[row, step] / most[row])
    return found


def _zeros(trajectory: Trajectory, kept: set[int]) -> Iterator[Finding]:
    """Numbers that are exactly zero in one checkpoint and in neither of its neighbours: a page that
    was never written. At the start many are zero for good reasons, so the first is not judged."""
    zeros = trajectory.zeros
    for t in range(1, zeros.shape[1]):
        if not {t - 1, t} <= kept:
            continue
        usual = zeros[:, t - 1]
        if t + 1 in kept:
            usual = np.maximum(usual, zeros[:, t + 1])
        new = zeros[:, t] - usual
        if new.max() >= ZEROS and (t + 1 in kept or usual[new.argmax()] == 0):
            name = trajectory.parameters[int(new.argmax())].name
            text = f"{new.max()} numbers of {name} are zero that are not beside it"
            yield _finding(trajectory, "corrupt", (t,), text, {"zeros": float(new.max())})


def _jumps(trajectory: Trajectory, order: Sequence[int], plain: set[int]) -> Iterator[Finding]:
    """A step in which nearly all tensors go further by the same factor, as if one were missing.

    Only where steps are evenly spaced: the loss may leap too, but then tensors differ.
    """
    big = np.array([each.numel >= LEAST for each in trajectory.parameters])
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(trajectory.step_squares[big]) / 2
    usable: Bool[np.ndarray, " step"] = np.zeros(len(trajectory.checkpoints) - 1, dtype=bool)
    kept = set(order)
    for i in range(len(usable)):
        usable[i] = {i, i + 1} <= kept
    spans = np.diff(trajectory.steps)
    for i in range(2, len(usable) - 2):
        near = (i - 2, i - 1, i + 1, i + 2)
        if not all(usable[k] and spans[k] == spans[i] for k in (*near, i)):
            continue
        usual: Float[np.ndarray, " tensor"] = logs[:, near].mean(1)
        with np.errstate(invalid="ignore"):  # tensors that rest
            spread = logs[:, near].max(1) - logs[:, near].min(1)
            factors = np.exp(logs[:, i] - usual)
        inside = (factors > JUMP) & (factors < WIDEST) & (spread < np.log(JUMP))
        if inside.mean() >= TOGETHER:
            factor = float(np.median(factors))
            text = f"the path jumps: {factor:.2f} of the steps around it in nearly all tensors"
            yield _finding(trajectory, "missing", (i, i + 1), text, {"factor": factor})


def _finding(
    trajectory: Trajectory, kind: str, rows: Sequence[int], text: str, evidence: dict[str, float]
) -> Finding:
    names = tuple(trajectory.checkpoints[t] for t in rows)
    return Finding(kind, names, tuple(int(trajectory.steps[t]) for t in rows), text, evidence)
