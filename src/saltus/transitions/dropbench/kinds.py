"""The kinds of labelled curves, by formula. T is the budget in steps, w a leap's 10-90 % width.

A curve is floor + sum of height (1 - share of the way done) + what the kind adds + noise, with
height 1 for the first or largest leap, a floor of 0.05 to 5, and noise by `Draw.signal_to_noise`.
All of it is then multiplied by one unit between 10^-3 and 10^3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import pi

import numpy as np
from jaxtyping import Float, Int

from saltus.transitions.dropbench.shapes import SHAPES, Draw, Fall

Steps = Int[np.ndarray, " step"]


@dataclass(frozen=True)
class Sketch:
    """A curve before its noise, in units of its largest leap or its whole change."""

    clean: Float[np.ndarray, " step"]
    deviation: float  # of one point of the noise on the first plateau
    falls: tuple[Fall, ...] = ()
    plateaus: tuple[float, ...] = ()  # the level from which each falls
    heights: tuple[float, ...] = ()
    noise: str = "white"
    spikes: Float[np.ndarray, " step"] | float = 0.0
    calm: Float[np.ndarray, " step"] | float = 1.0  # multiplies the deviation at each point
    changes: tuple[float, ...] = ()  # steps at which the learning rate changed


def _leap(
    draw: Draw,
    steps: Steps,
    shape: str = "",
    width: tuple[float, float] = (0.0, 0.12),
    noise: str = "white",
) -> Sketch:
    """One leap: w between 2 points and 12 % of T, after a plateau of 2 w and 15 % of T or more."""
    budget, spacing = float(steps[-1]), float(steps[1])
    widest = width[1] * budget
    wide = draw.geometric(max(2 * spacing, width[0] * budget), max(widest, 2.01 * spacing))
    onset = draw.uniform(max(0.15 * budget, 2 * wide), 0.9 * budget - 1.3 * wide)
    fall = Fall(shape or draw.one_of(*SHAPES), onset, wide)
    return _falling(draw, steps, [fall], [1.0], noise)


def _falling(
    draw: Draw, steps: Steps, falls: list[Fall], heights: list[float], noise: str = "white"
) -> Sketch:
    floor = draw.geometric(0.05, 5)
    clean = np.full(len(steps), floor)
    for fall, height in zip(falls, heights, strict=True):
        clean += height * (1 - fall.way(steps))
    plateaus = tuple(floor + sum(heights[i:]) for i in range(len(heights)))
    deviation = max(heights) / draw.signal_to_noise()
    return Sketch(clean, deviation, tuple(falls), plateaus, tuple(heights), noise)


def _cliff(draw: Draw, steps: Steps) -> Sketch:
    """A leap of less than one spacing: from one point to the next."""
    budget, spacing = float(steps[-1]), float(steps[1])
    wide = draw.uniform(0.05, 0.9) * spacing
    fall = Fall("logistic", draw.uniform(0.15, 0.9) * budget, wide)
    return _falling(draw, steps, [fall], [1.0])


def _stairs(draw: Draw, steps: Steps, heights: list[float]) -> Sketch:
    """Leaps in equal parts of 0.1 T to 0.95 T, each in its part's middle, at most 1/4 as wide."""
    budget, spacing = float(steps[-1]), float(steps[1])
    part = 0.85 * budget / len(heights)
    falls = []
    for i in range(len(heights)):
        wide = draw.geometric(2 * spacing, max(0.25 * part, 2.01 * spacing))
        onset = 0.1 * budget + (i + draw.uniform(0.35, 0.55)) * part
        falls.append(Fall(draw.one_of(*SHAPES), onset, wide))
    return _falling(draw, steps, falls, heights)


def _even_stairs(count: int) -> Callable[[Draw, Steps], Sketch]:
    def made(draw: Draw, steps: Steps) -> Sketch:
        heights = [draw.uniform(0.5, 1.0) for _ in range(count)]
        return _stairs(draw, steps, heights)

    return made


def _after_decay(draw: Draw, steps: Steps) -> Sketch:
    """+ a exp(-t / d), a of 0.5 to 3 heights, d of 0.5 to 3 % of T: the first steps of training."""
    sketch, budget = _leap(draw, steps), float(steps[-1])
    fast = draw.uniform(0.5, 3) * np.exp(-steps / (draw.geometric(0.005, 0.03) * budget))
    return replace(sketch, clean=sketch.clean + fast)


def _drifting(draw: Draw, steps: Steps) -> Sketch:
    """+ a (1 - t / T): until the onset the plateau sinks by 3 to 20 % of the height."""
    sketch, budget = _leap(draw, steps), float(steps[-1])
    (fall,) = sketch.falls
    slope = draw.uniform(0.03, 0.2) / fall.onset
    clean = sketch.clean + slope * (budget - steps)
    plateau = sketch.plateaus[0] + slope * (budget - fall.onset)
    return replace(sketch, clean=clean, plateaus=(plateau,))


