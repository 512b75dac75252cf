"""Publication files of all figures of a page, numbered in its order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from saltus.report.films.record import Film
from saltus.report.films.strip import strips
from saltus.report.kinds import AnyFigure
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
    figures: Sequence[AnyFigure], folder: Path, suffixes: Sequence[str]
) -> list[FigureFiles]:
    """FOLDER/NUMBER-title.SUFFIX for every figure and suffix; a film becomes strips of frames."""
    from saltus.report import publication

    on_paper: list[publication.OnPaper] = []
    for figure in figures:
        on_paper += strips(figure) if isinstance(figure, Film) else [figure]

    return [
        FigureFiles(
            number,
            figure.title,
            tuple(
                publication.write(figure, folder / f"{number}-{slug(figure.title)}{suffix}")
                for suffix in suffixes
            ),
        )
        for number, figure in enumerate(on_paper, 1)
    ]
