"""Norms, saturation and heads across the leaps of several studies: the report's first page.

Does the norm jump at the leap? Do heads saturate before it or after? Every seed is drawn on the
clock of its own leap (`transitions/statistics/across_leap.py`). No paper has this figure; it is
drawn for every run that has read the norm and the saturation of its last states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from saltus.report.compose import curve, figure, panel
from saltus.report.detected import detected
from saltus.report.figure import Figure, Panel
from saltus.report.gather import groups_of
from saltus.report.tables.record import Cell, Row, Table, interval_cell
from saltus.report.text import listed
from saltus.runs import Run
from saltus.transitions import Transition, mean_interval
from saltus.transitions.statistics.across_leap import half_way, on_leap_clock, speed_up

NORM, SATURATION = "norm/parameters", "saturation/final"
HEADS, ONE_KEY = "saturation/zeta/final", "head-types/argmax-like"
PANELS = {
    NORM: ("Norm of the parameters", "over its start"),
    SATURATION: ("Saturation of the network", "cosine of last states at θ and c θ"),
    HEADS: ("Saturation of the heads alone", "cosine of last states"),
    ONE_KEY: ("Saturated heads that look at one key", "share of heads"),
}
HALVES = {
    NORM: "Norm half way",
    SATURATION: "Saturation half way",
    HEADS: "Heads half way",
}
CLOCK = "training step / step of the seed's leap"
GRID = np.linspace(0.0, 2.0, 81)
TITLE = "Across the leap"


@dataclass(frozen=True)
class Watched:
    """Seeds of one setting that have been watched across their leaps."""

    label: str
    color: int
    run: Run
    places: tuple[int, ...]
    leaps: tuple[Transition, ...]  # each member's largest

    def values(self, name: str) -> tuple[Float[ndarray, " point"], Float[ndarray, "seed point"]]:
        """Steps and values of these seeds; the norm over its start."""
        series = self.run.series(name)
        values = series.values[list(self.places)].astype(np.float64)
        if name == NORM:
            values = values / values[:, :1]
        return series.steps.astype(np.float64), values


def watched(arms: Mapping[str, Run]) -> list[Watched]:
    """The groups of seeds, some of which leapt, whose norm and saturation were read."""
    found = []
    for label, run in arms.items():
        if not {NORM, SATURATION} <= set(run.names()):
            continue
        groups = next(iter(groups_of({label: run}).values()))
        for group in groups:
            leaps = detected(run, group.places)
            if leaps is not None and leaps.any:
                name = f"{label} · {group.label}" if len(groups) > 1 else label
                found.append(Watched(name, len(found), run, group.places, leaps.largest))
    return found


def across_leaps(arms: Mapping[str, Run]) -> tuple[Figure, Table] | None:
    """The figure and its table; None where no run was watched. `arms`: label → run."""
    groups = watched(arms)
    if not groups:
        return None
    drawn = [each for name in PANELS if (each := _panel(groups, name))]
    notes = (
        "1 on the horizontal axis is each seed's own leap of the training loss; seeds that did not "
        "leap are not drawn, and a seed ends where its training did. "
        f"{_scales(groups)} Heads alone: every head's attention on its largest score."
    )
    return figure(TITLE, drawn, notes), _table(groups)


def _scales(groups: list[Watched]) -> str:
    """'c = 1,000 (100 in loss-plateau: baseline).'"""
    found: dict[float, list[str]] = {}
    for each in groups:
        for part in each.run.experiment.get("instruments", ()):
            if part.get("kind") == "saturation":
                found.setdefault(float(part["scale"]), []).append(each.label)
    usual = max(found, key=lambda scale: len(found[scale]), default=1000.0)
    others = [f"{scale:,.0f} in {listed(who)}" for scale, who in found.items() if scale != usual]
    return f"c = {usual:,.0f}{f' ({listed(others)})' if others else ''}."


def _panel(groups: list[Watched], name: str) -> Panel | None:
    title, unit = PANELS[name]
    curves = []
    for each in groups:
        if name in each.run.names():
            steps, values = each.values(name)
            placed = on_leap_clock(steps, values, each.leaps, GRID)
            leapt = np.isfinite(placed).any(axis=1)
            curves.append(curve(each.label, GRID, placed[leapt], each.color))
    return panel(title, curves, unit, x_label=CLOCK) if curves else None


def _table(groups: list[Watched]) -> Table:
    rows = []
    for each in groups:
        leapt = sum(not one.censored for one in each.leaps)
        norm = each.values(NORM)
        cells = [
            Cell(f"{leapt} of {len(each.leaps)}"),
            interval_cell(mean_interval(norm[1][:, -1])),
            interval_cell(mean_interval(speed_up(*norm, each.leaps))),
        ]
        for name in HALVES:
            there = name in each.run.names()
            moments = half_way(*each.values(name), each.leaps) if there else np.array([np.nan])
            cells.append(interval_cell(mean_interval(moments)))
        rows.append(Row(each.label, tuple(cells), each.color))
    columns = ("Seeds that leapt", "Norm at the end, over its start", "Norm's speed in the leap",
               *HALVES.values())  # fmt: skip
    text = (
        "Norm's speed in the leap: its change per step between 10 % and 90 % of the leap, over "
        "that in the second half of the time before; 1 if the leap does not show in it. Half way: "
        "the step at which a series has made half of its way from the first reading to the last, "
        "over the step of the leap; below 1 before it, above 1 after. Means over the seeds that "
        "leapt, 95 % Student-t intervals over seeds."
    )
    return Table(TITLE, columns, tuple(rows), text)
