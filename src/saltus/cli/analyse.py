"""`saltus analyse`: a series of anybody's checkpoints: growth, directions, audit, saturation."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saltus.cli import Failed
from saltus.cli.inputs import Json
from saltus.cli.output import console, count, interval_text, print_json, say, table
from saltus.errors import SaltusError

if TYPE_CHECKING:
    from saltus.integrations.attention_saturation import AttentionSaturation, Mode
    from saltus.integrations.pretrained import Loading
    from saltus.integrations.sentences import Sentences
    from saltus.report.trajectory import TrajectoryReport
    from saltus.trajectories import Series, Trajectory

SHOWN = 24  # checkpoints in the terminal; --json and the page have all
RANDOM_TEXTS = 16  # of --saturation without a text
PAPER_TEXTS = 100  # Fig. 2 reads the first hundred


def analyse(
    checkpoints: Annotated[
        list[str],
        typer.Argument(metavar="CHECKPOINT...", help="Files, folders, patterns, or one run."),
    ],
    steps_from: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="One group, the step, in a checkpoint's name."),
    ] = None,
    in_given_order: Annotated[
        bool, typer.Option("--in-given-order", help="As given, whatever the names say.")
    ] = False,
    member: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Of one run of Saltus, this member.")
    ] = None,
    per_module: Annotated[
        bool, typer.Option("--per-module", help="Also the groups of parameters, and the layers.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 1 if the audit finds anything.")
    ] = False,
    saturation: Annotated[
        bool, typer.Option("--saturation", help="Also saturation and types of heads, of models.")
    ] = False,
    text: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="On these texts, a blank line between; .jsonl: ids."),
    ] = None,
    random_texts: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="On N texts of random tokens instead.")
    ] = None,
    texts: Annotated[
        int, typer.Option(min=1, metavar="N", help="Texts of the file that are read.")
    ] = PAPER_TEXTS,
    length: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Tokens of a text [512 at most; random: 64]."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Draws other random texts.")] = 0,
    tokenizer: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="A tokenizer for models without one.")
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="By exact argmax attention, not 1000 times weights.")
    ] = False,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Beside them, the model before training.")
    ] = False,
    precision: Annotated[
        str, typer.Option(metavar="TYPE", help="float32, float64 or bfloat16, for --saturation.")
    ] = "float32",
    device: Annotated[str, typer.Option(metavar="cpu|cuda", help="For --saturation.")] = "cpu",
    pickled: Annotated[
        bool, typer.Option("--pickled", help="Models in pickles too (torch's weights_only).")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Also a page with all of it.")
    ] = None,
    json: Json = False,
) -> None:
    """Analyse a series of checkpoints: growth, directions, audit.

    Of files of weights of any model: how the norm of its encoder grows (2010.09697), how its
    direction settles, and what is wrong with the series: checkpoints that are the same, swapped,
    missing, torn or strange. Of models in Hugging Face's format also, with --saturation, how near
    their attention is to its limit at 1000 times the weights, and where their heads look then.
    docs/analyse.md says more.

    \b
    Examples:
      saltus analyse checkpoints/step-* --per-module
      saltus analyse hf/ --text book.txt --report trajectory.html
    """
    from saltus.report.trajectory import TrajectoryReport, write_trajectory_report
    from saltus.report.trajectory_growth import growth_of
    from saltus.trajectories import STEP, audit, find_series
    from saltus.trajectories import analyse as measure

    if report is not None and report.suffix != ".html":
        raise SaltusError(f"--report: '{report}' is not allowed: the name must end in .html")
    if text is not None and random_texts is not None:
        raise SaltusError("analyse: --text and --random-texts exclude each other")
    wanted = saturation or text is not None or random_texts is not None
    for option, given in (("--random-weights", random_weights), ("--exact", exact)):
        if given and not wanted:
            raise SaltusError(f"{option}: it belongs to --saturation, which is not asked for")
    sentences = _sentences(text, random_texts, texts, length, seed, tokenizer) if wanted else None
    loading = _loading(precision, device, pickled) if wanted else None
    series = find_series(
        checkpoints, steps_from=steps_from or STEP, in_given_order=in_given_order, member=member
    )
    if not series.checkpoints:
        first = series.damaged[0]
        raise SaltusError(f"{first.name}: {first.reason}")
    with _progress() as told:
        trajectory = measure(series, told=told)
    saturated: list[AttentionSaturation] = []
    if sentences is not None and loading is not None:
        saturated = _saturation(
            series, sentences, loading, "zeta" if exact else "scale", random_weights
        )
    command = shlex.join(["saltus", *sys.argv[1:]]) if sys.argv[1:2] == ["analyse"] else ""
    found = TrajectoryReport(
        trajectory, audit(trajectory), growth_of(trajectory), saturated, command
    )
    path = None if report is None else write_trajectory_report(found, report)
    if json:
        print_json(_document(found, path))
    else:
        _print(found, per_module, path)
    if strict and found.findings:
        raise Failed(f"the audit has {count(len(found.findings), 'finding')}")


def _sentences(
    text: Path | None,
    random_texts: int | None,
    texts: int,
    length: int | None,
    seed: int,
    tokenizer: str | None,
) -> Sentences:
    from saltus.integrations.prompts import RandomPrompts
    from saltus.integrations.sentences import Sentences, read_sentences

    if text is not None:
        return Sentences(read_sentences(text, texts), length, tokenizer)
    return Sentences(RandomPrompts(random_texts or RANDOM_TEXTS, length or 64, seed), length)


def _loading(precision: str, device: str, pickled: bool) -> Loading:
    from saltus.integrations.pretrained import Loading

    return Loading(precision, device, offline=True, pickled=pickled)


def _saturation(
    series: Series, sentences: Sentences, loading: Loading, mode: Mode, random_weights: bool
) -> list[AttentionSaturation]:
    """Of every checkpoint, one model in memory at a time; what is wrong names the checkpoint."""
    from saltus.integrations.attention_saturation import attention_saturation

    found: list[AttentionSaturation] = []
    news = console(stderr=True)
    for number, each in enumerate(series.checkpoints, start=1):
        folder = each.path if each.path.is_dir() else each.path.parent
        if not (folder / "config.json").is_file():
            raise SaltusError(
                f"{each.name}: its saturation needs a model in Hugging Face's format: "
                f"{folder} has no config.json"
            )
        try:
            measured = attention_saturation(str(folder), sentences, loading=loading, mode=mode)
            if random_weights and number == 1:
                start = attention_saturation(
                    str(folder), sentences, loading=loading, mode=mode, random_seed=0
                )
                found.append(replace(start, checkpoint="random weights"))
        except SaltusError as error:
            raise SaltusError(f"{each.name}: {error}") from error
        found.append(replace(measured, checkpoint=each.name))
        if len(series.checkpoints) > 1:
            news.print(
                f"{number} of {len(series.checkpoints)}  {each.name}: {measured.seconds:.1f} s",
                soft_wrap=True,
            )
    return found


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """A bar of bytes on a terminal, nothing elsewhere."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    shown = console(stderr=True)
    if not shown.is_terminal:
        yield None
        return
    columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=shown, transient=True) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda done, whole: bar.update(task, completed=done, total=whole)


