"""What stands in a report, in order: one function per kind of report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from saltus.errors import SaltusError
from saltus.report import gather
from saltus.report.attention import maps_of, viewer
from saltus.report.costs import costs, state_of, steps_of
from saltus.report.figure import Figure
from saltus.report.ledger import ledger, tally
from saltus.report.markup import Markup, tag
from saltus.report.origin import command, experiments, provenance
from saltus.report.svg import draw
from saltus.report.text import count, duration
from saltus.runs import Run
from saltus.studies import Finding, Study

TALL, SMALL = 300, 180  # pixels


@dataclass(frozen=True)
class StudyReport:
    """One reproduced study: its findings and the runs they were measured on."""

    study: Study
    scale: str
    findings: list[Finding]
    arms: dict[str, Run]
    seconds: float  # wall-clock of the whole reproduction


def study_section(report: StudyReport) -> Markup:
    """One paper: question, ledger, curves, attention, costs, and how to run it again."""
    study, arms = report.study, report.arms
    facts = [
        ("Paper", study.paper),
        ("Runs", f"{count(len(arms), 'arm')}, {count(_seeds(arms), 'training run')} in all"),
        ("Time", f"{duration(report.seconds)} wall-clock"),
        ("Scale", scale_text(report)),
    ]
    head = tag(
        "header",
        tag("p", study.title, class_="eyebrow"),
        tag("h2", study.question),
        tag("dl", [tag("div", tag("dt", name), tag("dd", text)) for name, text in facts]),
        tally(report.findings),
    )
    loss = None if study.figures else gather.loss_figure(arms)
    headline = gather.series_figure(arms, study.headline, "Headline series")
    expected = list(study.recipe(report.scale))  # type: ignore[arg-type]
    parts = [
        block("The ledger", ledger(report.findings)),
        block("The paper's figures", study_figures(study, arms)),
        block("Training loss, arm by arm", draw(loss, TALL, legend=False) if loss else None),
        block("The headline series, arms together", draw(headline, SMALL) if headline else None),
        block("Attention over training", viewer(maps_of(arms))),
        block("What it cost", costs(arms, expected)),
        block(
            "Run it again",
            command(f"saltus reproduce {study.name} --scale {report.scale}"),
            experiments(arms),
            provenance(arms) if arms else None,
        ),
    ]
    return tag("section", head, parts, class_="study", id=study.name)


def study_figures(study: Study, arms: Mapping[str, Run]) -> list[Markup]:
    """The figures that the study composes, each under its title, and a line on what is missing."""
    found, missing = figures_of(study, arms)
    drawn = [
        tag("div", tag("h4", figure.title), draw(figure, height_of(figure)), class_="composed")
        for figure in found
    ]
    return drawn + ([tag("p", f"Not drawn: {missing}.", class_="reason")] if missing else [])


def figures_of(study: Study, arms: Mapping[str, Run]) -> tuple[list[Figure], str]:
    """A study's figures, as far as its runs carry them, and why there are no more ('': they do)."""
    found: list[Figure] = []
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


def height_of(figure: Figure) -> int:
    """In pixels: the fewer panels stand side by side, the higher they are."""
    return {1: 340, 2: 280, 4: 260}.get(len(figure.panels), 220)


def scale_text(report: StudyReport) -> str:
    """Which scale this is, and for quick what it changes against the paper."""
    return f"quick: {report.study.changed}" if report.scale == "quick" else report.scale


def run_sections(run: Run) -> list[Markup]:
    """Any run on its own: every scalar series, attention, cost, experiment."""
    status, arms = run.status, {run.name: run}
    said = {key: run.experiment.get(key) for key in ("study", "arm", "scale")}
    facts = [(key.capitalize(), str(value)) for key, value in said.items() if value]
    facts += [("Seeds", str(len(run.seeds))), ("State", state_of(status))]
    facts += [("Steps", steps_of(status)), ("Training", duration(status["seconds"]))]
    head = tag(
        "header",
        tag("p", "One run", class_="eyebrow"),
        tag("h2", run.name),
        tag("dl", [tag("div", tag("dt", name), tag("dd", text)) for name, text in facts]),
    )
    loss = gather.loss_figure(arms)
    parts = [block("Training loss", draw(loss, TALL) if loss else None)]
    for title, names in families(gather.scalar_names(run)).items():
        figure = gather.series_figure(arms, names, title)
        parts.append(block(title, draw(figure, SMALL) if figure else None))
    parts += [
        block("Attention over training", viewer(maps_of(arms))),
        block("What it cost", costs(arms)),
        block(
            "Run it again",
            command("saltus run experiment.yaml"),
            experiments(arms),
            provenance(arms),
        ),
    ]
    return [tag("section", head, parts, class_="study")]


def block(title: str, *content: object) -> Markup | None:
    """A titled part of a section; None where it has no content."""
    return tag("div", tag("h3", title), content, class_="block") if any(content) else None


def contents(reports: Sequence[StudyReport]) -> Markup | None:
    """Links to the studies, where there are several."""
    if len(reports) < 2:
        return None
    items = [
        tag("li", tag("a", r.study.title, href=f"#{r.study.name}"), tally(r.findings))
        for r in reports
    ]
    return tag("nav", tag("ol", items), aria_label="Studies")


def families(names: Sequence[str]) -> dict[str, list[str]]:
    """Series by the first part of their name; a series alone in its family stands with others."""
    found: dict[str, list[str]] = {}
    for name in names:
        if name != "loss/train":
            found.setdefault(name.partition("/")[0], []).append(name)
    alone = [name for members in found.values() if len(members) == 1 for name in members]
    several = {family.capitalize(): m for family, m in found.items() if len(m) > 1}
    return several | ({"Other series" if several else "Series": alone} if alone else {})


def _seeds(arms: Mapping[str, Run]) -> int:
    return sum(len(run.seeds) for run in arms.values())
