"""From runs to figures: the only place of the report that reads series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.report.axes import NAMED_MARKS
from saltus.report.clock import clock_of
from saltus.report.compose import caption, curve, mark
from saltus.report.detected import comparable, detected, leap_mark
from saltus.report.figure import STEP, Curve, Figure, Level, Mark, Panel
from saltus.report.names import is_scaleless, title_of, unit_of
from saltus.runs import Run, Series
from saltus.transitions import first_crossing

Arms = Mapping[str, Run]

LOSSES = ("loss/train", "evaluation/loss")
ACCURACY = "evaluation/accuracy"
DECADES_FOR_LOG = 2.0
UNSHADED_NOTE = (
    "Dotted vertical: the median over seeds of the leap's middle; ticks below: each seed's leap."
)
LEAP_NOTE = f"{UNSHADED_NOTE} Shade: from the median onset to the median end."
HALF_NOTE = (
    "Dotted vertical: the median step at which half of the answer tokens are right; ticks below: "
    "each seed's."
)


@dataclass(frozen=True)
class Group:
    """Members of a run that differ in nothing but their seed."""

    label: str
    color: int
    run: Run
    places: tuple[int, ...]


def groups_of(arms: Arms) -> dict[str, list[Group]]:
    """The groups of every arm. Colours are dealt in this order, the same for every figure."""
    found: dict[str, list[Group]] = {}
    color = 0
    for arm, run in arms.items():
        settings: dict[str, list[int]] = {}
        for place, member in enumerate(run.members):
            overrides = member.get("overrides") or {}
            short = short_names(overrides)
            setting = ", ".join(f"{short[key]} = {value}" for key, value in overrides.items())
            settings.setdefault(setting, []).append(place)
        found[arm] = []
        for setting, places in settings.items():
            label = (
                setting if setting and len(arms) == 1 else " · ".join(filter(None, (arm, setting)))
            )
            found[arm].append(Group(label, color, run, tuple(places)))
            color += 1
    return found


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """'optimizer.learning_rate' → 'learning_rate', unless another key ends in the same way."""
    last = {key: key.rpartition(".")[2] for key in keys}
    ends = Counter(last.values())
    return {key: end if ends[end] == 1 else key for key, end in last.items()}


def loss_figure(arms: Arms, name: str = "loss/train") -> Figure | None:
    """The training loss, one panel per arm, with closed forms and the leap; None without a loss.

    Where no seed of any arm leapt, the marks are those of the accuracy, if it was read.
    """
    panels, by_leap = [], {}
    for arm, groups in groups_of(arms).items():
        panel = panel_of(groups, name)
        if panel is not None:
            found = {group.label: detected(group.run, group.places, name) for group in groups}
            by_leap |= {label: leaps for label, leaps in found.items() if leaps}
            title = arm if len(arms) > 1 else panel.title
            panels.append((replace(panel, title=title), groups))
    if not panels:
        return None
    by_leap = comparable(by_leap)
    leapt = any(leaps.any for leaps in by_leap.values())
    drawn = []
    for panel, groups in panels:
        marks = [half_accuracy(group) for group in groups]
        if leapt:
            marks = [leap_mark(by_leap[g.label], g.color) for g in groups if g.label in by_leap]
        known = [mark for mark in marks if mark]
        if len(known) > NAMED_MARKS:  # their shades would cover each other
            known = [replace(mark, span=None) for mark in known]
        drawn.append(replace(panel, marks=tuple(known)))
    notes = []
    if any(panel.levels for panel in drawn):
        notes.append("Dashed: closed forms of the task.")
    if leapt:
        shaded = any(mark.span for panel in drawn for mark in panel.marks)
        notes.append(LEAP_NOTE if shaded else UNSHADED_NOTE)
    elif any(panel.marks for panel in drawn):
        notes.append(HALF_NOTE)
    return Figure(title_of(name), tuple(drawn), caption(drawn, *notes), shared=True)


def series_figure(arms: Arms, names: Iterable[str], title: str) -> Figure | None:
    """One panel per series with all arms laid over each other; None where no arm has any."""
    everyone = [group for groups in groups_of(arms).values() for group in groups]
    panels = [panel for name in names if (panel := panel_of(everyone, name))]
    notes = []
    if len(everyone) == 1 and (half := half_accuracy(everyone[0])):
        panels = [replace(p, marks=(half,)) if p.name == ACCURACY else p for p in panels]
        notes = [HALF_NOTE] if any(panel.marks for panel in panels) else []
    return Figure(title, tuple(panels), caption(panels, *notes)) if panels else None


def scalar_names(run: Run) -> list[str]:
    """The series of a run that are one number per member, losses first."""
    names = [name for name in run.names() if run.array(name).values.ndim == 2]
    return sorted(names, key=lambda name: (not name.startswith(("loss", "evaluation")), name))


def panel_of(groups: Sequence[Group], name: str) -> Panel | None:
    """A series of some groups; None where none of them has it.

    Runs that follow a gradient flow are drawn over its time, unless others stand beside them.
    """
    known = [(g, series) for g in groups if (series := read_series(g.run, name)) is not None]
    if not known:
        return None
    runs = [group.run for group, _ in known]
    clocks = {run.path: clock_of(run) for run in runs}
    kinds = {(clock.label, clock.log) for clock in clocks.values()}
    alike = len(kinds) == 1
    label, x_log = kinds.pop() if alike else (STEP, False)
    curves = []
    for group, series in known:
        x = clocks[group.run.path].at(series.steps) if alike else series.steps
        values = series.values[list(group.places)]
        curves.append(curve(group.label, x, values, group.color, x_log=x_log))
    return Panel(
        title_of(name),
        name,
        unit_of(name),
        tuple(curves),
        levels_of([group.run for group in groups]) if name in LOSSES else (),
        log=_wants_log(name, curves),
        x_label=label,
        x_log=x_log,
    )


def read_series(run: Run, name: str) -> Series | None:
    """A scalar series with at least one step, or None."""
    if name not in run.names():
        return None
    series = run.series(name)
    return series if len(series.steps) else None


def half_accuracy(group: Group) -> Mark | None:
    """When each seed's answers are half right, where accuracy was read.

    None where most seeds are half right from the first reading on: nothing happened then.
    """
    series = read_series(group.run, ACCURACY)
    if series is None:
        return None
    found = first_crossing(series.steps, series.values[list(group.places)], 0.5)
    if 2 * found.count(int(series.steps[0])) > len(found):
        return None
    clock = clock_of(group.run)
    times = [None if step is None else clock.at(np.array([step]))[0] for step in found]
    return mark("half right", times, group.color)


def levels_of(runs: Sequence[Run]) -> tuple[Level, ...]:
    """The closed forms that all runs share; none where an experiment cannot be rebuilt."""
    found: list[dict[str, float]] = []
    for run in runs:
        try:
            found.append(Experiment.from_yaml(run.experiment_yaml).task.levels())
        except SaltusError:
            return ()
    if not found or any(levels != found[0] for levels in found):
        return ()
    return tuple(Level(name, float(value)) for name, value in found[0].items())


def _wants_log(name: str, curves: Sequence[Curve]) -> bool:
    if not is_scaleless(name):
        return False
    medians = np.concatenate([curve.fan.median for curve in curves])
    medians = medians[np.isfinite(medians)]
    if not len(medians) or medians.min() <= 0:
        return False
    return float(np.log10(medians.max() / medians.min())) > DECADES_FOR_LOG
