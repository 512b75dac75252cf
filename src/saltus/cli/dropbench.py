"""`saltus dropbench`: which detector finds leaps best, on labelled curves that anyone can make."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saltus.cli.inputs import Json, existing
from saltus.cli.output import console, count, print_json, say, table
from saltus.errors import SaltusError

if TYPE_CHECKING:
    from rich.table import Table

    from saltus.transitions import Interval
    from saltus.transitions.dropbench.curves import Labelled
    from saltus.transitions.dropbench.detectors import Detector, Measured

Step = Callable[[str, int], Callable[[int], None]]  # (label, curves) -> what takes their number


def dropbench(
    split: Annotated[
        str, typer.Option(metavar="test|development", help="Tune on development only.")
    ] = "test",
    number: Annotated[
        int, typer.Option("--count", min=1, metavar="N", help="Generated curves.")
    ] = 5000,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Another set of curves.")] = 0,
    root: Annotated[
        Path | None,
        typer.Option("--root", metavar="DIR", help="Also the losses of the runs below DIR."),
    ] = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE:FUNCTION", help="Yours: (steps, values, changes) -> drop steps."
        ),
    ] = None,
    online: Annotated[
        list[str] | None,
        typer.Option(metavar="MODULE:CLASS", help="Yours, for growing series."),
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines/--no-baselines", help="Measure the others' rules too.")
    ] = True,
    kinds: Annotated[
        bool, typer.Option("--kinds", help="Also each detector by kind of curve.")
    ] = False,
    write: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the curves and their labels there as well."),
    ] = None,
    json: Json = False,
) -> None:
    """Measure detectors of leaps on labelled curves.

    Ours, the textbook's and yours name the drops of the same curves, and are scored by the same
    rule; docs/dropbench.md states it. Every curve is a function of split, seed and number alone.

    \b
    Examples:
      saltus dropbench --detector my_rules:half_way
      saltus dropbench --root runs/quick --write dropbench
    """
    from saltus.transitions.dropbench.curves import curves
    from saltus.transitions.dropbench.detectors import detectors
    from saltus.transitions.dropbench.files import write_curves
    from saltus.transitions.dropbench.real import real_curves

    measured = detectors(baselines)
    measured += [_loaded("--detector", place) for place in detector or []]
    measured += [_loaded("--online", place) for place in online or []]
    made = list(curves(split, number, seed))
    real = [] if root is None else list(real_curves(existing(root)))
    files = [] if write is None else list(write_curves(write, [*made, *real]))
    with _progress() as begin:
        found = [(each, _measure(each, made, begin, each.name)) for each in measured]
        offline = [each for each in measured if each.kind == "offline"]
        label = "{} on real curves"
        seen = [_measure(each, real, begin, label.format(each.name)) for each in offline if real]
    if json:
        print_json(
            {
                "split": split,
                "seed": seed,
                "curves": number,
                **{
                    kind: [_document(done) for each, done in found if each.kind == kind]
                    for kind in ("offline", "live")
                },
                "real": _as_data(_real_document(seen, real)),
                "files": files,
            }
        )
        return
    say(f"{count(number, 'curve')} of split {split}, seed {seed}; shares in % [95 % interval]")
    _print_offline([done for each, done in found if each.kind == "offline"])
    _print_live([done for each, done in found if each.kind == "live"])
    if kinds:
        for _, done in found:
            _print_kinds(done)
    if root is not None:
        _print_real(seen, real, root)
    for path in files:
        say(f"written    {path}")


def _loaded(option: str, place: str) -> Detector:
    from saltus.transitions.dropbench.detectors import load

    try:
        return load(place, "offline" if option == "--detector" else "live")
    except SaltusError as error:
        raise SaltusError(f"{option}: {error}") from error


def _measure(detector: Detector, curves: Sequence[Labelled], begin: Step, label: str) -> Any:
    from saltus.transitions.dropbench.detectors import measure, measure_live

    call = measure if detector.kind == "offline" else measure_live
    return call(detector, curves, begin(label, len(detector.share(curves))))


def _print_offline(found: Sequence[Measured[Any]]) -> None:
    say("\nFinished series")
    right = _table("detector", "drops that are leaps", "leaps found", "null curves with a drop")
    close = _table("detector", "curves", "off, in widths", "late, in points", "ms a curve")
    for each in found:
        score = each.score
        right.add_row(each.name, *map(_percent, (score.precision, score.recall, score.alarmed)))
        off = (_decimals(score.error, 3), _decimals(score.lag, 2))
        close.add_row(each.name, f"{score.curves:,}", *off, f"{each.milliseconds:.1f}")
    console().print(right)
    console().print(close)
    _print_ratios([(each.name, each.score.recall_by_ratio) for each in found])


def _print_live(found: Sequence[Measured[Any]]) -> None:
    if not found:
        return
    say("\nGrowing series")
    false = _table("detector", "false per million", "alarms that are", "rate steps that alarm")
    right = _table("detector", "curves", "leaps found", "by their 90 %")
    soon = _table("detector", "delay in steps", "in points", "in widths")
    for each in found:
        score = each.score
        shares = map(_percent, (score.precision, score.alarmed_by_rate_steps))
        false.add_row(each.name, _decimals(score.false_per_million, 0), *shares)
        shares = map(_percent, (score.detected, score.before_late))
        right.add_row(each.name, f"{score.curves:,}", *shares)
        delays = (score.delay_steps, score.delay_points, score.delay_widths)
        soon.add_row(each.name, *map(_decimals, delays, (1, 1, 2)))
    for made in (false, right, soon):
        console().print(made)
    _print_ratios([(each.name, each.score.detected_by_ratio) for each in found])


def _print_ratios(rows: Sequence[tuple[str, dict[str, Interval]]]) -> None:
    say("Leaps found, by their height over the deviation of one point's noise")
    names = list(dict.fromkeys(name for _, shares in rows for name in shares))
    made = _table("detector", *names)
    for name, shares in rows:
        made.add_row(name, *(_percent(shares[each], 0) if each in shares else "" for each in names))
    console().print(made)


def _print_kinds(done: Measured[Any]) -> None:
    score = done.score
    found = getattr(score, "recall_by_kind", None) or getattr(score, "detected_by_kind", {})
    made = _table(f"{done.name}: kind", "leaps found", "curves with something false")
    for kind, false in score.false_by_kind.items():
        made.add_row(kind, _percent(found[kind]) if kind in found else "", _percent(false))
    console().print(made)


def _print_real(seen: Sequence[Measured[Any]], real: Sequence[Labelled], root: Path) -> None:
    document = _real_document(seen, real)
    if document is None:
        say(f"\nno finished run below {root} has a loss of 30 points or more")
        return
    labelled = count(document["labelled"], "curve")
    say(f"\nReal curves: {document['curves']:,} losses below {root},")
    say(f"{labelled} labelled by accuracy")
    first = seen[0].name
    columns = ("curves", "curves with a drop", "labelled leaps found", f"same as {first}")
    made = _table("detector", *columns)
    for row, each in zip(document["detectors"], seen, strict=True):
        made.add_row(
            each.name,
            f"{row['curves']:,}",
            _percent(row["with_a_drop"]),
            _percent(row["recall"]),
            f"{100 * row['agreement'][first]:.0f} %",
        )
    console().print(made)


def _real_document(seen: Sequence[Measured[Any]], real: Sequence[Labelled]) -> Any:
    """Only recall of what is labelled: on a real curve a drop without a label may be one."""
    from saltus.transitions.dropbench.detectors import agreement
    from saltus.transitions.statistics.intervals import share_interval

    if not seen:
        return None
    rows = []
    for each in seen:
        shown = len(each.named)
        dropping = sum(bool(named) for named in each.named)
        rows.append(
            {
                "detector": each.name,
                "curves": shown,
                "with_a_drop": share_interval(dropping, shown),
                "recall": each.score.recall,
                "agreement": {other.name: agreement(each, other, real) for other in seen},
            }
        )
    labelled = sum(each.leaps is not None for each in real)
    return {"curves": len(real), "labelled": labelled, "detectors": rows}


def _document(done: Measured[Any]) -> dict[str, Any]:
    scores = _as_data(done.score)
    return {"detector": done.name, "milliseconds_per_curve": done.milliseconds, **scores}


def _as_data(value: Any) -> Any:
    """Intervals and scores as mappings, at any depth."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, dict):
        return {key: _as_data(each) for key, each in value.items()}
    return [_as_data(each) for each in value] if isinstance(value, list) else value