def _improving_after(draw: Draw, steps: Steps) -> Sketch:
    """+ a (1 + (t - late) / d)^-1/2 after the leap, a of 10 to 30 % of the height, d = 10 w."""
    sketch = _leap(draw, steps)
    (fall,) = sketch.falls
    since = np.maximum(steps - fall.late, 0) / (10 * fall.width)
    more = draw.uniform(0.1, 0.3) * (1 + since) ** -0.5
    return replace(
        sketch, clean=sketch.clean + more, plateaus=(sketch.plateaus[0] + float(more[0]),)
    )


def _incomplete(draw: Draw, steps: Steps) -> Sketch:
    """A leap that the budget cuts off when 50 to 95 % of its way are done."""
    budget, spacing = float(steps[-1]), float(steps[1])
    shape, seen = draw.one_of(*SHAPES), draw.uniform(0.5, 0.95)
    wide = draw.geometric(max(4 * spacing, 0.02 * budget), 0.15 * budget)
    moved = Fall(shape, 0.0, wide).when(seen)
    return _falling(draw, steps, [Fall(shape, budget - moved, wide)], [1.0])


def _spiky(draw: Draw, steps: Steps) -> Sketch:
    """A leap, and before its onset spikes of 0.3 to 2 heights that recover."""
    sketch = _leap(draw, steps)
    last = max(sketch.falls[0].onset - 0.05 * steps[-1], 3 * steps[1])
    spikes = np.zeros(len(steps))
    for _ in range(draw.number(1, 6)):
        size = draw.uniform(0.3, 2) * (1 if draw.chance(0.8) else -1)
        spikes += size * _spike(draw, steps, last, draw.one_of("box", "recovery"), (1, 6))
    return replace(sketch, spikes=spikes)


def _leap_and_rate_step(draw: Draw, steps: Steps) -> Sketch:
    """A leap, and 12 % of T or more away from it a learning-rate step of 0.1 to 0.5 heights."""
    sketch, budget = _leap(draw, steps, width=(0.0, 0.08)), float(steps[-1])
    (fall,) = sketch.falls
    room = fall.late + 0.12 * budget
    if room < 0.9 * budget:
        at, before = draw.uniform(room, 0.92 * budget), 0.0
    else:
        at, before = draw.uniform(0.3, 0.6) * fall.onset, 1.0
    size = draw.uniform(0.1, 0.5)
    relaxed, calm, change = _rate_step(draw, steps, at, size)
    plateau = sketch.plateaus[0] + (0.0 if before else size)
    clean = sketch.clean + size - relaxed
    return replace(sketch, clean=clean, plateaus=(plateau,), calm=calm, changes=(change,))


def _flat(noise: str) -> Callable[[Draw, Steps], Sketch]:
    def made(draw: Draw, steps: Steps) -> Sketch:
        deviation = draw.geometric(0.003, 1)
        return Sketch(np.full(len(steps), 3.0), deviation, noise=noise)

    return made


def _declining(course: Callable[[Draw, np.ndarray], np.ndarray]) -> Callable[[Draw, Steps], Sketch]:
    """floor + course(t / T), whose whole change is 1 however steep it is."""

    def made(draw: Draw, steps: Steps) -> Sketch:
        shape = course(draw, steps / steps[-1])
        shape = (shape - shape[-1]) / (shape[0] - shape[-1])
        floor, law = draw.geometric(0.05, 5), draw.one_of("white", "white", "autocorrelated")
        return Sketch(floor + shape, 1 / draw.signal_to_noise(), noise=law)

    return made


def _spiked(
    form: str, length: tuple[int, int], longest: float = 1.0
) -> Callable[[Draw, Steps], Sketch]:
    """A level with 1 to 5 spikes, half of them downwards, all over before 90 % of T."""

    def made(draw: Draw, steps: Steps) -> Sketch:
        most = min(length[1], int(longest * len(steps)))
        spikes = np.zeros(len(steps))
        for _ in range(draw.number(1, 5)):
            size = draw.uniform(0.5, 1) * (1 if draw.chance(0.5) else -1)
            form_length = (min(length[0], most), most)
            spikes += size * _spike(draw, steps, 0.9 * steps[-1], form, form_length)
        ratio = draw.signal_to_noise()
        return Sketch(np.full(len(steps), 3.0), 1 / ratio, spikes=spikes)

    return made


