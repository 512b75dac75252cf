"""What stands in a report, in order: one function per kind of report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from saltus.report.across_leaps import across_leaps
from saltus.report.costs import costs, state_of, steps_of
from saltus.report.kinds import draw_any
from saltus.report.ledger import ledger, tally
from saltus.report.markup import Markup, tag
from saltus.report.origin import command, experiments, provenance
from saltus.report.parts import block, blocks_of, run_parts, study_parts
from saltus.report.text import count, duration
from saltus.runs import Run
from saltus.studies import Finding, Study


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
    expected = list(study.recipe(report.scale))  # type: ignore[arg-type]
    parts = [
        block("The ledger", ledger(report.findings)),
        *blocks_of(study_parts(study, arms)),
        block("What it cost", costs(arms, expected)),
        block(
            "Run it again",
            command(f"saltus reproduce {study.name} --scale {report.scale}"),
            experiments(arms),
            provenance(arms) if arms else None,
        ),
    ]
    return tag("section", head, parts, class_="study", id=study.name)


def across_section(reports: Sequence[StudyReport]) -> Markup | None:
    """The leaps of all studies on one clock, before any of them; None where none was watched."""
    arms = {f"{r.study.name}: {arm}": run for r in reports for arm, run in r.arms.items()}
    found = across_leaps(arms)
    if found is None:
        return None
    head = tag(
        "header",
        tag("p", "Across studies", class_="eyebrow"),
        tag("h2", "Does the norm jump at the leap? Do heads saturate before it or after?"),
    )
    return tag("section", head, [draw_any(each) for each in found], class_="study", id="across")


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
    parts = [
        *blocks_of(run_parts(run)),
        block("What it cost", costs(arms)),
        block(
            "Run it again",
            command("saltus run experiment.yaml"),
            experiments(arms),
            provenance(arms),
        ),
    ]
    return [tag("section", head, parts, class_="study")]


def contents(reports: Sequence[StudyReport]) -> Markup | None:
    """Links to the studies, where there are several."""
    if len(reports) < 2:
        return None
    items = [
        tag("li", tag("a", r.study.title, href=f"#{r.study.name}"), tally(r.findings))
        for r in reports
    ]
    return tag("nav", tag("ol", items), aria_label="Studies")


def _seeds(arms: Mapping[str, Run]) -> int:
    return sum(len(run.seeds) for run in arms.values())