def _print(found: TrajectoryReport, per_module: bool, path: Path | None) -> None:
    from saltus.report.trajectory_growth import encoder_of

    trajectory, course = found.trajectory, encoder_of(found.trajectory)
    numbers = sum(each.numel for each in trajectory.parameters if each.role != "buffer")
    say(f"{count(len(trajectory.checkpoints), 'checkpoint')}, {numbers:,} parameters")
    say("norm: of the encoder (M1); cosines and steps: from the checkpoint before")
    size = len(trajectory.checkpoints)
    head = ("step" if trajectory.numbered else "", "norm", "cos", "align", "|step|")
    made = table(*head, right=head, padding=(0, 1, 0, 0))
    for place in _shown(size):
        before = [each[place - 1] if place else float("nan")
                  for each in (course.direction, course.alignment, course.step)]  # fmt: skip
        made.add_row(f"{trajectory.steps[place]:,}", f"{course.norm[place]:#.6g}",
                     *(_number(float(value)) for value in before))  # fmt: skip
    console().print(made)
    if size > SHOWN:
        say(f"{SHOWN} of {size} checkpoints; --json has all")
    _print_growth(found)
    if per_module:
        _print_modules(trajectory)
    if found.saturation:
        _print_saturation(found)
    for finding in found.findings:
        say(f"audit      {finding.line}")
    if not found.findings:
        say("audit      nothing found")
    if path is not None:
        say(f"written    {path}")


def _print_growth(found: TrajectoryReport) -> None:
    from saltus.report.trajectory_growth import BORDER, WRITTEN, encoder_of, law_text

    growth = found.growth
    account = encoder_of(found.trajectory).accounting
    if not isnan(account.cross_share):
        say(f"growth     {account.squared_steps_share:.1%} squared steps, "
            f"{account.cross_share:.1%} cross term")  # fmt: skip
    if growth.exponent is not None:
        say(f"exponent   {interval_text(growth.exponent)} over parts of this one run")
    if growth.at_border:
        say(f"           {BORDER}")
    if growth.fits:
        each = [f"{WRITTEN[law]} {float(own.r_squared):.4f}" for law, own in growth.fits.items()]
        say(f"r²         {', '.join(each)}")
    if growth.choice is not None:
        say(f"law        {law_text(growth.choice)}")
    if growth.reason:
        say(f"law        not fitted: {growth.reason}")


