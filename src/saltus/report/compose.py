"""Figures from arrays in a few lines: what a study calls to say what its paper's figures show.

    def figures(arms):
        run = arms["SA"]
        classes = [(name, run.series(f"loss/{name}")) for name in ("I1", "I2", "I3", "I4")]
        loss = panel(
            "Loss by class",
            [(name, series.steps, series.values) for name, series in classes],
            x_label="time τ", x_log=True, levels=[("ln 2", log(2))], marks=[mark("T₁", ends)],
        )
        yield figure("Figure 1", [loss])

Colours are dealt in the order of the curves; the caption says how many seeds there are, what the
bands are, and who is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import SupportsFloat

import numpy as np
from jaxtyping import Real
from numpy import ndarray

from saltus.report.fan import LIMIT, fan, thin
from saltus.report.figure import STEP, Curve, Figure, Level, Line, Mark, Panel, Reference
from saltus.report.text import count, listed

Points = tuple[str, ndarray, ndarray]  # label, x [point], values [seed, point] or [point]

CURVES_WITH_SEEDS = 3  # in a panel with more curves the single seeds would cover each other
SEED_LINES, SEED_POINTS = 40, 4_000  # single seeds drawn per curve, and their points together


def panel(
    title: str,
    curves: Sequence[Points | Curve],
    unit: str = "",
    *,
    x_label: str = STEP,
    x_log: bool = False,
    log: bool = False,
    levels: Sequence[tuple[str, float]] = (),
    marks: Sequence[Mark] = (),
    references: Sequence[Reference] = (),
    dots: bool = False,
) -> Panel:
    """One pair of axes with a fan over seeds for each curve: (label, x, values[seed, point]).

    Values of one dimension are a curve without seeds. `dots` draws every point, for x that are
    settings rather than a continuous time. A Curve made by `curve` keeps the colour it has.
    """
    drawn = tuple(
        given if isinstance(given, Curve) else curve(*given, color, x_log=x_log, dots=dots)
        for color, given in enumerate(curves)
    )
    if len(drawn) > CURVES_WITH_SEEDS:
        drawn = tuple(replace(each, lines=()) for each in drawn)
    return Panel(
        title,
        title,
        unit,
        drawn,
        tuple(Level(label, float(value)) for label, value in levels),
        tuple(marks),
        log,
        tuple(references),
        x_label,
        x_log,
    )


def curve(
    label: str,
    x: Real[ndarray, " point"],
    values: Real[ndarray, "seed point"] | Real[ndarray, " point"],
    color: int,
    *,
    x_log: bool = False,
    dots: bool = False,
) -> Curve:
    """The fan over seeds and the first single seeds, thinned to what can be seen."""
    shown = x > 0 if x_log else np.full(len(x), True)
    x, rows = x[shown], np.atleast_2d(values)[:, shown].astype(np.float64)
    seeds = len(values) if values.ndim == 2 else 0
    first = rows[:SEED_LINES] if seeds else rows[:0]
    limit = min(LIMIT, max(40, SEED_POINTS // max(1, len(first))))
    along = np.log10(x) if x_log else None
    lines = []
    for row in first:
        places = thin(limit, row, along=along)
        lines.append(Line(x[places], row[places]))
    broken = int((~np.isfinite(rows)).any(axis=1).sum()) if seeds else 0
    return Curve(
        label, color, fan(x, rows).thinned(LIMIT, x_log), tuple(lines), seeds, broken, dots
    )


def mark(
    label: str, each: Sequence[SupportsFloat | None] | ndarray, color: int | None = None
) -> Mark:
    """An event: each seed's time, nan or None where it never came.

    Seeds to which it never came count as later than all others in the median.
    """
    times = np.array([np.nan if time is None else float(time) for time in each])
    came = np.isfinite(times)
    median = float(np.median(np.where(came, times, np.inf))) if len(times) else np.inf
    found = median if np.isfinite(median) else None
    return Mark(label, color, found, tuple(np.sort(times[came]).tolist()), len(times))


def slope(
    label: str, power: float, through: tuple[float, float], span: tuple[float, float]
) -> Reference:
    """The power law through a point, from x = span[0] to span[1]: a straight line on log axes."""
    x, y = through
    ends = np.geomspace(*span, 50)
    return Reference(label, ends, y * (ends / x) ** power)


def figure(title: str, panels: Sequence[Panel], *notes: str, shared: bool = False) -> Figure:
    """Panels under one title, with the caption that they need, and the notes after it."""
    most = max((len(each.marks) for each in panels), default=0)
    if most:
        order = ", those of the first event lowest" if most > 1 else ""
        notes = (f"Vertical: the median over seeds; ticks below: each seed's{order}.", *notes)
    return Figure(title, tuple(panels), caption(panels, *notes), shared)


def caption(panels: Sequence[Panel], *notes: str) -> str:
    """How many seeds, what the line and the bands are, and who is missing."""
    curves = [each for panel in panels for each in panel.curves if each.seeds]
    seeds = {each.label: each.seeds for each in curves}
    if not seeds:
        return " ".join(["Computed, without seeds.", *notes])
    most = max(seeds.values())
    amount = _amount(panels)
    if most == 1:
        return " ".join([f"{amount}: a single curve, without a band.", *notes])
    text = (
        f"{amount}. Line: median over seeds. Dark band: the middle half of the seeds (25 % to "
        "75 %). Light band: all seeds (minimum to maximum)."
    )
    if any(each.lines for each in curves):
        first = f"the first {SEED_LINES} seeds" if most > SEED_LINES else "single seeds"
        text += f" Thin lines: {first}."
    broken = {each.label: each.broken for each in curves if each.broken}
    if broken:
        who = listed([f"{number} of {seeds[label]} in {label}" for label, number in broken.items()])
        text += f" Seeds with values that are not finite, left out where they are: {who}."
    return " ".join([text, *notes])


def _amount(panels: Sequence[Panel]) -> str:
    """'8 seeds per curve'; by panel or by curve where they differ."""
    curves = [(panel, curve) for panel in panels for curve in panel.curves if curve.seeds]
    labels = {curve.label: curve.seeds for _, curve in curves}
    if len({curve.seeds for _, curve in curves}) == 1:
        amount = count(curves[0][1].seeds, "seed")
        return f"{amount} per curve" if len(labels) > 1 else amount
    titles = {panel.title: curve.seeds for panel, curve in curves}
    by_curve = all(labels[curve.label] == curve.seeds for _, curve in curves)
    by_panel = all(titles[panel.title] == curve.seeds for panel, curve in curves)
    which = labels if by_curve or not by_panel else titles
    return listed([f"{name}: {count(number, 'seed')}" for name, number in which.items()])
