"""Publication files of all figures of a page, numbered in its order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from saltus.report.figure import Figure
from saltus.report.map_figure import MapFigure
from saltus.report.text import slug


@dataclass(frozen=True)
class FigureFiles:
    """One figure, written in several formats."""

    number: int  # its place on the page, from 1
    title: str
    paths: tuple[Path, ...]

    def __str__(self) -> str:
        """A line of an index: 'figures/1-loss.svg, .pdf, .png: Loss'."""
        first, *others = self.paths
        return f"{', '.join([str(first), *(path.suffix for path in others)])}: {self.title}"


def write_figures(
    figures: Sequence[Figure | MapFigure], folder: Path, suffixes: Sequence[str]
) -> list[FigureFiles]:
    """FOLDER/NUMBER-title.SUFFIX for every figure and suffix."""
    from saltus.report import publication

    return [
        FigureFiles(
            number,
            figure.title,
            tuple(
                publication.write(figure, folder / f"{number}-{slug(figure.title)}{suffix}")
                for suffix in suffixes
            ),
        )
        for number, figure in enumerate(figures, 1)
    ]
