"""`saltus compare`: groups of seeds side by side, as numbers and as one HTML page.

Read `compare_groups.py` (what is compared), `compare_leaps.py` and `compare_effects.py` (what is
computed) before `compare_page.py` (what is shown).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from saltus.errors import SaltusError, unknown
from saltus.report import files
from saltus.report.axes import NAMED_MARKS
from saltus.report.comparison.differences import differences, experiment_of
from saltus.report.comparison.effects import MetricEffect, effects_of, one_clock, shared_series
from saltus.report.comparison.forest import Forest, forest_of, write_forest
from saltus.report.comparison.groups import groups_of_sides, notes_of, sides_of
from saltus.report.comparison.leaps import LeapComparison, leaps_of
from saltus.report.compose import caption
from saltus.report.detected import leap_mark
from saltus.report.figure import Figure, Panel
from saltus.report.files import FigureFiles
from saltus.report.gather import LEAP_NOTE, UNSHADED_NOTE, Group, panel_of
from saltus.report.parts import families_of
from saltus.report.text import slug
from saltus.transitions.transition import Direction

__all__ = ["Comparison", "compare", "groups_of_sides", "sides_of", "write_figures"]

LOSS = "loss/train"
SUFFIXES = (".svg", ".pdf", ".png")


@dataclass(frozen=True)
class Comparison:
    """Everything that is known of the groups' difference; the first group is the reference."""

    groups: list[Group]
    names: list[str]  # of the series that all groups have
    leaps: LeapComparison | None  # None: not all groups have the loss, or a clock in common
    effects: list[MetricEffect]
    differing: dict[str, list[str]]  # field of the experiments → its value in each group
    notes: list[str]
    at_end: bool

    def forest(self) -> Forest | None:
        """Standardised effects on all metrics; None where none has a size."""
        return forest_of(self.effects, self.groups[0].label)

    def figures(self) -> list[Figure]:
        """Survival curves, then fans of every shared series, one figure per family."""
        found = [self.leaps.figure()] if self.leaps else []
        loss = [LOSS] if LOSS in self.names else []
        for title, names in ({"Training loss": loss} | families_of(self.names)).items():
            panels = [panel_of(self.groups, name) for name in names]
            drawn = [self._marked(panel) for panel in panels if panel is not None]
            notes = []
            if any(panel.marks for panel in drawn):
                shaded = any(mark.span for panel in drawn for mark in panel.marks)
                notes = [LEAP_NOTE if shaded else UNSHADED_NOTE]
            if drawn:
                found.append(Figure(title, tuple(drawn), caption(drawn, *notes)))
        return found

    def _marked(self, panel: Panel) -> Panel:
        """With the leaps of each group, where this is the series that leaps."""
        if self.leaps is None or panel.name != self.leaps.series:
            return panel
        marks = [leap_mark(each.found, each.group.color) for each in self.leaps.groups]
        if len(marks) > NAMED_MARKS:  # their shades would cover each other
            marks = [replace(mark, span=None) for mark in marks]
        return replace(panel, marks=tuple(marks))


def compare(
    groups: Sequence[Group],
    series: str | None = None,
    direction: Direction = "down",
    at_end: bool = False,
) -> Comparison:
    """Compare groups of seeds with the first of them.

    `series` is where leaps are looked for (None: the training loss, if all groups have it), and
    `direction` which way they go. Metrics are compared at the last step at which all groups were
    read, or with `at_end` each at its own end; so, too, where the groups run by different clocks,
    and then leaps are not compared. Raises SaltusError where the groups have no series
    in common, or not this one.
    """
    groups = list(groups)
    shared = shared_series(groups)
    names = list(shared)
    if not names:
        raise SaltusError(f"compare: {_labels(groups)} have no series in common")
    if series is not None and series not in names:
        raise SaltusError(f"--series: {unknown('series of all groups', series, names)}")
    chosen = series or (LOSS if LOSS in names else None)
    notes = notes_of(groups)
    if not one_clock(groups):
        at_end, chosen = True, None
        notes.append(
            "the groups run by different clocks (training steps, times of gradient flows): times "
            "of leaps are not compared, and every metric is read at each group's own end"
        )
    return Comparison(
        groups,
        names,
        leaps_of(groups, chosen, direction) if chosen else None,
        effects_of(groups, shared, at_end),
        differences([experiment_of(group) for group in groups]),
        notes,
        at_end,
    )


def write_figures(comparison: Comparison, folder: Path) -> list[FigureFiles]:
    """Every figure of the page as FOLDER/1-title.svg, .pdf and .png."""
    written = files.write_figures(comparison.figures(), folder, SUFFIXES)
    forest = comparison.forest()
    if forest is None:
        return written
    place = len(written) + 1
    stem = f"{place}-{slug(forest.title)}"
    paths = tuple(write_forest(forest, folder / f"{stem}{suffix}") for suffix in SUFFIXES)
    return [*written, FigureFiles(place, forest.title, paths)]


def _labels(groups: Sequence[Group]) -> str:
    return ", ".join(group.label for group in groups)
