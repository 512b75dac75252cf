"""The law by which the norm of a series of checkpoints grows, in words and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from saltus.errors import SaltusError
from saltus.report.tables.record import Cell, Row, Table, interval_cell
from saltus.report.text import number
from saltus.trajectories import Trajectory
from saltus.trajectories.course import Course
from saltus.transitions.statistics.growth import (
    BLOCKS,
    HIGHEST,
    LOWEST,
    Choice,
    Fit,
    choose,
    exponent_interval,
    fit,
    power,
)
from saltus.transitions.statistics.intervals import Interval

PAPER_LAWS = ("root", "linear", "fourth-root", "exponential")  # M6, the released regression's
WRITTEN = {
    "root": "√t",
    "linear": "t",
    "fourth-root": "t^¼",
    "exponential": "e⁻ᵗ",
    "logarithm": "log t",
}
BORDER = f"at the border of the exponents looked at, {LOWEST:g} to {HIGHEST:g}"
STILL = 1e-9  # relative change of a norm that is rounding and no growth


@dataclass(frozen=True)
class Growth:
    """How the encoder's norm (M1) grows with the step; `reason` is why it is not known.

    `exponent`: p of ‖θ‖ = a t^p + b; of one run, the interval is over parts of it. `fits`: r² of
    the paper's four laws (M6). `choice`: which of √t, t and log t predicts parts left out.
    `at_border`: p is the lowest or highest looked at; near the lowest t^p is a logarithm.
    """

    exponent: Interval | None = None
    fits: Mapping[str, Fit] = field(default_factory=dict)
    choice: Choice | None = None
    reason: str = ""
    at_border: bool = False


def growth_of(trajectory: Trajectory) -> Growth:
    """Fits of the encoder's norm; by the total norm where a model has no encoder."""
    if not trajectory.numbered:
        return Growth(reason="the names of the checkpoints have no steps")
    steps, norms = trajectory.steps, encoder_of(trajectory).norm
    if len(norms) > 1 and np.ptp(norms) <= STILL * np.max(norms):
        return Growth(reason="the norm does not change")
    usable = int((steps > 0).sum())  # log t leaves the others out
    blocks = min(BLOCKS, usable // 2)
    try:
        fits = {law: fit(steps, norms, law) for law in PAPER_LAWS}
        if blocks < 3:
            return Growth(None, fits, None, "too few checkpoints for an exponent with an interval")
        exponent = exponent_interval(steps, norms, blocks=blocks)
        border = bool(power(steps, norms).at_border)
        return Growth(exponent, fits, choose(steps, norms, blocks=blocks), at_border=border)
    except SaltusError as error:
        return Growth(reason=str(error))


def encoder_of(trajectory: Trajectory) -> Course:
    """M1, or the total where no parameter counts as encoder."""
    own = trajectory.encoder
    return own if own.norm.any() else trajectory.total


def growth_table(growth: Growth) -> Table:
    """The exponent, r² of the paper's laws, and the law that predicts best."""
    rows = []
    if growth.exponent is not None:
        rows.append(Row("exponent p", (interval_cell(growth.exponent),)))
    for law, each in growth.fits.items():
        rows.append(Row(f"r² of {WRITTEN[law]}", (number_cell(float(each.r_squared), 4),)))
    if growth.choice is not None:
        rows.append(Row("law", (Cell(law_text(growth.choice)),)))
    caption = (
        "‖θ‖ = a tᵖ + b for the encoder's norm. The interval of p is over parts of this one run, "
        "and says nothing of other seeds. The law: which of √t, t and log t predicts parts left "
        "out, where that can be told (a criterion of this project)."
    )
    if growth.at_border:
        caption += f" p is {BORDER}."
    if growth.reason:
        caption = f"Not fitted: {growth.reason}. {caption if rows else ''}".strip()
    return Table("The law of growth", ("",), tuple(rows), caption)


def law_text(choice: Choice) -> str:
    """'√t', or that it cannot be told."""
    best = WRITTEN[choice.best]
    return best if choice.law else f"cannot be told ({best} predicts best)"


def number_cell(value: float, digits: int) -> Cell:
    """A number with so many digits; a dash where there is none."""
    return Cell(number(value, digits), "", value)
