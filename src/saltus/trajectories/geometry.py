"""Where checkpoints stand on the path of a training: rules on distances alone.

In the right order, checkpoints further apart in time are further apart in space, whether training
goes straight (distances grow as |i - j|) or at random (as its square root); at rest under a
constant learning rate all are equally far. So for a < b < c the ratio d(a, c) / d(a, b) is 2,
sqrt(2) or 1 and never much below 1. All thresholds below follow from those three numbers.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from jaxtyping import Float

# Two checkpoints are swapped if that shortens their edges to their neighbours to this share, where
# the three kinds of path give 1/2, 1/sqrt(2) and 1 for neighbours; on each side to SIDE.
SWAP, SIDE = 0.85, 0.95
ALONE = 0.75  # the same where one side is all there is: at an end of the series
# (d(a, b) + d(b, c)) / d(a, c) is 1, sqrt(2) and 2: beyond this b is off the path.
DETOUR = 3.0


def swaps(distances: Float[np.ndarray, "c c"]) -> list[tuple[int, int, float]]:
    """Pairs (i, j) that stand in each other's place, and the share to which undoing that shortens
    their edges; the clearest first. Each checkpoint is in one pair at most."""
    order = list(range(len(distances)))
    found: list[tuple[int, int, float]] = []
    free = set(order)
    while len(free) > 1:
        tried = [(_gain(distances, order, i, j), i, j) for i, j in combinations(sorted(free), 2)]
        share, i, j = min(tried)
        if share >= 1:
            break
        order[i], order[j] = order[j], order[i]
        free -= {i, j}
        found.append((i, j, share))
    return found


def detours(distances: Float[np.ndarray, "c c"]) -> Float[np.ndarray, " c"]:
    """(d(a, b) + d(b, c)) / d(a, c) of each checkpoint b with its neighbours; 1 at both ends."""
    found = np.ones(len(distances))
    for b in range(1, len(distances) - 1):
        straight = distances[b - 1, b + 1]
        around = distances[b - 1, b] + distances[b, b + 1]
        found[b] = around / straight if straight > 0 else np.inf if around > 0 else 1.0
    return found


def _gain(distances: np.ndarray, order: list[int], i: int, j: int) -> float:
    """The share to which exchanging places i < j shortens their edges; 1 where it is no swap."""
    sides: list[tuple[float, float]] = []  # (as it stands, exchanged) of each place's edges
    edges = 0
    for place, other in ((i, j), (j, i)):
        near = [k for k in (place - 1, place + 1) if 0 <= k < len(order) and k not in (i, j)]
        here, there = order[place], order[other]
        if near:
            edges += len(near)
            sides.append(
                (
                    sum(distances[order[k], here] for k in near),
                    sum(distances[order[k], there] for k in near),
                )
            )
    if not sides or any(after > SIDE * before for before, after in sides):
        return 1.0
    before, after = map(sum, zip(*sides, strict=True))
    allowed = SWAP if edges > 1 and len(sides) > 1 else ALONE
    return after / before if before > 0 and after < allowed * before else 1.0