def _print_modules(trajectory: Trajectory) -> None:
    made = table("module", "first", "last", "growth", "last cos",
                 right=("first", "last", "growth", "last cos"))  # fmt: skip
    layers = {f"layer {name}": course for name, course in trajectory.blocks.items()}
    for name, course in {**trajectory.groups, **layers}.items():
        first, last = float(course.norm[0]), float(course.norm[-1])
        ratio = last / first if first else float("nan")
        cosine = float(course.direction[-1]) if len(course.direction) else float("nan")
        made.add_row(name, f"{first:.5g}", f"{last:.5g}", _number(ratio), _number(cosine))
    console().print(made)


def _print_saturation(found: TrajectoryReport) -> None:
    """A row for each checkpoint and stack, and every layer of the last checkpoint."""
    from saltus.integrations.attention_saturation import TYPES

    last = found.saturation[-1]
    cut = f", {last.cut} cut" if last.cut else ""
    say(f"{last.architecture}, {count(last.texts, 'text')}, {last.tokens:,} tokens{cut}; "
        f"{last.saturated_by}")  # fmt: skip
    steps = dict(zip(found.trajectory.checkpoints, found.trajectory.steps.tolist(), strict=True))
    head = ("step", "stack", "cos", "cos last", "argmax", "between", "mean")  # the types in order
    made = table(*head, right=(head[0], *head[2:]), padding=(0, 1, 0, 0))
    for place in _shown(len(found.saturation)):
        each = found.saturation[place]
        name = f"{steps[each.checkpoint]:,}" if each.checkpoint in steps else "random"
        own = {stack.name: stack.layers for stack in each.stacks}
        for heads in each.heads:
            layers = own.get(heads.name)  # attention across stacks has no states of its own
            means = ("", "") if layers is None else (f"{layers.mean():.3f}", f"{layers[-1]:.3f}")
            types = (str(heads.counts[kind]) if heads.counts else "" for kind in TYPES)
            made.add_row(name, heads.name, *means, *types)
    console().print(made)
    for stack in last.stacks:
        values = " ".join(f"{value:.3f}" for value in stack.layers)
        say(f"{stack.name}, last checkpoint, layer by layer: {values}")
    if not last.heads[0].counts:
        say("the texts are too short to tell types of heads: 12 tokens or more are needed")


def _shown(size: int) -> list[int]:
    if size <= SHOWN:
        return list(range(size))
    return [round(k * (size - 1) / (SHOWN - 1)) for k in range(SHOWN)]


def _number(value: float) -> str:
    return "" if isnan(value) else f"{value:.4f}" if abs(value) < 10 else f"{value:.5g}"


def _document(found: TrajectoryReport, path: Path | None) -> dict[str, Any]:
    from saltus.report.trajectory_growth import encoder_of

    trajectory, growth = found.trajectory, found.growth
    course = encoder_of(trajectory)
    account = course.accounting
    return {
        "checkpoints": list(trajectory.checkpoints),
        "steps": trajectory.steps,
        "numbered": trajectory.numbered,
        "damaged": [{"name": e.name, "kind": e.kind, "reason": e.reason}
                    for e in trajectory.damaged],
        "encoder": _course(course),
        "total": _course(trajectory.total),
        "mean_column_norm": trajectory.mean_column_norm,
        "least_rms": trajectory.least_rms,
        "groups": {name: _course(each) for name, each in trajectory.groups.items()},
        "layers": {name: _course(each) for name, each in trajectory.blocks.items()},
        "accounting": {
            "growth": account.growth,
            "squared_steps": account.squared_steps,
            "cross": account.cross,
        },
        "growth": {
            "exponent": growth.exponent and asdict(growth.exponent),
            "r_squared": {law: float(each.r_squared) for law, each in growth.fits.items()},
            "law": growth.choice and growth.choice.law,
            "best": growth.choice and growth.choice.best,
            "reason": growth.reason,
        },
        "findings": [asdict(each) for each in found.findings],
        "saturation": _saturations(found.saturation),
        "bytes": trajectory.bytes_read,
        "seconds": trajectory.seconds,
        "report": path,
    }  # fmt: skip


def _course(course: Any) -> dict[str, Any]:
    return {name: getattr(course, name) for name in ("norm", "direction", "alignment", "step")}


def _saturations(found: Sequence[AttentionSaturation]) -> list[dict[str, Any]]:
    documents = []
    for each in found:
        document = asdict(each)
        for heads, own in zip(document["heads"], each.heads, strict=True):
            heads["types"] = own.types
        documents.append(document)
    return documents
