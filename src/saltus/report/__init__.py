"""What people see: the report of a study or a run as one HTML file, and figures for papers.

Read `figure.py` first (a figure as data), then `compose.py` and `gather.py` (from arrays and from
runs to figures), `survival.py` and `leaps.py` (when it leaps), `svg.py` and `publication.py` (the
two ways to draw one), `parts.py` (what a report shows, in order) and `sections.py` (the report).
Heat maps, bars, scatters and films are other kinds of figures (`kinds.py`): each has a folder with
its record (`record.py`) and its two drawings (`page.py`, `paper.py`); `summaries.py` makes them
from runs. `attention.py` and `leap_film.py` are films that every report has; `across_leaps.py`
stands on its first page, for all studies together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from saltus.errors import SaltusError
from saltus.report import gather
from saltus.report.files import FigureFiles, write_figures
from saltus.report.page import page
from saltus.report.parts import run_parts, study_parts
from saltus.report.save import save
from saltus.report.sections import (
    StudyReport,
    across_section,
    contents,
    run_sections,
    study_section,
)
from saltus.runs import Run
from saltus.studies import Study

__all__ = [
    "FigureFiles",
    "StudyReport",
    "write_figure",
    "write_report",
    "write_run_figures",
    "write_run_report",
    "write_study_figures",
]


def write_report(reports: Sequence[StudyReport], path: Path) -> Path:
    """One self-contained HTML file over studies: ledgers, curves, attention, how to run again."""
    sections = [across_section(reports), *(study_section(report) for report in reports)]
    title = f"Saltus: {', '.join(report.study.title for report in reports)}"
    return save(path, page(title, contents(reports), sections).encode())


def write_run_report(run: Run, path: Path) -> Path:
    """The same page for any run, finished or not, with or without a study."""
    return save(path, page(f"Saltus: {run.name}", run_sections(run)).encode())


def write_figure(run_or_arms: Run | Mapping[str, Run], names: Sequence[str], path: Path) -> Path:
    """Series as fans over seeds, one panel each, as SVG, PDF or PNG by the suffix of `path`."""
    from saltus.report import publication

    arms = {run_or_arms.name: run_or_arms} if isinstance(run_or_arms, Run) else run_or_arms
    figure = gather.series_figure(arms, names, ", ".join(names))
    if figure is None:
        known = sorted({name for run in arms.values() for name in run.names()})
        raise SaltusError(f"figure: no series {', '.join(names)}; there are: {', '.join(known)}")
    return publication.write(figure, path)


def write_study_figures(
    study: Study,
    arms: Mapping[str, Run],
    folder: Path,
    suffixes: Sequence[str] = (".svg", ".pdf", ".png"),
) -> list[FigureFiles]:
    """Every figure of a study's report as files, in page order: FOLDER/1-loss-by-class.pdf, ….

    Raises SaltusError where an arm or a series that a figure needs is missing.
    """
    parts = study_parts(study, arms)
    for part in parts:
        if part.missing:
            raise SaltusError(f"figures of {study.name}: {part.missing}")
    return write_figures([figure for part in parts for figure in part.figures], folder, suffixes)


def write_run_figures(
    run: Run, folder: Path, suffixes: Sequence[str] = (".svg", ".pdf", ".png")
) -> list[FigureFiles]:
    """Every figure of a run's report as files, in page order."""
    figures = [figure for part in run_parts(run) for figure in part.figures]
    return write_figures(figures, folder, suffixes)
