"""`saltus compare`: runs, arms or settings of a sweep side by side."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from math import floor, isfinite, isnan, log10
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saltus.cli.inputs import ROOT, Json, Root, assignment, find_run, value_of
from saltus.cli.output import console, count, print_json, say, table
from saltus.errors import SaltusError

if TYPE_CHECKING:
    from rich.table import Table

    from saltus.report.comparison.compare import Comparison
    from saltus.report.comparison.groups import Side
    from saltus.report.comparison.leaps import LeapComparison
    from saltus.transitions import Interval

SETTING = re.compile(r"(?P<run>.+?):(?P<settings>[A-Za-z_][\w.-]*=.*)", re.DOTALL)
NEXT_FIELD = re.compile(r",(?=[A-Za-z_][\w.-]*=)")  # values may hold commas themselves
SHOWN = 10  # metrics in the terminal; the page has all
NAME = 14  # columns that a metric's name gets at least
FEW, MANY = -2, 5  # powers of ten between which numbers are written out
PAGE = Path("compare.html")


def compare(
    names: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Runs, or RUN:FIELD=VALUE; the first: reference."),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The page.")
    ] = PAGE,
    series: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where leaps are looked for [loss/train].")
    ] = None,
    up: Annotated[bool, typer.Option("--up", help="Leaps of this series go up.")] = False,
    at_end: Annotated[
        bool, typer.Option("--at-end", help="Compare metrics at each run's own end.")
    ] = False,
    figures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write every figure there too, as SVG, PDF and PNG."),
    ] = None,
    root: Root = Path("runs"),
    json: Json = False,
) -> None:
    """Compare experiments: when they leap, and what else changes.

    Of a run that is a sweep, every setting is a group of its own; RUN:FIELD=VALUE chooses one.
    All groups are compared with the first, at the end of the budget that they share.

    \b
    Examples:
      saltus compare runs/baseline runs/wider -o wider.html
      saltus compare sweep
      saltus compare sweep:learning_rate=1e-3 sweep:learning_rate=2e-3
    """
    from saltus.report.comparison.compare import compare as comparison_of
    from saltus.report.comparison.compare import groups_of_sides, write_figures
    from saltus.report.comparison.page import write_page

    sides = [side for name in names for side in _sides(name, root)]
    found = comparison_of(groups_of_sides(sides), series, "up" if up else "down", at_end)
    options = _options(series, up, at_end, root)
    command = shlex.join(["saltus", "compare", *names, *options, "-o", str(output)])
    path = write_page(found, output, command)
    drawn = [] if figures is None else write_figures(found, figures)
    if json:
        files = [file for each in drawn for file in each.paths]
        print_json({"file": path, "figures": files, **document(found)})
        return
    _show(found)
    for figure in drawn:
        say(f"figure: {figure}")
    say(f"page: {path}")


def document(found: Comparison) -> dict[str, Any]:
    """Everything the page says, for scripts."""
    groups = [
        {
            "label": group.label,
            "run": group.run.path,
            "setting": group.run.members[group.places[0]].get("overrides") or {},
            "seeds": [int(group.run.seeds[place]) for place in group.places],
        }
        for group in found.groups
    ]
    effects = [
        {
            "metric": each.metric,
            "group": each.group.label,
            "read_at": list(each.at),
            "paired": each.effect.paired,
            **{
                name: interval_document(getattr(each.effect, field))
                for name, field in (
                    ("reference_mean", "reference"),
                    ("group_mean", "other"),
                    ("difference", "difference"),
                    ("hedges_g", "standardised"),
                )
            },
            "p": each.effect.p,
            "p_holm": each.adjusted,
        }
        for each in found.effects
    ]
    return {
        "reference": found.groups[0].label,
        "groups": groups,
        "differs": found.differing,
        "leaps": _leaps_document(found),
        "effects": effects,
        "notes": found.notes,
    }


def interval_document(interval: Interval) -> dict[str, Any]:
    """Estimate, ends and number of seeds; infinite ends become null."""
    keys = ("estimate", "low", "high", "count", "confidence")
    return {key: getattr(interval, key) for key in keys}


def _leaps_document(found: Comparison) -> dict[str, Any] | None:
    leaps = found.leaps
    if leaps is None:
        return None
    return {
        "series": leaps.series,
        "direction": leaps.direction,
        "clock": leaps.x_label,
        "horizon": leaps.horizon,
        "log_rank": {"p": leaps.overall.p, "exact": leaps.overall.exact},
        "groups": [
            {
                "group": each.group.label,
                "times": each.times.times,
                "happened": each.times.happened,
                "share": interval_document(each.share),
                "median": interval_document(each.median),
            }
            for each in leaps.groups
        ],
        "against_reference": [
            {
                "group": each.group.label,
                "median_difference": interval_document(each.difference),
                "median_ratio": interval_document(each.ratio),
                "restricted_mean_difference": interval_document(each.restricted),
                "log_rank": {"p": each.test.p, "exact": each.test.exact},
                "p_holm": each.adjusted,
            }
            for each in leaps.contrasts
        ],
    }


def _sides(text: str, root: Path) -> list[Side]:
    """What one argument stands for: the settings of a run, or one of them."""
    from saltus.report.comparison.compare import sides_of
    from saltus.runs.layout import is_run

    found = SETTING.fullmatch(text)
    if found is None or is_run(Path(text)):
        return sides_of(find_run(text, root))
    pairs = [assignment(each, text) for each in NEXT_FIELD.split(found["settings"])]
    if len({field for field, _ in pairs}) < len(pairs):
        raise SaltusError(f"{text}: a field is given twice")
    wanted = {field: value_of(value, f"{text}: {field}") for field, value in pairs}
    return sides_of(find_run(found["run"], root), wanted)


def _options(series: str | None, up: bool, at_end: bool, root: Path) -> list[str]:
    """The options that change what is computed."""
    return [
        *(["--series", series] if series else []),
        *(["--up"] if up else []),
        *(["--at-end"] if at_end else []),
        *(["--root", str(root)] if root != ROOT else []),
    ]


def _show(found: Comparison) -> None:
    from saltus.report.comparison.page import at_text, p_text

    letters = {group.label: _letter(place) for place, group in enumerate(found.groups)}
    for label, letter in letters.items():
        reference = " (reference)" if letter == "A" else ""
        say(f"{letter}  {label}{reference}")
    for note in found.notes:
        say(f"note: {note}")
    several = len(found.groups) > 2
    if found.leaps is not None:
        say()
        say(f"leaps of {found.leaps.series}; later than A: difference of medians")
        console().print(_leap_table(found.leaps, letters))
    shown, places = found.effects[:SHOWN], {at_text(each) for each in found.effects}
    alike = places.pop() if len(places) == 1 else None
    most = f"the {SHOWN} largest of " if len(found.effects) > SHOWN else ""
    say(f"{most}{count(len(found.effects), 'effect')}{f', read at {alike}' if alike else ''}")
    right = ("difference from A", "Hedges' g", "p, Holm")
    made = table("metric", *([""] if several else []), *right, *([] if alike else ["at"]),
                 right=(*right, "at"), padding=(0, 1, 0, 0))  # fmt: skip
    made.columns[0].min_width = NAME
    for each in shown:
        made.add_row(
            each.metric,
            *([letters[each.group.label]] if several else []),
            short_text(each.effect.difference, 3),
            short_text(hundredths(each.effect.standardised), 2),
            p_text(each.adjusted),
            *([] if alike else [at_text(each)]),
        )
    console().print(made)


def short_text(interval: Interval, digits: int = 3) -> str:
    """'1.5 [1, ∞]', '4.2 [3.1, 5.3]·10⁻⁶', short enough for a column; '–' if nothing is known."""
    from saltus.report.text import number, power_of_ten

    if isnan(interval.estimate):
        return "–"
    ends = (interval.estimate, interval.low, interval.high)
    largest = max((abs(end) for end in ends if isfinite(end)), default=0.0)
    power = floor(log10(largest)) if largest else 0
    if FEW <= power < MANY:
        power = 0
    estimate, low, high = (number(end / 10.0**power, digits) for end in ends)
    return f"{estimate} [{low}, {high}]{f'·{power_of_ten(power)}' if power else ''}"


def hundredths(interval: Interval) -> Interval:
    """A standardised effect beyond two decimals is of no interest."""
    ends = {key: round(getattr(interval, key), 2) + 0.0 for key in ("estimate", "low", "high")}
    return replace(interval, **ends)


def _leap_table(leaps: LeapComparison, letters: dict[str, str]) -> Table:
    from saltus.report.comparison.page import p_text

    right = ("leapt", "share", "median", "later than A", "log-rank p")
    made = table("", *right, right=right)
    against = {each.group.label: each for each in leaps.contrasts}
    for each in leaps.groups:
        other = against.get(each.group.label)
        made.add_row(
            letters[each.group.label],
            f"{each.times.leaps}/{each.times.count}",
            short_text(each.share),
            short_text(each.median),
            short_text(other.difference) if other else "",
            p_text(other.test.best) if other else "",
        )
    return made


def _letter(place: int) -> str:
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[place]
