"""The parts of a report that show figures, in page order: as markup, and for publication files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from saltus.errors import SaltusError
from saltus.report import gather
from saltus.report.attention import TITLE, attention_film
from saltus.report.figure import Figure
from saltus.report.films.page import draw_film
from saltus.report.kinds import AnyFigure, draw_any
from saltus.report.leap_film import BUDGET, try_leap_film
from saltus.report.leap_film import TITLE as LEAP_FILM
from saltus.report.leaps import leap_blocks, leap_figures, try_leapings
from saltus.report.markup import Markup, tag
from saltus.report.svg import draw
from saltus.runs import Run
from saltus.studies import Study

TALL, SMALL = 300, 180  # pixels


@dataclass(frozen=True)
class Part:
    """One block of the page, and the figures that it shows."""

    title: str
    content: Sequence[Markup | None]
    figures: Sequence[AnyFigure] = ()
    missing: str = ""  # why there are not more figures; empty if there is nothing to say


def study_parts(study: Study, arms: Mapping[str, Run]) -> list[Part]:
    """The paper's figures or the losses, the leaps, the headline series, attention."""
    parts = [composed_part(study, arms)]
    if not study.figures:
        loss = gather.loss_figure(arms)
        parts.append(_part("Training loss, arm by arm", loss, TALL, legend=False))
    headline = gather.series_figure(arms, study.headline, "Headline series")
    return [
        *parts,
        leap_part(arms, study),
        _part("The headline series, arms together", headline, SMALL),
        attention_part(arms),
        leap_film_part(arms),
    ]


def run_parts(run: Run) -> list[Part]:
    """The loss, the leaps, every other series by family, attention."""
    arms = {run.name: run}
    families = [
        _part(title, gather.series_figure(arms, names, title), SMALL)
        for title, names in families_of(gather.scalar_names(run)).items()
    ]
    loss = _part("Training loss", gather.loss_figure(arms), TALL)
    return [loss, leap_part(arms), *families, attention_part(arms), leap_film_part(arms)]


def composed_part(study: Study, arms: Mapping[str, Run]) -> Part:
    """The figures that the study composes, each under its title, and a line on what is missing."""
    found, missing = figures_of(study, arms)
    drawn = [
        tag("div", tag("h4", figure.title), draw_any(figure), class_="composed") for figure in found
    ]
    return Part("The paper's figures", [*drawn, _not_drawn(missing)], found, missing)


def leap_part(arms: Mapping[str, Run], study: Study | None = None) -> Part:
    """When it leaps."""
    found, missing = try_leapings(Arms(arms), study)
    content = [*leap_blocks(found), _not_drawn(missing)]
    return Part("When it leaps", content, leap_figures(found), missing)


def attention_part(arms: Mapping[str, Run]) -> Part:
    """The maps behind a slider; in files at a few steps around the leap."""
    film = attention_film(arms)
    return Part(TITLE, [draw_film(film)], [film]) if film else Part(TITLE, ())


def leap_film_part(arms: Mapping[str, Run]) -> Part:
    """The leaps of single seeds through the microscope, for every run that has frames."""
    content, films, missing = [], [], []
    for arm, run in arms.items():
        film, reason = try_leap_film(run, BUDGET // len(arms))
        if film is not None:
            heading = tag("h4", arm) if len(arms) > 1 else None
            content.append(tag("div", heading, draw_film(film), class_="composed"))
            films.append(film)
        elif reason:
            missing.append(f"{arm}: {reason}")
    lost = "; ".join(missing)
    return Part(LEAP_FILM, [*content, _not_drawn(lost)], films, lost)


def blocks_of(parts: Iterable[Part]) -> list[Markup | None]:
    """The parts as they stand on the page."""
    return [block(part.title, *part.content) for part in parts]


def figures_of(study: Study, arms: Mapping[str, Run]) -> tuple[list[AnyFigure], str]:
    """A study's figures, as far as its runs carry them, and why there are no more ('': they do)."""
    found: list[AnyFigure] = []
    try:
        for figure in study.figures(Arms(arms)) if study.figures else ():
            found.append(figure)
    except SaltusError as error:
        return found, str(error)
    return found, ""


class Arms(dict[str, Run]):
    """Arms that say in one line which of them was not run."""

    def __missing__(self, arm: str) -> Run:
        raise SaltusError(f"arm {arm} was not run")


def block(title: str, *content: object) -> Markup | None:
    """A titled part of a section; None where it has no content."""
    return tag("div", tag("h3", title), content, class_="block") if any(content) else None


def families_of(names: Sequence[str]) -> dict[str, list[str]]:
    """Series by the first part of their name; a series alone in its family stands with others."""
    found: dict[str, list[str]] = {}
    for name in names:
        if name != "loss/train":
            found.setdefault(name.partition("/")[0], []).append(name)
    alone = [name for members in found.values() if len(members) == 1 for name in members]
    several = {family.capitalize(): m for family, m in found.items() if len(m) > 1}
    return several | ({"Other series" if several else "Series": alone} if alone else {})


def _part(title: str, figure: Figure | None, height: int, legend: bool = True) -> Part:
    if figure is None:
        return Part(title, ())
    return Part(title, [draw(figure, height, legend)], [figure])


def _not_drawn(missing: str) -> Markup | None:
    return tag("p", f"Not drawn: {missing}.", class_="reason") if missing else None
