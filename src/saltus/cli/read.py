"""`saltus runs`, `show`, `query` and `verify`: what was trained, read without changing a byte."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saltus.cli import Failed
from saltus.cli.inputs import Json, Root, RunName, existing, find_run
from saltus.cli.output import (
    console,
    count,
    diverged_lines,
    interval_text,
    print_json,
    say,
    summary,
    table,
)
from saltus.errors import SaltusError

if TYPE_CHECKING:
    from saltus.runs import Run
    from saltus.transitions import Transition


def runs(root: Root = Path("runs"), json: Json = False) -> None:
    """List the runs below a directory, and how far they are.

    \b
    Example:
      saltus runs --root runs/quick
    """
    from saltus.runs import list_runs

    found = [_line_of(run) for run in list_runs(existing(root))]
    if json:
        print_json(found)
        return
    if not found:
        say(f"no runs below {root}; `saltus run` and `saltus reproduce` make some")
        return
    made = table("run", "state", "step", "members", "seconds", right=("step", "members", "seconds"))
    for each in found:
        place = Path(each["run"])
        made.add_row(
            _label(place.relative_to(root) if place != root else Path(place.name), each),
            each["state"] + (f", {each['diverged']} diverged" if each.get("diverged") else ""),
            f"{each.get('step', '?')}/{each.get('steps') or '?'}",
            str(len(each["members"])) if "members" in each else "?",
            f"{each['seconds']:.1f}" if "seconds" in each else "?",
        )
    console().print(made)


def show(
    name: RunName,
    series: Annotated[
        list[str] | None, typer.Argument(metavar="[SERIES]...", help="Series; none: list them.")
    ] = None,
    up: Annotated[
        bool, typer.Option("--up", help="Look for leaps upwards, as of accuracy.")
    ] = False,
    root: Root = Path("runs"),
    json: Json = False,
) -> None:
    """Show a run, or the values and transitions of its series.

    Of each member the largest leap: the level of the plateau before it, the step half way down, the
    steps from 10 % to 90 % of the way; `never` if there was none.

    \b
    Example:
      saltus show runs/my-experiment loss/train
    """
    run = find_run(name, root)
    found = [_series_document(run, each, up) for each in series or []]
    document = {**summary(run), "names": run.names(), "damage": run.damage}
    document["frames"] = {m: s for m in range(len(run.members)) if (s := _frames(run, m))}
    if json:
        print_json({**document, "series": found} if series else document)
    elif series:
        for each in found:
            _show_series(each)
    else:
        _show_run(run, document)


def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT.")],
    root: Root = Path("runs"),
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values.")] = False,
    json: Json = False,
) -> None:
    """Ask all runs a question in SQL (DuckDB); it only reads.

    \b
    Tables:
      runs     run state step steps members diverged seconds instrument_seconds
               created study arm name experiment
      members  run member seed shard overrides diverged_at
      metrics  run member seed step name index value
    \b
    Example:
      saltus query "SELECT run, avg(value) FROM metrics
                    WHERE name = 'loss/train' AND step = 500 GROUP BY run"
    """
    from saltus.runs import query as ask

    if json and as_csv:
        raise SaltusError("query: --json and --csv exclude each other")
    columns, rows = ask(existing(root), sql)
    if json:
        print_json({"columns": columns, "rows": rows})
    elif as_csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows([columns, *rows])
    else:
        made = table(*columns)
        for row in rows:
            made.add_row(*("-" if value is None else str(value) for value in row))
        console().print(made)
        say(count(len(rows), "row"))


def verify(
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="Directories, or names.")],
    root: Root = Path("runs"),
    json: Json = False,
) -> None:
    """Prove that runs are unbroken, or name the first bad file.

    Every file of a run is checked; the exit code is 1 if one is not what the run wrote.

    \b
    Example:
      saltus verify runs/quick/loss-plateau/*
    """
    from saltus.runs import verify as prove

    paths = [find_run(name, root).path for name in names]
    reports = [(path, prove(path)) for path in paths]
    for path, report in reports if not json else ():
        checked = report.checked
        amount = f"{count(checked['files'], 'file')}, {count(checked['checkpoints'], 'checkpoint')}"
        say(f"{path}: {f'unbroken ({amount})' if report.ok else 'broken'}")
        for line in (*report.problems, *report.notes):
            say(f"  {line}")
    if json:
        keys = ("ok", "problems", "notes", "checked")
        print_json([{"run": p, **{key: getattr(r, key) for key in keys}} for p, r in reports])
    for path, report in reports:
        if not report.ok:
            raise Failed(f"{path}: {report.problems[0]}")


def _line_of(run: Run) -> dict[str, Any]:
    """A run's line; a damaged run still has one."""
    try:
        return summary(run)
    except SaltusError as error:
        return {"run": str(run.path), "state": "damaged", "error": str(error)}


def _label(place: Path, each: dict[str, Any]) -> str:
    """The path, in lines that a narrow table holds, and study:arm where it does not say that."""
    text = place.as_posix()
    lines = [text] if len(text) <= 28 else [f"{place.parent.as_posix()}/", place.name]
    study, arm = each.get("study"), each.get("arm")
    if study and not (study in text and (arm or "") in text):
        lines.append(f"({study}:{arm})" if arm else f"({study})")
    return "\n".join(lines)


def _show_run(run: Run, document: dict[str, Any]) -> None:
    status = f"{document['state']}, step {document['step']} of {document['steps']}"
    seeds = ", ".join(str(seed) for seed in dict.fromkeys(run.seeds.tolist()))
    say(f"run        {run.path}")
    say(f"state      {status}; {document['seconds']:.1f} s training")
    say(f"members    {len(run.members)} (seeds {seeds})")
    settings = {str(m["overrides"]) for m in run.members if m["overrides"]}
    if settings:
        made = table("member", "seed", "setting", right=("member", "seed"))
        for each in run.members:
            setting = ", ".join(f"{key} = {value}" for key, value in each["overrides"].items())
            made.add_row(str(each["member"]), str(each["seed"]), setting)
        console().print(made)
    for line in diverged_lines(run):
        say(f"diverged   {line}")
    for line in document["damage"]:
        say(f"damage     {line}")
    checkpoints = ", ".join(map(str, run.checkpoints())) or "none"
    say(f"kept       checkpoints of steps {checkpoints}")
    for member in range(len(run.members)):
        if steps := _frames(run, member):
            more = f"of member {member}, steps {steps[0]} to {steps[-1]}"
            say(f"frames     {len(steps)} {more}")
    say("series")
    for name in document["names"]:
        say(f"  {name}")


def _frames(run: Run, member: int) -> list[int]:
    """The steps of a member's frames; none where they are lost, which `damage` says."""
    try:
        return run.frames(member)
    except SaltusError:
        return []


def _series_document(run: Run, name: str, up: bool) -> dict[str, Any]:
    """Final values, their interval over members, and the leaps of each member."""
    from saltus.transitions import mean_interval

    if run.status["state"] == "done" and run.damage:  # the torn end of a killed run is no harm
        raise SaltusError(f"{run.path} is damaged: {run.damage[0]}")
    series = run.series(name)
    if not len(series.steps):
        raise SaltusError(f"{run.path}: series {name} has no step yet")
    last = series.values[:, -1].tolist()
    interval = mean_interval(last)
    found = run.transitions(name, "up" if up else "down")
    members = [
        {"member": each["member"], "seed": each["seed"], "overrides": each["overrides"],
         "final": value, "transitions": [_transition(one) for one in transitions]}
        for each, value, transitions in zip(run.members, last, found, strict=True)
    ]  # fmt: skip
    return {
        "name": name,
        "step": int(series.steps[-1]),
        "mean": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "confidence": interval.confidence,
        "seeds": interval.count,
        "members": members,
        "direction": "up" if up else "down",
    }


def _transition(each: Transition) -> dict[str, Any]:
    """A transition for scripts; what was not seen is null."""
    plateau = each.plateau
    level, start = (plateau.level, plateau.start) if plateau is not None else (None, None)
    return {
        "plateau": level,
        "plateau_start": start,
        **{key: getattr(each, key) for key in ("onset", "step", "late", "end", "after", "width")},
        "height": None if each.censored else each.height,
        "sharpness": each.sharpness,
        "censored": each.censored,
        "budget": each.budget,
    }


def _show_series(found: dict[str, Any]) -> None:
    from saltus.transitions import Interval

    said = interval_text(Interval(*(found[key] for key in ("mean", "low", "high", "seeds"))))
    over = count(found["seeds"], "member")
    say(f"{found['name']} at step {found['step']}: mean {said} over {over}")
    varied = any(each["overrides"] for each in found["members"])
    numbers = ["member", "seed", "final", "plateau", "leap at", "10-90 %", "leaps"]
    made = table(*numbers, *(["setting"] if varied else []), right=numbers)
    for each in found["members"]:
        setting = ", ".join(f"{key} = {value}" for key, value in each["overrides"].items())
        made.add_row(
            str(each["member"]),
            str(each["seed"]),
            f"{each['final']:.4g}",
            *_leap_cells(each["transitions"]),
            *([setting] if varied else []),
        )
    console().print(made)


def _leap_cells(transitions: list[dict[str, Any]]) -> tuple[str, str, str, str]:
    """Of the largest leap: plateau, step, width; and how many there are."""
    leaps = [each for each in transitions if not each["censored"]]
    if not leaps:
        level = transitions[0]["plateau"]
        return "-" if level is None else f"{level:.4g}", "never", "-", "0"
    most = max(leaps, key=lambda each: each["height"])
    width = f"{most['width']:.3g}"
    return f"{most['plateau']:.4g}", f"{most['step']:.5g}", width, str(len(leaps))
