"""The courses that a leap can take: the share of its way that is done at each step.

With z = (step - middle) / scale:

    logistic       1 / (1 + e^-z)                    symmetric
    accelerating   1 - exp(-e^z)                     leaves the plateau as e^z, an instability,
                                                     and arrives abruptly
    relaxing       exp(-e^-z)                        leaves abruptly, arrives as e^-z
    exponential    1 - e^-z for z > 0, 0 before      starts at one instant

Each is given by its 10 % step and its width from 10 % to 90 %.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, inf, log
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class _Law(NamedTuple):
    way: Callable[[np.ndarray], np.ndarray]  # z -> share
    when: Callable[[float], float]  # share -> z


SHAPES = {
    "logistic": _Law(lambda z: 1 / (1 + np.exp(-z)), lambda share: log(share / (1 - share))),
    "accelerating": _Law(lambda z: -np.expm1(-np.exp(z)), lambda share: log(-log(1 - share))),
    "relaxing": _Law(lambda z: np.exp(-np.exp(-z)), lambda share: -log(-log(share))),
    "exponential": _Law(lambda z: -np.expm1(-np.maximum(z, 0)), lambda share: -log(1 - share)),
}


@dataclass(frozen=True)
class Fall:
    """The course of one leap without noise, in steps."""

    shape: str  # one of SHAPES
    onset: float  # 10 %
    width: float  # from 10 % to 90 %

    def way(self, steps: Int[np.ndarray, " step"]) -> Float[np.ndarray, " step"]:
        """The share of the way down that is done at each step, from 0 to 1, rising."""
        # Beyond 60 scales the shapes differ from 0 and 1 by less than a float64 can show.
        z = np.clip((steps - self._middle) / self._scale, -60, 60)
        return SHAPES[self.shape].way(z)

    def when(self, share: float) -> float:
        """The step at which that share of the way is done, 0 < share < 1."""
        return self._middle + self._scale * SHAPES[self.shape].when(share)

    @property
    def late(self) -> float:
        """90 %."""
        return self.onset + self.width

    @property
    def _scale(self) -> float:
        when = SHAPES[self.shape].when
        return self.width / (when(0.9) - when(0.1))

    @property
    def _middle(self) -> float:
        return self.onset - self._scale * SHAPES[self.shape].when(0.1)


class Draw:
    """Parameters of one curve from its own stream."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator

    def uniform(self, low: float, high: float) -> float:
        """Uniform on [low, high)."""
        return low + (high - low) * float(self.generator.random())

    def geometric(self, low: float, high: float) -> float:
        """Uniform in the logarithm."""
        return exp(self.uniform(log(low), log(high)))

    def number(self, low: int, high: int) -> int:
        """One of low, ..., high."""
        return int(self.generator.integers(low, high + 1))

    def one_of(self, *choices: str) -> str:
        """One of them, all alike."""
        return choices[self.number(0, len(choices) - 1)]

    def chance(self, share: float) -> bool:
        """True in that share of the cases."""
        return self.uniform(0, 1) < share

    def signal_to_noise(self) -> float:
        """From hopeless (1) to clean: 1 to 300, even in the logarithm; infinite in one of 20."""
        ratio = self.geometric(1, 300)
        return inf if self.chance(0.05) else ratio