def _rate_steps(draw: Draw, steps: Steps) -> Sketch:
    """floor + a exp(-t / d) and one or two learning-rate steps of 0.2 to 1, with less noise after.

    a of 0 to 1, d of 5 to 30 % of T.
    """
    budget, count = float(steps[-1]), draw.number(1, 2)
    clean = draw.geometric(0.05, 5) + draw.uniform(0, 1) * np.exp(
        -steps / (draw.uniform(0.05, 0.3) * budget)
    )
    calm, changes = np.ones(len(steps)), []
    for i in range(count):
        at, size = (0.25 + (i + draw.uniform(0, 0.8)) * 0.6 / count) * budget, draw.uniform(0.2, 1)
        relaxed, quieter, change = _rate_step(draw, steps, at, size)
        clean, calm = clean + size - relaxed, calm * quieter
        changes.append(change)
    deviation = 1 / draw.signal_to_noise()
    return Sketch(clean, deviation, calm=calm, changes=tuple(changes))


def _random_walk(draw: Draw, steps: Steps) -> Sketch:
    """White noise on a random walk that ends 0.5 to 2 of its deviations away (one sigma)."""
    walk = np.cumsum(draw.generator.standard_normal(len(steps))) / np.sqrt(len(steps))
    deviation = draw.geometric(0.01, 0.3)
    return Sketch(3.0 + draw.uniform(0.5, 2) * deviation * walk, deviation)


def _spike(
    draw: Draw, steps: Steps, last: float, form: str, length: tuple[int, int]
) -> Float[np.ndarray, " step"]:
    """A spike of size 1, over before `last`: a box of that many points, or exp(-t / d) with
    its 1 % point that many points after its start."""
    points = draw.number(*length)
    stop = max(int(last / steps[1]) - points, 1)
    start = draw.number(0, stop)
    since = np.arange(len(steps)) - start
    if form == "box":
        return ((since >= 0) & (since < points)).astype(np.float64)
    return np.where(since >= 0, np.exp(-np.maximum(since, 0) * np.log(100) / points), 0.0)


def _rate_step(
    draw: Draw, steps: Steps, at: float, size: float
) -> tuple[Float[np.ndarray, " step"], Float[np.ndarray, " step"], float]:
    """size (1 - exp(-(t - change) / d)) after the change, d of 0.3 to 4 % of T; noise shrinks to
    0.3 to 0.8 with it. The change is a step that was read."""
    change = float(steps[np.searchsorted(steps, at)])
    since = np.maximum(steps - change, 0) / (draw.geometric(0.003, 0.04) * steps[-1])
    done = -np.expm1(-since)
    return size * done, 1 - (1 - draw.uniform(0.3, 0.8)) * done, change


def _one(**settings: object) -> Callable[[Draw, Steps], Sketch]:
    return lambda draw, steps: _leap(draw, steps, **settings)  # type: ignore[arg-type]


LEAPING: dict[str, Callable[[Draw, Steps], Sketch]] = {
    "sigmoid": _one(shape="logistic"),
    "accelerating": _one(shape="accelerating"),
    "relaxing": _one(shape="relaxing"),
    "exponential": _one(shape="exponential"),
    "cliff": _cliff,
    "slow": _one(width=(0.1, 0.2)),  # w of 10 to 20 % of T, after a plateau of 2 w or more
    "two-leaps": _even_stairs(2),
    "three-leaps": _even_stairs(3),
    "small-after-large": lambda draw, steps: _stairs(draw, steps, [1.0, draw.uniform(0.1, 0.3)]),
    "after-decay": _after_decay,
    "drifting": _drifting,
    "improving-after": _improving_after,
    "incomplete": _incomplete,
    "spiky": _spiky,
    "leap-and-rate-step": _leap_and_rate_step,
    "heavy-tailed": _one(noise="heavy-tailed"),
    "autocorrelated": _one(noise="autocorrelated"),
    "proportional": _one(noise="proportional"),
    "calming": _one(noise="calming"),
}
NULL: dict[str, Callable[[Draw, Steps], Sketch]] = {
    "white-noise": _flat("white"),
    "autocorrelated-noise": _flat("autocorrelated"),
    "heavy-tailed-noise": _flat("heavy-tailed"),
    "linear-ramp": _declining(lambda draw, t: 1 - t),
    "logarithmic-ramp": _declining(lambda draw, t: -np.log1p(t / draw.geometric(0.01, 0.3))),
    "exponential-decay": _declining(lambda draw, t: np.exp(-t / draw.geometric(0.02, 0.5))),
    "power-law": _declining(
        lambda draw, t: (1 + t / draw.geometric(0.002, 0.1)) ** -draw.uniform(0.3, 1.5)
    ),
    "cosine-ramp": _declining(lambda draw, t: np.cos(pi * t)),
    "short-spikes": _spiked("box", (1, 5)),
    "long-spikes": _spiked("box", (10, 60), longest=0.08),
    "recovering-spikes": _spiked("recovery", (5, 100), longest=0.1),
    "rate-steps": _rate_steps,
    "random-walk": _random_walk,
}
