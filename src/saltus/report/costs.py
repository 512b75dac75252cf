"""What was run and what it cost, arm by arm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from saltus.report.markup import Markup, tag
from saltus.report.text import count, duration
from saltus.runs import Run

HEADINGS = ("Arm", "State", "Seeds", "Steps", "Training", "Instruments", "Overhead")


def costs(arms: Mapping[str, Run], expected: Iterable[str] = ()) -> Markup:
    """A row per arm, also for those that should be there and are not."""
    names = list(dict.fromkeys([*expected, *arms]))
    head = tag("thead", tag("tr", [tag("th", name, scope="col") for name in HEADINGS]))
    rows = [_row(name, arms[name]) if name in arms else _missing(name) for name in names]
    note = (
        "Time spent in training steps and in reading instruments, for all seeds of an arm; "
        "workers that ran side by side are added up. Overhead: instruments over training."
    )
    table = tag("table", head, tag("tbody", rows), class_="costs")
    return tag("div", tag("div", table, class_="scroll"), tag("p", note, class_="caption"))


def _row(name: str, run: Run) -> Markup:
    status = run.status
    training, instruments = status["seconds"], status["instrument_seconds"]
    share = f"{instruments / training:.0%}" if training else "–"
    cells = (
        state_of(status),
        len(run.seeds),
        steps_of(status),
        duration(training),
        duration(instruments),
        share,
    )
    return tag("tr", tag("th", name, scope="row"), [tag("td", cell) for cell in cells])


def _missing(name: str) -> Markup:
    cells = ["not run", *["–"] * (len(HEADINGS) - 2)]
    return tag("tr", tag("th", name, scope="row"), [tag("td", c) for c in cells], class_="missing")


def state_of(status: Mapping[str, Any]) -> str:
    """'done', and how many seeds diverged."""
    diverged = status["diverged"]
    text = str(status["state"])
    return f"{text}, {count(len(diverged), 'seed')} diverged" if diverged else text


def steps_of(status: Mapping[str, Any]) -> str:
    """'600', or '240 of 600' for a run that is not at its end."""
    step, steps = status["step"], status["steps"]
    return f"{step:,}" if steps in (None, step) else f"{step:,} of {steps:,}"
