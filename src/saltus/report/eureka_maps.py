"""A sweep's map: how often, and when, a Eureka-moment comes at every pair of two settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from saltus.errors import SaltusError, unknown
from saltus.report.comparison.groups import Side, sides_of, value_text
from saltus.report.eureka_table import SERIES, said
from saltus.report.gather import short_names
from saltus.report.heat_maps.record import HeatMap, HeatMaps
from saltus.report.tables.record import interval_cell
from saltus.report.text import count, listed
from saltus.runs import Run
from saltus.transitions.statistics.eureka import (
    ACCURACY,
    Criterion,
    EurekaMoments,
    EurekaSummary,
    eureka_moments,
    eureka_summary,
)

Key = tuple[str, str]  # of a cell: its row's and its column's value, as they are written


def eureka_maps(
    runs: Run | Sequence[Run],
    column: str,
    row: str | None = None,
    where: Mapping[str, Any] | None = None,
    *,
    series: str = SERIES,
    criterion: Criterion = ACCURACY,
    title: str = "Eureka-moments over settings",
) -> tuple[HeatMaps, HeatMaps]:
    """Eureka-ratio (Wilson) and median e* (from survival curves) over one or two varied settings.

    `column` and `row` are fields that members of the runs vary in, whole or by their last names;
    `where` holds others at a value. Seeds of all runs with the same settings stand together. A
    median that is not reached within the budget is shown as '> BUDGET'.

    Raises SaltusError for a field that a run does not vary, for members that differ in a further
    field, for seeds of one cell with different budgets, and where a run lacks the series.
    """
    given = [runs] if isinstance(runs, Run) else list(runs)
    found = [_cell(side, column, row, where) for run in given for side in sides_of(run, where)]
    if not found:
        raise SaltusError("eureka maps: no runs are given; at least one")
    names = short_names([column, *([row] if row else [])])
    cells: dict[Key, list[EurekaMoments]] = {}
    for key, side in found:
        read = side.run.series(series)
        if not len(read.steps):
            raise SaltusError(f"{side.run.name}: {series} has no reading yet")
        own = eureka_moments(read.steps, read.values[list(side.places)], criterion)
        cells.setdefault(key, []).append(own)
    table = {key: eureka_summary(together(own, key)) for key, own in cells.items()}
    rows, columns = (_ordered([key[axis] for key in table]) for axis in (0, 1))
    labels = names[column], names[row] if row else ""
    note = f"{said(series, criterion)} {_seeds(list(table.values()))}"
    return ratio_map(title, table, rows, columns, labels, note), median_map(
        title, table, rows, columns, labels, note
    )


def ratio_map(
    title: str, table: Mapping[Key, EurekaSummary], rows: Sequence[str], columns: Sequence[str],
    labels: tuple[str, str], note: str,
) -> HeatMaps:  # fmt: skip
    """Cells say 'successes/runs'."""
    texts = _texts(table, rows, columns, lambda own: f"{_came(own)}/{own.runs}")
    values = [_grid(table, rows, columns, lambda own, end=end: getattr(own.ratio, end))
              for end in ("estimate", "low", "high")]  # fmt: skip
    made = _map("Eureka-ratio", values, texts, rows, columns, labels, table)
    text = (
        f"Runs with a Eureka-moment within the budget, of all runs; in the readout Wilson's 95 % "
        f"interval of the ratio. {note}"
    )
    return HeatMaps(f"{title}: ratio", (made,), text, unit="Eureka-ratio", span=(0.0, 1.0))


def median_map(
    title: str, table: Mapping[Key, EurekaSummary], rows: Sequence[str], columns: Sequence[str],
    labels: tuple[str, str], note: str,
) -> HeatMaps:  # fmt: skip
    """Cells say when half of the runs have had theirs, or '> BUDGET'."""
    texts = _texts(table, rows, columns, lambda own: interval_cell(own.median, own.budget).text)
    # The colour of a median beyond the budget is that of the budget.
    values = [
        _grid(table, rows, columns, lambda own: min(own.median.estimate, own.budget)),
        _grid(table, rows, columns, lambda own: own.median.low),
        _grid(table, rows, columns, lambda own: own.median.high),
    ]
    made = _map("Median e*", values, texts, rows, columns, labels, table)
    text = (
        "Step by which half of the runs have had their Eureka-moment, from the survival curve; "
        "'>': not within the budget, shown in the budget's colour. In the readout Brookmeyer and "
        f"Crowley's 95 % interval. {note}"
    )
    highest = max(own.budget for own in table.values())
    return HeatMaps(f"{title}: time", (made,), text, unit="steps", span=(0.0, highest or 1.0))


def together(own: Sequence[EurekaMoments], key: Key) -> EurekaMoments:
    """The seeds of several runs as one arm. Raises SaltusError where their budgets differ."""
    budgets = sorted({each.budget for each in own})
    if len(budgets) > 1:
        few = listed([f"{budget:,.0f}" for budget in budgets])
        raise SaltusError(
            f"eureka maps: seeds at {', '.join(filter(None, key))} have budgets of {few} steps; "
            "a ratio belongs to one budget"
        )
    arrays = [
        np.concatenate([getattr(each, name) for each in own])
        for name in ("step", "plateau", "early", "late", "last", "pending")
    ]
    return EurekaMoments(*arrays, budget=budgets[0])


def _cell(
    side: Side, column: str, row: str | None, where: Mapping[str, Any] | None
) -> tuple[Key, Side]:
    """Which cell a side belongs to."""
    setting = dict(side.setting)
    keys = []
    for given in (row, column):
        if given is None:
            keys.append("")
            continue
        near = [name for name in setting if name == given or name.endswith(f".{given}")]
        if len(near) != 1:
            raise SaltusError(f"{side.run.name}: {unknown('varied field', given, side.setting)}")
        keys.append(value_text(setting.pop(near[0])))
    held = [
        name
        for name in setting
        if not any(name == each or name.endswith(f".{each}") for each in where or {})
    ]
    if held:
        raise SaltusError(
            f"{side.run.name}: its members differ in {listed(held)} as well; hold it at a value"
        )
    return (keys[0], keys[1]), side


def _ordered(values: Sequence[str]) -> list[str]:
    """Each once: numbers by size, others as they come."""
    once = list(dict.fromkeys(values))
    try:
        return sorted(once, key=lambda each: float(json.loads(each)))
    except (ValueError, TypeError):
        return once


def _map(
    title: str, values: Sequence[Float[ndarray, "row column"]], texts: Sequence[Sequence[str]],
    rows: Sequence[str], columns: Sequence[str], labels: tuple[str, str],
    table: Mapping[Key, EurekaSummary],
) -> HeatMap:  # fmt: skip
    runs = np.array([[table[r, c].runs if (r, c) in table else 0 for c in columns] for r in rows])
    named = tuple(f"{labels[1]} {each}".strip() for each in rows)
    return HeatMap(
        title, values[0], named, tuple(columns), int(runs.max()), values[1], values[2],
        x_label=labels[0], y_label=labels[1], texts=tuple(map(tuple, texts)), counts=runs,
    )  # fmt: skip


def _grid(table: Mapping[Key, EurekaSummary], rows, columns, read) -> Float[ndarray, "row column"]:
    return np.array(
        [[read(table[r, c]) if (r, c) in table else nan for c in columns] for r in rows],
        dtype=np.float64,
    )


def _texts(table: Mapping[Key, EurekaSummary], rows, columns, read) -> list[list[str]]:
    return [[read(table[r, c]) if (r, c) in table else "–" for c in columns] for r in rows]


def _came(own: EurekaSummary) -> int:
    return round(own.ratio.estimate * own.runs)


def _seeds(every: Sequence[EurekaSummary]) -> str:
    runs = sorted({own.runs for own in every})
    budgets = sorted({own.budget for own in every})
    who = count(runs[0], "run") if len(runs) == 1 else f"{runs[0]} to {runs[-1]} runs"
    ends = " or ".join(f"{budget:,.0f}" for budget in budgets)
    return f"{who} in each cell, budget {ends} steps."
