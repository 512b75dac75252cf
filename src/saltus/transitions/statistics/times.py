"""Times to the leap, with those seeds to which it never came: what survival statistics start from.

A seed that has not leapt when its budget ends is *censored*: its leap comes later, if ever. It
still says something, namely that the time is longer than the budget, and leaving it out would make
every mean too short.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from saltus.errors import SaltusError
from saltus.transitions.transition import Transition, largest


@dataclass(frozen=True, eq=False)
class Times:
    """One time for each seed: of its leap, or the last step seen where `happened` is False.

    Steps, or times of another clock; finite and not negative. No seeds at all are allowed.
    """

    times: Float[np.ndarray, " seed"]
    happened: Bool[np.ndarray, " seed"]

    def __post_init__(self) -> None:
        if self.times.shape != self.happened.shape or self.times.ndim != 1:
            raise SaltusError(
                f"times: {self.times.shape} times and {self.happened.shape} marks of what happened "
                "are not allowed: one of each for every seed"
            )
        wrong = ~np.isfinite(self.times) | (self.times < 0)
        if wrong.any():
            raise SaltusError(
                f"times: {self.times[wrong][0]:g} is not allowed: a time is finite and not negative"
            )

    @property
    def count(self) -> int:
        """Seeds."""
        return len(self.times)

    @property
    def leaps(self) -> int:
        """Seeds that have leapt."""
        return int(self.happened.sum())

    def sorted(self) -> Times:
        """By time, leaps before those censored at the same time: the order means nothing."""
        order = np.lexsort((~self.happened, self.times))
        return Times(self.times[order], self.happened[order])


def times_of(
    found: Sequence[Sequence[Transition]],
    which: Literal["largest", "first"] = "largest",
    least: float = 0.0,
) -> Times:
    """The time of each seed's largest or first leap, from the transitions of each seed.

    Leaps of less height than `least` do not count: in a seed that never makes the leap in question
    a small fall at the start would be the largest one. A seed without a leap is censored at its
    budget. Raises SaltusError for a seed without any record, and for an unknown `which`.
    """
    if which not in ("largest", "first"):
        raise SaltusError(f"which: '{which}' is not allowed: largest or first")
    times, happened = [], []
    for seed, each in enumerate(found):
        if not each:
            raise SaltusError(
                f"found: nothing is not allowed for seed {seed}: at least a censored transition"
            )
        leaps = [one for one in each if not one.censored and one.height >= least]
        happened.append(bool(leaps))
        if not leaps:
            times.append(each[0].budget)
        else:
            times.append((largest(leaps) if which == "largest" else leaps[0]).step)
    return Times(np.asarray(times, dtype=np.float64), np.asarray(happened, dtype=bool))
