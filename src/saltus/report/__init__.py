"""What people see: the report of a study or a run as one HTML file, and figures for papers.

Read `figure.py` first (a figure as data), then `gather.py` (from runs to figures), `svg.py` and
`publication.py` (the two ways to draw one), and `sections.py` (what a report consists of).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from saltus.errors import SaltusError
from saltus.report import gather
from saltus.report.page import page
from saltus.report.save import save
from saltus.report.sections import StudyReport, contents, run_sections, study_section
from saltus.runs import Run

__all__ = ["StudyReport", "write_figure", "write_report", "write_run_report"]


def write_report(reports: Sequence[StudyReport], path: Path) -> Path:
    """One self-contained HTML file over studies: ledgers, curves, attention, how to run again."""
    sections = [study_section(report) for report in reports]
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
