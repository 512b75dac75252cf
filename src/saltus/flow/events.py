"""When a signal first stops being negative: looks within a step, then a bracketing root finder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor

from saltus.errors import SaltusError
from saltus.flow.dense import Step

# (which rows of the ensemble, their states [row, state]) → [row, event]. An event happens when its
# signal first is ≥ 0; NaN means not yet.
Signals = Callable[[list[int], Tensor], Tensor]

PRECISION = 1e-13  # of an event's time, relative to that time
MOST_LOOKS = 200  # more than bisection ever needs


def find_events(
    signals: Signals, step: Step, starts: Sequence[float], pending: list[list[bool]], looks: int
) -> dict[tuple[int, int], float]:
    """The times of the events that first happen in a step, by (row, event).

    A row's step begins at its own time `starts[place]`; `pending[place][event]` says which events
    have not happened before. The signals are looked at after the step and at `looks` points
    within, so a passage there and back between two neighbouring points remains unseen.
    """
    found: dict[tuple[int, int], float] = {}
    before = 0.0
    for number in range(1, looks + 2):
        part = number / (looks + 1)
        states = step.new if part == 1.0 else step.inside([part] * len(step.rows))
        seen = look(signals, step.rows, states, len(pending[0]))
        for place, row in enumerate(step.rows):
            for event, value in enumerate(seen[place]):
                if value >= 0.0 and pending[place][event] and (row, event) not in found:
                    start, size = starts[place], step.sizes[place]
                    signal = _signal(signals, step.pick([place]), start, event, len(pending[0]))
                    high = start + (size if part == 1.0 else part * size)
                    found[row, event] = first_passage(signal, start + before * size, high)
        before = part
    return found


def look(
    signals: Signals, rows: list[int], states: Float[Tensor, "row state"], events: int
) -> list[list[float]]:
    """The signals of these rows, [row][event]."""
    values = signals(rows, states)
    if values.shape != (len(rows), events):
        raise SaltusError(
            f"signals: gave {list(values.shape)} for {len(rows)} rows; "
            f"allowed: [row, event], here {[len(rows), events]}"
        )
    return values.detach().tolist()


def first_passage(signal: Callable[[float], float], low: float, high: float) -> float:
    """A time where `signal` is ≥ 0, at most PRECISION × itself after one where it is not.

    `signal(low)` is negative or NaN and `signal(high)` ≥ 0. Chandrupatla's method (Adv. Eng.
    Software 28, 1997): inverse quadratic interpolation where that is safe, else bisection, so it
    ends soon for smooth signals and surely for signals that jump or are not finite.
    """
    (a, fa), (b, fb) = (high, signal(high)), (low, signal(low))
    if fb >= 0.0:
        return low
    if not fa >= 0.0:
        return high  # rounding: the look that found the passage came a last bit later
    part = 0.5
    for _ in range(MOST_LOOKS):
        width, tolerance = abs(b - a), PRECISION * max(a, b)
        if width <= tolerance:
            break
        # Half of what is asked for away from either end, or only one end would ever move.
        margin = min(0.5, 0.5 * tolerance / width)
        point = a + min(max(part, margin), 1.0 - margin) * (b - a)
        value = signal(point)
        if (value >= 0.0) == (fa >= 0.0):
            c, fc = a, fa
        else:
            (c, fc), (b, fb) = (b, fb), (a, fa)
        a, fa = point, value
        part = _part(a, b, c, fa, fb, fc)
    return a if fa >= 0.0 else b


def _part(a: float, b: float, c: float, fa: float, fb: float, fc: float) -> float:
    """How far from a to b the inverse parabola through three points is zero; else a half."""
    if not all(map(math.isfinite, (fa, fb, fc))) or fc in (fa, fb) or c == b:
        return 0.5
    share, height = (a - b) / (c - b), (fa - fb) / (fc - fb)
    if not (height * height < share and (1.0 - height) ** 2 < 1.0 - share):
        return 0.5
    part = fa / (fb - fa) * fc / (fb - fc)
    return part + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)


def _signal(
    signals: Signals, step: Step, start: float, event: int, events: int
) -> Callable[[float], float]:
    """One event's signal along the step of one row, as a function of time."""
    size = step.sizes[0]

    def signal(time: float) -> float:
        part = (time - start) / size
        state = step.old if part <= 0.0 else step.new if part >= 1.0 else step.inside([part])
        return look(signals, step.rows, state, events)[0][event]

    return signal
