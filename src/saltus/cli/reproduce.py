"""`saltus reproduce`: every claim of every study, measured again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saltus.cli import Failed, Interrupted
from saltus.cli.inputs import Json, Root, Scale, Seeds, chosen_scale, number_of_seeds
from saltus.cli.output import (
    console,
    diverged_lines,
    interval_text,
    print_json,
    range_text,
    say,
    summary,
    table,
)

if TYPE_CHECKING:
    from rich.table import Table

    from saltus.report import FigureFiles
    from saltus.studies import Finding, Quantity
    from saltus.studies.reproduce import ArmOutcome, NotRun, StudyOutcome

STYLES = {"reproduced": "green", "contradicted": "red", "inconclusive": "yellow", "not run": "dim"}


def reproduce(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[STUDY]...", help="Studies by name; all of them if none is named."),
    ] = None,
    scale: Scale = "quick",
    seeds: Seeds = None,
    root: Root = Path("runs"),
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Where the report goes [ROOT/SCALE/report.html]."),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write every figure there, as SVG, PDF and PNG."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train anew, whatever is there.")] = False,
    arm: Annotated[
        list[str] | None, typer.Option(metavar="ARM", help="Only this arm; may be repeated.")
    ] = None,
    device: Annotated[str | None, typer.Option(metavar="cpu|cuda", help="Where to train.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32, float64, bfloat16 or tf32, of every arm.")
    ] = None,
    json: Json = False,
) -> None:
    """Train the experiments of papers and judge their claims.

    Every claim is judged over many seeds. Runs go to ROOT/SCALE/STUDY. A finished run of exactly
    the same experiment is used again and an interrupted one continued, so the same command picks
    up where a killed one stopped. The exit code is 0 whatever the verdicts are, and 1 if a run
    failed.

    \b
    Example:
      saltus reproduce loss-plateau --seeds 4
      saltus reproduce matrix-completion --scale paper --device cuda
    """
    from saltus.cli.progress import Board
    from saltus.report import StudyReport, write_report
    from saltus.studies import all_studies, find_study
    from saltus.studies.reproduce import arms_of
    from saltus.studies.reproduce import reproduce as study_again

    size, number = chosen_scale(scale), number_of_seeds(seeds)
    studies = [find_study(name) for name in dict.fromkeys(names or all_studies())]
    given = {"device": device, "precision": precision}
    engine = {name: value for name, value in given.items() if value is not None}
    for study in studies:  # bad input shows before hours of work
        arms_of(study, size, number, engine, arm or ())
    outcomes: list[StudyOutcome] = []
    try:
        for study in studies:
            with Board() as board:
                outcome = study_again(study, size, root, board, fresh, number, engine, arm or ())
            outcomes.append(outcome)
            if not json:
                show_outcome(outcome)
    except KeyboardInterrupt:
        again = " without --fresh" if fresh else ""
        raise Interrupted(f"nothing is lost: the same command{again} continues") from None
    path = write_report(
        [StudyReport(o.study, o.scale, list(o.findings), o.arms, o.seconds) for o in outcomes],
        report or root / scale / "report.html",
    )
    drawn = [] if figures is None else draw_figures(outcomes, figures)
    if json:
        found = {"studies": [document(outcome) for outcome in outcomes], "report": path}
        print_json(found | {"figures": [path for each in drawn for path in each.paths]})
    else:
        for each in drawn:
            say(f"figure: {each}")
        say(f"report: {path}")
    for outcome in outcomes:
        for failed in outcome.failures:
            raise Failed(f"{outcome.study.name}/{failed.arm} failed: {failed.error}")


def draw_figures(outcomes: Sequence[StudyOutcome], folder: Path) -> list[FigureFiles]:
    """The figures of every study into FOLDER/STUDY, in page order, in three formats."""
    from saltus.report import write_study_figures

    return [
        files
        for outcome in outcomes
        for files in write_study_figures(outcome.study, outcome.arms, folder / outcome.study.name)
    ]


def show_outcome(outcome: StudyOutcome) -> None:
    """The ledger of a study, then what it cost."""
    from saltus.report.text import duration

    out, study = console(), outcome.study
    say()
    out.print(f"{study.title} - {study.paper}", style="bold")
    if outcome.scale == "quick":
        out.print(f"quick scale: {study.changed}", style="dim")
    out.print(ledger(outcome.findings))
    if any(quantity.share for found in outcome.findings for quantity in found.quantities):
        say("(a to b): the smallest and the largest seed beside the median; each seed is judged")
    counts = Counter(finding.verdict.value for finding in outcome.findings)
    out.print(", ".join(f"{number} {verdict}" for verdict, number in counts.items()) or "no claims")
    out.print(costs(outcome))
    for each in outcome.not_run:
        say(f"{each.arm} was not run: {each.error}")
    for run in outcome.arms.values():
        for line in diverged_lines(run):
            say(f"{run.path}: {line}")
    say(f"{study.name}: {duration(outcome.seconds)} in all")
    say()


def ledger(findings: tuple[Finding, ...]) -> Table:
    """Per claim its statement, the paper's value and the verdict; below, what was measured."""
    from rich.text import Text

    made = table("#", "claim", "measured [95 % interval]", "n", "verdict", padding=(0, 1, 0, 0))
    for column in made.columns[2:]:
        column.no_wrap = True
    for finding in findings:
        claim, verdict = finding.claim, finding.verdict.value
        judged = Text(verdict, style=STYLES[verdict])
        made.add_row(str(claim.number), Text(claim.statement, style="bold"), "", "", judged)
        made.add_row("", f"paper: {claim.paper}")
        if not finding.quantities:
            made.add_row("", finding.reason or "nothing was measured")
        for quantity in finding.quantities:
            made.add_row("", *measurement(quantity))
        made.add_row()
    return made


