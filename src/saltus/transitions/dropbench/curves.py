"""Labelled curves: synthetic losses whose leaps are known exactly, each a pure function of
(split, seed, index).

`kinds.py` says which kinds there are and by what formulas, `shapes.py` what course a
leap takes, `noise.py` what noise lies on it, `real.py` how runs give more curves.
Detectors are tuned on the split "development"; tables are of "test".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import nan

import numpy as np
from jaxtyping import Float, Int

from saltus.errors import SaltusError, unknown
from saltus.transitions.dropbench.kinds import LEAPING, NULL, Sketch
from saltus.transitions.dropbench.noise import noise, scale_of
from saltus.transitions.dropbench.shapes import Draw

SPLITS = ("development", "test")
KINDS = (*LEAPING, *NULL)
SPACINGS = (1, 1, 1, 10, 20)  # steps between two points; three curves of five have every step
# A grid, so that an online detector can watch many curves of one clock together.
LENGTHS = tuple(round(60 * 50 ** (i / 15)) for i in range(16))  # points: 60, 78, ..., 3000


@dataclass(frozen=True)
class Leap:
    """A true leap: steps at which 10, 50 and 90 % of its way are done, and its size.

    Of a leap that the budget cuts off, the way ends where the budget does. `ratio` is the height
    over the standard deviation of one point of the noise on the plateau; infinite without noise,
    NaN where it is not known (real curves).
    """

    onset: float
    step: float
    late: float
    plateau: float = nan  # the level from which it falls
    height: float = nan  # by how much, above 0
    ratio: float = nan

    @property
    def width(self) -> float:
        """Steps from 10 % to 90 %."""
        return self.late - self.onset


@dataclass(frozen=True)
class Labelled:
    """One curve and what is true of it."""

    name: str  # "test/0/17": split, seed, index; or the run, the series and the member
    kind: str
    steps: Int[np.ndarray, " step"]
    values: Float[np.ndarray, " step"]
    leaps: tuple[Leap, ...] | None  # in order; () for a null curve; None: nobody knows
    changes: tuple[float, ...] = ()  # steps at which the learning rate changed, as a user knows
    clean: Float[np.ndarray, " step"] | None = None  # without noise and without spikes

    @property
    def spacing(self) -> float:
        """Steps between two points (their median)."""
        return float(np.median(np.diff(self.steps))) if len(self.steps) > 1 else 1.0

    @property
    def budget(self) -> float:
        """The last step."""
        return float(self.steps[-1])


def curves(split: str, count: int, seed: int = 0) -> Iterator[Labelled]:
    """The first `count` curves of a split; every kind in turn, so that all are equally many."""
    _check(split)
    if count < 1:
        raise SaltusError(f"count: {count} is not allowed: a number of curves, 1 or more")
    return (curve(split, index, seed) for index in range(count))


def curve(split: str, index: int, seed: int = 0) -> Labelled:
    """One curve; the same whichever others are made. Raises SaltusError for an unknown split."""
    _check(split)
    kind = KINDS[index % len(KINDS)]
    draw = Draw(_generator(split, seed, index))
    spacing, length = SPACINGS[draw.number(0, 4)], LENGTHS[draw.number(0, len(LENGTHS) - 1)]
    steps = spacing * np.arange(length, dtype=np.int64)
    unit = draw.geometric(1e-3, 1e3)  # all of a curve scales with it
    sketch = {**LEAPING, **NULL}[kind](draw, steps)
    way = sketch.falls[0].way(steps) if sketch.falls else np.zeros(length)
    level = sketch.plateaus[0] if sketch.falls else 1.0
    scale = sketch.calm * scale_of(draw, sketch.noise, sketch.clean, level, way)
    grain = noise(draw, sketch.noise, sketch.deviation, scale)
    return Labelled(
        name=f"{split}/{seed}/{index}",
        kind=kind,
        steps=steps,
        values=unit * (sketch.clean + sketch.spikes + grain),
        leaps=_leaps(sketch, unit, float(steps[-1])),
        changes=sketch.changes,
        clean=unit * sketch.clean,
    )


def _leaps(sketch: Sketch, unit: float, budget: float) -> tuple[Leap, ...]:
    """The truth about each fall, of which the budget may show only a part."""
    found = []
    for fall, plateau, height in zip(sketch.falls, sketch.plateaus, sketch.heights, strict=True):
        seen = float(fall.way(np.array([int(budget)]))[0])
        # What the last thousandth of a long tail would move the labels by, nobody sees.
        part = seen if seen < 0.999 else 1.0
        onset, step, late = (fall.when(share * part) for share in (0.1, 0.5, 0.9))
        ratio = height * part / sketch.deviation if sketch.deviation > 0 else float("inf")
        found.append(Leap(onset, step, late, unit * plateau, unit * height * part, ratio))
    return tuple(found)


def _generator(split: str, seed: int, index: int) -> np.random.Generator:
    """Philox, keyed by 128 bits that name the curve."""
    name = f"dropbench\0{split}\0{seed}\0{index}".encode()
    key = int.from_bytes(hashlib.blake2b(name, digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))


def _check(split: str) -> None:
    if split not in SPLITS:
        raise SaltusError(f"split: {unknown('split', split, SPLITS)}")
