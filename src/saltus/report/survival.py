"""Survival curves: which share of the seeds has not leapt yet, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from saltus.report.figure import STEP, Figure, Panel, Stairs
from saltus.report.text import count
from saltus.transitions.statistics.survival import Times, kaplan_meier

NAMED = 4  # groups that the caption counts one by one
FAR = 100.0  # times that the last seed is later than the first: they want a logarithmic axis


def survival_figure(
    times: Mapping[str, Times],
    label: str = "leap",
    *,
    x_label: str = STEP,
    colors: Mapping[str, int] | None = None,
    x_log: bool | None = None,
) -> Figure:
    """One panel with the survival curve of each group of seeds, and the caption that it needs.

    `label` says what the times are of: 'leap of the training loss'.
    """
    title = f"Seeds still before the {label}"
    panel = survival_panel(title, times, x_label=x_label, colors=colors, x_log=x_log)
    return Figure(title, (panel,), caption(times, label))


def survival_panel(
    title: str,
    times: Mapping[str, Times],
    *,
    x_label: str = STEP,
    colors: Mapping[str, int] | None = None,
    x_log: bool | None = None,
) -> Panel:
    """Kaplan-Meier curves of groups of seeds on one pair of axes.

    `colors` are places in the palette by label; without them they are dealt in order. `x_log` None
    takes a logarithmic axis where the times span more than a factor of 100.
    """
    if colors is None:
        colors = {label: place for place, label in enumerate(times)}
    stairs = tuple(
        stairs_of(label, each, colors[label]) for label, each in times.items() if each.count
    )
    log = _far(times) if x_log is None else x_log
    return Panel(title, title, "share of seeds", (), x_label=x_label, x_log=log, stairs=stairs)


def stairs_of(label: str, times: Times, color: int) -> Stairs:
    """The Kaplan-Meier estimate with its 95 % interval (pointwise, of the share)."""
    found = kaplan_meier(times)
    return Stairs(
        label,
        color,
        found.time,
        found.share,
        found.low,
        found.high,
        np.sort(times.times),
        np.sort(times.times[~times.happened]),
    )


def caption(times: Mapping[str, Times], label: str) -> str:
    """What is drawn, how many seeds there are, and how many of them never came to it."""
    who = "; ".join(
        f"{name}: {count(each.count, 'seed')}, {_came(each)} within the budget"
        for name, each in times.items()
    )
    if len(times) > NAMED:
        seeds = sum(each.count for each in times.values())
        never = seeds - sum(each.leaps for each in times.values())
        who = f"{len(times)} groups, {count(seeds, 'seed')}, {never} never within the budget"
    return (
        f"Share of seeds that have not yet come to the {label} (Kaplan–Meier). Band: its 95 % "
        "interval, point by point. Strokes: seeds whose training ended before it. "
        f"{who}."
    )


def _came(times: Times) -> str:
    never = times.count - times.leaps
    if never == times.count:
        return "none of them"
    return f"{never} of them never" if never else "all of them"


def _far(times: Mapping[str, Times]) -> bool:
    every = np.concatenate([each.times for each in times.values()] or [np.empty(0)])
    every = every[every > 0]
    return bool(len(every)) and float(every.max() / every.min()) > FAR