def measurement(quantity: Quantity) -> tuple[str, str, str]:
    """('- final loss', '1.3 [1.29, 1.31]', '8'), and what is accepted where that is not met.

    Where every seed counts: ('- ratio: 19 of 20 inside', '1.1 (0.9 to 1.3)', '20'). A number
    without seeds: ('- peak', '0.80257', '-').
    """
    kind, interval = quantity.kind.value, quantity.interval
    name = f"- {quantity.name}"
    if kind == "every":
        wanted = quantity.share or 1.0
        name += f": {quantity.within} of {quantity.seeds} inside"
        name += f" (>= {100 * wanted:g} %)" if wanted < 1 else ""
    if quantity.verdict.value != "reproduced":
        name += f" (accepted: {quantity.accepted})"
    if kind == "exact":
        return name, f"{quantity.estimate:.6g}", "-"
    if kind == "every":
        text = range_text(quantity.estimate, quantity.low, quantity.high)
    else:
        text = interval_text(interval) if interval else ""
    missing = "" if quantity.with_value == quantity.seeds else f"{quantity.with_value} of "
    return name, text, f"{missing}{quantity.seeds}"


def costs(outcome: StudyOutcome) -> Table:
    """Per arm: where it came from, wall-clock, processor time, and the instruments' share."""
    names = ("arm", "run", "seeds", "wall s", "training s", "instruments s", "overhead")
    made = table(*names, right=names[2:])
    for each in outcome.outcomes:
        cost = arm_document(each)
        share = cost["overhead"]
        made.add_row(
            each.arm,
            each.how if each.run is not None else "failed",
            str(len(cost["members"])),
            f"{each.seconds:.1f}",
            f"{cost['seconds']:.1f}",
            f"{cost['instrument_seconds']:.1f}",
            "-" if share is None else f"{share:.1%}",
        )
    for unrun in outcome.not_run:
        made.add_row(unrun.arm, "not run", *["-"] * (len(names) - 2))
    return made


def document(outcome: StudyOutcome) -> dict[str, Any]:
    """A reproduced study for scripts."""
    return {
        "study": outcome.study.name,
        "title": outcome.study.title,
        "paper": outcome.study.paper,
        "scale": outcome.scale,
        "seconds": outcome.seconds,
        "findings": [finding_document(finding) for finding in outcome.findings],
        "arms": [arm_document(each) for each in (*outcome.outcomes, *outcome.not_run)],
    }


def finding_document(finding: Finding) -> dict[str, Any]:
    """A claim, its verdict and its quantities."""
    claim = finding.claim
    return {
        **{key: getattr(claim, key) for key in ("number", "statement", "source", "paper")},
        "tolerance": claim.tolerance,
        "verdict": finding.verdict.value,
        "reason": finding.reason,
        "quantities": [quantity_document(quantity) for quantity in finding.quantities],
    }


def quantity_document(quantity: Quantity) -> dict[str, Any]:
    """A quantity for scripts.

    `low` and `high` are the interval at `confidence`; where every seed counts they are the smallest
    and the largest seed, `confidence` is null, and `share` holds the interval of the share inside.
    A number without seeds has `seeds` 0 and no ends.
    """
    kind, interval = quantity.kind.value, quantity.interval
    share = None
    if interval and kind == "every":
        ends = {key: getattr(interval, key) for key in ("estimate", "low", "high", "confidence")}
        share = {"required": quantity.share, **ends}
    return {
        "name": quantity.name,
        "kind": kind,
        **{key: getattr(quantity, key) for key in ("estimate", "low", "high")},
        "confidence": interval.confidence if interval and share is None else None,
        "share": share,
        **{key: getattr(quantity, key) for key in ("seeds", "with_value", "within")},
        "accepted": {key: getattr(quantity.accepted, key) for key in ("low", "high", "open")},
        "verdict": quantity.verdict.value,
        "values": quantity.values,
    }


def arm_document(each: ArmOutcome | NotRun) -> dict[str, Any]:
    """An arm: its run, where that came from, and what it cost; or why it was not run."""
    from saltus.runs import open_run
    from saltus.studies.reproduce import NotRun

    if isinstance(each, NotRun):
        told = {"arm": each.arm, "how": "not run", "error": each.error}
        return {"run": None, "members": [], **told}
    said = summary(each.run or open_run(each.path))
    share = said["instrument_seconds"] / said["seconds"] if said["seconds"] else None
    return {
        **said,
        "arm": each.arm,
        "how": each.how,
        "wall_seconds": each.seconds,
        "overhead": share,
        "error": each.error or None,
    }
