"""A transition: a plateau and the leap that ends it; or a plateau that nothing ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Direction = Literal["down", "up"]


@dataclass(frozen=True)
class Plateau:
    """A stretch on which a series keeps its level; steps, or times where the clock is another."""

    level: float  # its median, in the units of the series
    start: float
    end: float

    @property
    def length(self) -> float:
        return self.end - self.start


@dataclass(frozen=True)
class Transition:
    """A plateau and the leap after it. Without a leap it is *censored*: onset and step are None.

    The shares below are of the way from the plateau's level to the level after the leap.
    """

    plateau: Plateau | None  # None: the series has none, and no leap
    budget: float  # the last step observed: a leap that is missing came later, if at all
    onset: float | None = None  # where the series leaves the plateau for good: 10 %
    step: float | None = None  # of the leap: 50 %
    late: float | None = None  # 90 %
    end: float | None = None  # where the new level is reached; None: not within the budget
    after: float | None = None  # the new level, or the last one seen

    @property
    def censored(self) -> bool:
        """Whether no leap was seen."""
        return self.step is None

    @property
    def height(self) -> float:
        """|level of the plateau - level after|, in the units of the series; 0 if censored."""
        if self.plateau is None or self.after is None:
            return 0.0
        return abs(self.plateau.level - self.after)

    @property
    def width(self) -> float | None:
        """Steps from 10 % to 90 % of the leap; None if censored."""
        return None if self.late is None or self.onset is None else self.late - self.onset

    @property
    def sharpness(self) -> float | None:
        """Length of the plateau over the width of the leap: 1 is a ramp; None if censored.

        Infinite where no point of the series lies within the leap.
        """
        if self.plateau is None or self.width is None:
            return None
        return self.plateau.length / self.width if self.width > 0 else float("inf")


def largest(found: Sequence[Transition]) -> Transition:
    """The transition of greatest height among those of one series, or its censored one."""
    return max(found, key=lambda each: each.height)
