"""Heat maps, bars and scatters in a line each: what a study says of its runs.

    def figures(arms):
        lost = heat_map_of(arms["base"], "head-ablation/mse/masked", "uniform ablation")
        yield heat_maps("Ablated heads", [lost], unit="MSE, masked", log=True)
        found = {arm: value_at(run, "evaluation/loss/masked") for arm, run in arms.items()}
        yield bars("Final loss", [bars_of("masked entries", found, "MSE")])
        yield scatters("Tokens", [scatter_of(arms["base"], "embedding-geometry/token/coordinates")],
                       "seed 0")

Whatever reads a run also reads what `training.revisit` gives: {name: [members, *shape]}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Real
from numpy import ndarray

from saltus.errors import SaltusError, unknown
from saltus.report.bars.record import bar_panel as bars_of
from saltus.report.bars.record import bars
from saltus.report.compose import panel
from saltus.report.figure import Panel
from saltus.report.heat_maps.record import HeatMap, heat_map, heat_maps
from saltus.report.scatters.record import Scatter, scatter, scatters
from saltus.runs import Run

__all__ = [
    "bars",
    "bars_of",
    "curve_against",
    "heat_map_of",
    "heat_maps",
    "scatter_of",
    "scatters",
    "value_at",
]

Source = Run | Mapping[str, ndarray]  # a run, or arrays [members, *shape] by name
BLOCK = re.compile(r"blocks\.(\d+)")


def value_at(
    source: Source, name: str, step: int | None = None, members: Sequence[int] | None = None
) -> Real[ndarray, "seed *shape"]:
    """What a run recorded at a step (None: the last reading), for all members or some.

    Raises SaltusError, with what is allowed, where there is no such metric, step or member.
    """
    if isinstance(source, Run):
        series = source.array(name)
        steps = series.steps.tolist()
        if not steps or (step is not None and step not in steps):
            few = ", ".join(map(str, steps if len(steps) < 9 else [*steps[:4], "…", *steps[-4:]]))
            raise SaltusError(f"step: {name} was not read at {step}; allowed: {few or 'none'}")
        found = series.values[:, steps.index(step) if step is not None else -1]
    elif name in source:
        found = np.asarray(source[name])
    else:
        raise SaltusError(f"figure: {unknown('metric', name, sorted(source))}")
    if members is not None and not set(members) <= set(range(len(found))):
        raise SaltusError(f"members: {list(members)} is not allowed: 0 to {len(found) - 1}")
    return found if members is None else found[list(members)]


def heat_map_of(
    source: Source,
    name: str,
    title: str | None = None,
    *,
    step: int | None = None,
    members: Sequence[int] | None = None,
    rows: Sequence[object] | None = None,
    columns: Sequence[object] | None = None,
) -> HeatMap:
    """Means over seeds with intervals: layers by heads, or a metric that is itself a table.

    With `name` = "head-ablation/loss" the arrays head-ablation/loss/blocks.0, … [head] are the
    rows. Layers with fewer heads than others end in missing values.
    """
    known = source.names() if isinstance(source, Run) else list(source)
    layers = [each for each in known if BLOCK.fullmatch(each.removeprefix(f"{name}/"))]
    layers.sort(key=lambda each: int(each.rpartition(".")[2]))
    title = name if title is None else title
    if layers and name not in known:
        found = [value_at(source, each, step, members) for each in layers]
        if any(values.ndim != 2 for values in found):
            shapes = sorted({str(values.shape[1:]) for values in found})
            raise SaltusError(f"heat map: {name}/blocks.i has shape {shapes}, not [head]")
        most = max(values.shape[1] for values in found)
        table = np.full((len(found[0]), len(found), most), np.nan)
        for row, values in enumerate(found):
            table[:, row, : values.shape[1]] = values
        numbers = [each.rpartition(".")[2] for each in layers]
        names = [f"layer {number}" for number in numbers] if rows is None else rows
        return heat_map(title, table, names, columns, x_label="head")
    values = value_at(source, name, step, members)
    if values.ndim != 3:
        raise SaltusError(
            f"heat map: {name} has shape {list(values.shape[1:])}; needs [row, column], or [head] "
            "for each layer"
        )
    return heat_map(title, values, rows, columns)


def scatter_of(
    source: Source,
    name: str,
    title: str | None = None,
    *,
    member: int = 0,
    step: int | None = None,
    names: Sequence[object] | None = None,
    kinds: Sequence[object] = (),
    values: Real[ndarray, " point"] | None = None,
    x_label: str = "first component",
    y_label: str = "second component",
) -> Scatter:
    """The points [point, 2] that one member has under `name`."""
    (points,) = value_at(source, name, step, [member])
    if points.ndim != 2 or points.shape[1] != 2:
        raise SaltusError(f"scatter: {name} has shape {list(points.shape)}; needs [point, 2]")
    return scatter(name if title is None else title, points, names=names, kinds=kinds,
                   values=values, x_label=x_label, y_label=y_label)  # fmt: skip


def curve_against(
    title: str,
    x: Real[ndarray, " x"] | Sequence[float],
    values: Mapping[str, Real[ndarray, "_ _"] | Real[ndarray, " _"] | Sequence[float]],
    unit: str = "",
    *,
    x_label: str,
    x_log: bool = False,
    log: bool = False,
    levels: Sequence[tuple[str, float]] = (),
) -> Panel:
    """A curve over settings, such as a mask's probability, for each method: values [seed, x], of
    which dots are the medians and bands the middle half and all, or [x] without seeds. For
    `compose.figure`."""
    places = np.asarray(x, dtype=np.float64)
    order = np.argsort(places)
    curves = []
    for name, own in values.items():
        array = np.asarray(own, dtype=np.float64)
        if array.shape[-1:] != places.shape:
            raise SaltusError(
                f"curve '{name}': {array.shape[-1:]} values for {len(places)} places on {x_label}"
            )
        curves.append((name, places[order], array[..., order]))
    return panel(title, curves, unit, x_label=x_label, x_log=x_log, log=log, levels=levels,
                 dots=True)  # fmt: skip
