"""How many seeds does it take to see an effect? And which effect do so many seeds see?

An effect is a record that knows the power of its test: `MeanEffect` here, `ShareEffect` in
power_share.py and `TimeEffect` in power_time.py. Power is the probability that a two-sided test of
two arms, with so many seeds each, gives p <= alpha when the effect is as large as stated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite
from typing import ClassVar, Protocol, Self, TypeVar, runtime_checkable

from saltus.errors import SaltusError
from saltus.transitions.statistics.intervals import Interval

MOST = 1000  # seeds per arm: nobody trains more
DETAIL = 1e-3  # to which a detectable effect is found, relative to itself


@runtime_checkable
class Effect(Protocol):
    """A difference of a certain size between two arms, and the test that should see it."""

    jagged: ClassVar[bool]  # whether one more seed may lower the power

    @property
    def size(self) -> float:
        """Of the effect, in its own units."""
        ...

    @property
    def extremes(self) -> tuple[float, float]:
        """The size that is no effect, and one in the same direction that is beyond doubt."""
        ...

    def of_size(self, size: float) -> Self:
        """The same question about another size."""
        ...

    def power(self, seeds: int, alpha: float = 0.05) -> Interval:
        """With `seeds` seeds per arm: exact (`count` 0), or over `count` simulations."""
        ...


Kind = TypeVar("Kind", bound=Effect)


@dataclass(frozen=True)
class MeanEffect:
    """Means of two arms that lie `difference` apart; each seed scatters with `deviation`.

    Test: Student's t with equal variances. Power: the noncentral t distribution, exact for values
    that are normal over seeds. Welch's test has the same statistic and fewer degrees of freedom; it
    loses about two points of power with 6 seeds per arm, and less with more.
    """

    difference: float
    deviation: float
    jagged: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isfinite(self.difference):
            raise SaltusError(f"difference: {self.difference:g} is not allowed: a finite number")
        if not (isfinite(self.deviation) and self.deviation > 0):
            raise SaltusError(f"deviation: {self.deviation:g} is not allowed: a number above 0")

    @property
    def size(self) -> float:
        return self.difference

    @property
    def extremes(self) -> tuple[float, float]:
        return 0.0, 1000 * (-self.deviation if self.difference < 0 else self.deviation)

    def of_size(self, size: float) -> MeanEffect:
        return replace(self, difference=size)

    def power(self, seeds: int, alpha: float = 0.05) -> Interval:
        """P(|T| >= critical), T noncentral t with 2 n - 2 degrees of freedom: T² is F(1, 2 n - 2)
        with noncentrality (difference / deviation)² n / 2."""
        check(seeds=seeds, alpha=alpha)
        from scipy.stats import f, ncf

        freedom, shift = 2 * seeds - 2, (self.difference / self.deviation) ** 2 * seeds / 2
        critical = f.isf(alpha, 1, freedom)
        found = float(ncf.sf(critical, 1, freedom, shift)) if shift > 0 else alpha
        return exactly(1.0 if found != found else found)


def seeds_needed(effect: Effect, power: float = 0.8, alpha: float = 0.05) -> int | None:
    """The smallest number of seeds per arm with at least this power; None: more than 1,000.

    Raises SaltusError for an effect of no size.
    """
    check(power=power, alpha=alpha)
    if effect.size == effect.extremes[0]:
        raise SaltusError(f"effect: {effect.size:g} is no effect, and no number of seeds sees it")

    def enough(seeds: int) -> bool:
        return effect.power(seeds, alpha).estimate >= power

    below, seeds = 1, 2
    while not enough(seeds):
        if seeds == MOST:
            return None
        below, seeds = seeds, min(2 * seeds, MOST)
    while seeds - below > 1:
        middle = (below + seeds) // 2
        below, seeds = (below, middle) if enough(middle) else (middle, seeds)
    if effect.jagged:  # a smaller number may do as well
        earlier = range(max(2, int(0.9 * seeds) - 10), seeds)
        return next((each for each in earlier if enough(each)), seeds)
    return seeds


def detectable(effect: Kind, seeds: int, power: float = 0.8, alpha: float = 0.05) -> Kind | None:
    """The smallest effect in this direction that so many seeds see with this power; None: none.

    Found to three digits, on the side that is seen.
    """
    check(seeds=seeds, power=power, alpha=alpha)
    hidden, seen = effect.extremes
    nothing = hidden
    if effect.of_size(seen).power(seeds, alpha).estimate < power:
        return None
    while abs(seen - hidden) > DETAIL * abs(seen - nothing):
        middle = (hidden + seen) / 2
        if effect.of_size(middle).power(seeds, alpha).estimate < power:
            hidden = middle
        else:
            seen = middle
    return effect.of_size(seen)


def exactly(power: float) -> Interval:
    """A power that was computed, not simulated."""
    return Interval(power, power, power, 0)


def check(*, seeds: int = 2, power: float = 0.8, alpha: float = 0.05) -> None:
    """One line for what is not allowed."""
    if not 2 <= seeds <= MOST:
        raise SaltusError(f"seeds: {seeds} is not allowed: 2 to {MOST:,} per arm")
    if not 0 < alpha < 1:
        raise SaltusError(f"alpha: {alpha:g} is not allowed: between 0 and 1")
    if not alpha < power < 1:
        raise SaltusError(f"power: {power:g} is not allowed: between alpha = {alpha:g} and 1")