def _table(*columns: str) -> Table:
    return table(*columns, right=columns[1:], padding=(0, 1, 0, 0))


def _percent(share: Interval, digits: int = 1) -> str:
    if not isfinite(share.estimate):
        return "-"
    ends = (f"{100 * end:.{digits}f}" for end in (share.estimate, share.low, share.high))
    estimate, low, high = ("100" if end == "100.0" else end for end in ends)
    return f"{estimate} [{low}, {high}]"


def _decimals(value: Interval, digits: int) -> str:
    if not isfinite(value.estimate):
        return "-"
    ends = (f"{end:,.{digits}f}" for end in (value.estimate, value.low, value.high))
    estimate, low, high = ends
    return f"{estimate} [{low}, {high}]"


@contextmanager
def _progress() -> Iterator[Step]:
    """A bar for each detector on a terminal, a line for each elsewhere; on stderr."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    to = console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(bar_width=None), MofNCompleteColumn()
    remaining = TimeRemainingColumn(elapsed_when_finished=True)
    with Progress(*columns, remaining, console=to, expand=True, disable=not to.is_terminal) as bars:

        def begin(label: str, curves: int) -> Callable[[int], None]:
            if not to.is_terminal:
                to.print(f"{label}: {count(curves, 'curve')}", soft_wrap=True)
            bar = bars.add_task(label, total=curves)
            return lambda done: bars.advance(bar, done)

        yield begin
