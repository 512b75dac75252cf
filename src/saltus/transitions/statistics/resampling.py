"""Many Kaplan-Meier curves at once, for resampling: thousands of draws from the same seeds.

A draw is a row of weights: how often it holds each seed. `kaplan_meier` is the curve of
the weights (1, …, 1), and the tests hold the two together.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from saltus.errors import SaltusError
from saltus.transitions.statistics.product_limit import HALF
from saltus.transitions.statistics.times import Times


def draws(count: int, resamples: int, key: int) -> Int[np.ndarray, "draw seed"]:
    """How often each of `count` seeds is in each draw with replacement: a fixed Philox stream."""
    if resamples < 1:
        raise SaltusError(f"resamples: {resamples} is not allowed: 1 or more")
    generator = np.random.Generator(np.random.Philox(key=key))
    even = np.full(count, 1 / count)
    return generator.multinomial(count, even, size=resamples)


def shares(
    times: Times, weights: Int[np.ndarray, "draw seed"]
) -> tuple[Float[np.ndarray, " moment"], Float[np.ndarray, "draw moment"]]:
    """Times of leaps (rising, distinct), and the share that has not leapt from each of them on.

    `weights` belong to the seeds as they stand in `times`. Where a draw has nobody at risk any
    more its curve stays as it was.
    """
    moments = np.unique(times.times[times.happened])
    leapt = (times.times[:, None] == moments) & times.happened[:, None]
    risk = times.times[:, None] >= moments
    here, left = weights @ leapt.astype(np.float64), weights @ risk.astype(np.float64)
    factors = np.where(left > 0, 1 - here / np.maximum(left, 1), 1.0)
    return moments, np.cumprod(factors, axis=1)


def areas(
    times: Times, weights: Int[np.ndarray, "draw seed"], horizon: float
) -> Float[np.ndarray, " draw"]:
    """The area below each draw's curve from 0 to the horizon."""
    moments, share = shares(times, weights)
    edges = np.concatenate([[0.0], np.minimum(moments, horizon), [horizon]])
    return np.diff(edges) @ np.concatenate([np.ones((1, len(weights))), share.T])


def medians(times: Times, weights: Int[np.ndarray, "draw seed"]) -> Float[np.ndarray, " draw"]:
    """The median time of each draw as `median_time` estimates it; infinite if missing."""
    moments, share = shares(times, weights)
    ends = np.append(moments, np.inf)
    first = ends[_first(share <= HALF)]
    below = ends[_first(share < 0.5 - 1e-12)]
    exact = np.isfinite(below) & (below > first)
    return np.where(exact, (first + np.where(exact, below, 0.0)) / 2, first)


def _first(held: np.ndarray) -> np.ndarray:
    """The first column that holds in each row; the number of columns where none does."""
    return np.where(held.any(axis=1), held.argmax(axis=1) if held.shape[1] else 0, held.shape[1])
