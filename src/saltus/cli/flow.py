"""`saltus flow`: how far an experiment's optimiser is from gradient flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from saltus.cli import Failed, Interrupted
from saltus.cli.inputs import Json, Root, Scale, Seeds, load_experiment, number_of_seeds, settings
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
    from saltus.experiment import Experiment
    from saltus.flow.convergence import Convergence
    from saltus.flow.twin import Distances, Twins
    from saltus.report.figure import Figure
    from saltus.runs import Run

SHOWN = 8  # moments in a table
MOMENTS = 40


def flow(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A YAML file, or a study's arm as STUDY:ARM.")
    ],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Replace a dotted field first."),
    ] = None,
    seeds: Seeds = None,
    examples: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Let both learn from a fixed set of N samples."),
    ] = None,
    moments: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="How often the two are compared [40].")
    ] = None,
    reach: Annotated[
        float | None,
        typer.Option(metavar="X", help="Follow the flow X times as long [1.25; Adam: 10]."),
    ] = None,
    finer: Annotated[
        str | None,
        typer.Option(
            metavar="F,G,...", help="Instead: the error at the end for step sizes rate / F, ..."
        ),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw it as well: .svg, .pdf or .png.")
    ] = None,
    scale: Scale = "quick",
    root: Root = Path("runs"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Train anew, whatever is there.")] = False,
    json: Json = False,
) -> None:
    """How far is SGD or Adam from gradient flow?

    Trains the experiment in float64, and its twin: the same start, following the exact flow of the
    loss on a fixed training set to the times at which the optimiser arrives (an update with
    learning rate r takes time r). An experiment that draws fresh samples has a twin on a fixed
    sample of its data, unless --examples gives both the same set. Finished runs are used again.

    \b
    Examples:
      saltus flow experiment.yaml --examples 128 --set batch=128
      saltus flow word-cooccurrence:U-0.01 --finer 1,10,100 --figure slope.pdf
    """
    experiment = load_experiment(file, scale)
    replaced = settings(changes or [])
    if seeds is not None:
        replaced["seeds"] = number_of_seeds(seeds)
    if replaced:
        experiment = experiment.override(replaced)
    if figure is not None:
        _check_figure(figure)
    if finer is None:
        _distances(experiment, moments or MOMENTS, examples, reach, figure, root, fresh, json)
        return
    for name, value in (("--moments", moments), ("--reach", reach)):
        if value is not None:
            raise SaltusError(f"flow: {name} and --finer exclude each other")
    _convergence(experiment, _factors(finer), examples, figure, root, fresh, json)


def _distances(
    experiment: Experiment,
    moments: int,
    examples: int | None,
    reach: float | None,
    figure: Path | None,
    root: Path,
    fresh: bool,
    json: bool,
) -> None:
    from saltus.flow.twin import distances, twins
    from saltus.training.launch import check

    pair = twins(experiment, moments, examples, reach)
    for each in (pair.discrete, pair.flow):
        check(each)  # what is wrong with the second shows before the first is trained
    with _training(root, fresh) as train:
        runs = [train(pair.discrete), train(pair.flow)]
    found = distances(pair, *runs)
    drawn = _draw(figure, distance_figure(found, experiment.name)) if figure else None
    if json:
        print_json(_distances_document(found, experiment, pair, runs, drawn))
        return
    kind, members = experiment.optimizer.kind, count(len(found.apart), "member")
    say(f"{experiment.name}: {kind} beside gradient flow; mean [95 % interval] over {members}")
    # Two tables: four columns of intervals do not fit 80 columns.
    apart = table(
        "step", "time", "distance", "from path", right=("step", "time"), padding=(0, 1, 0, 0)
    )
    loss = table(
        "step", "loss", "loss of flow", "flow is as low at", right=("step",), padding=(0, 1, 0, 0)
    )
    end = pair.times[-1]
    for i in _shown(len(found.steps)):
        step, time = str(found.steps[i]), f"{found.times[i]:.4g}"
        apart.add_row(step, time, _mean(found.apart[:, i]), _mean(found.from_path[:, i]))
        later = np.isnan(found.as_low_at[:, i]) & ~np.isnan(found.loss[:, i])
        caught_up = f"after {end:.4g}" if later.any() else _mean(found.as_low_at[:, i])
        losses = (_mean(found.loss[:, i]), _mean(found.loss_of_flow[:, i]))
        loss.add_row(step, *losses, caught_up)
    console().print(apart)
    say("distance: |theta - flow(t)| over the flow's way, |flow(t) - theta(0)|")
    say("from path: to the nearest point of the flow's path, over |theta - theta(0)|")
    console().print(loss)
    _say_runs(runs, drawn)


def _convergence(
    experiment: Experiment,
    factors: list[int],
    examples: int | None,
    figure: Path | None,
    root: Path,
    fresh: bool,
    json: bool,
) -> None:
    from saltus.flow.convergence import convergence, refinements
    from saltus.training.launch import check

    pairs, followed = refinements(experiment, factors, examples)
    for each in (followed, pairs[0].discrete):
        check(each)
    runs: list[Run] = []
    with _training(root, fresh) as train:

        def remembered(part: Experiment) -> Run:
            runs.append(train(part))
            return runs[-1]

        found = convergence(experiment, remembered, factors, examples)
    drawn = _draw(figure, convergence_figure(found, experiment.name)) if figure else None
    if json:
        print_json(_convergence_document(found, experiment, factors, runs, drawn))
        return
    kind, members = experiment.optimizer.kind, count(len(found.errors), "member")
    say(f"{experiment.name}: {kind} tending to gradient flow; mean [95 % interval] over {members}")
    rows = table("step size", "error at the end", right=("step size",))
    for i, rate in enumerate(found.rates):
        rows.add_row(f"{rate:.4g}", _mean(found.errors[:, i]))
    console().print(rows)
    say("error: |theta - flow| over |flow - theta(0)|, at the same time")
    say(f"slope of log error over log step size: {_mean(found.slopes)} (1: first order)")
    _say_runs(runs, drawn)


def distance_figure(found: Distances, name: str) -> Figure:
    """Distances and losses against time, fans over members."""
    from saltus.report import compose

    apart = compose.panel(
        "Distance from the flow",
        [
            ("at equal time", found.times[1:], found.apart[:, 1:]),
            ("from its path", found.times[1:], found.from_path[:, 1:]),
        ],
        "of the way",
        x_label="time",
        log=True,
    )
    loss = compose.panel(
        "Loss on the twin's training set",
        [
            ("optimiser", found.times, found.loss),
            ("gradient flow", found.times, found.loss_of_flow),
        ],
        x_label="time",
    )
    note = "Of the way: of the flow's, |flow - start|, and for the path of the optimiser's own."
    return compose.figure(f"{name} beside gradient flow", [apart, loss], note)


def convergence_figure(found: Convergence, name: str) -> Figure:
    """Error against step size on log axes, with a line of slope 1."""
    from saltus.report import compose

    order = np.argsort(found.rates)
    rates, errors = found.rates[order], found.errors[:, order]
    span = float(rates[0]), float(rates[-1])
    # Through the smallest step size, where first order holds best.
    guide = compose.slope("slope 1", 1.0, (span[0], float(np.nanmedian(errors[:, 0]))), span)
    panel = compose.panel(
        "Error at the end",
        [("error", rates, errors)],
        "of the flow's way",
        x_label="step size",
        x_log=True,
        log=True,
        dots=True,
        references=[guide],
    )
    return compose.figure(f"{name}: descent tends to flow", [panel])


@contextmanager
def _training(root: Path, fresh: bool) -> Iterator[Callable[[Experiment], Run]]:
    """What trains an experiment below `root`, or finds the run of exactly this experiment."""
    from saltus.cli.progress import Board
    from saltus.runs import open_run
    from saltus.studies.reproduce import previous
    from saltus.training.launch import create, resume, train_shard
    from saltus.training.plan import cores, workers
    from saltus.training.workers import Workers

    with Board() as board, Workers(cores(), train_shard) as pool:

        def train(experiment: Experiment) -> Run:
            found = None if fresh else previous(root, experiment, board)
            path, how = found or (create(experiment, root), "new")
            progress = board.begin(path.name, open_run(path), how)
            several = pool if workers(experiment) > 1 else None
            try:
                run = open_run(path) if how == "reused" else resume(path, progress, several)
            except SaltusError as error:
                board.end(path.name, None)
                raise Failed(str(error)) from None
            board.end(path.name, run)
            return run

        try:
            yield train
        except KeyboardInterrupt:
            again = " without --fresh" if fresh else ""
            raise Interrupted(f"nothing is lost: the same command{again} continues") from None


def _distances_document(
    found: Distances, experiment: Experiment, pair: Twins, runs: Sequence[Run], drawn: Path | None
) -> dict[str, Any]:
    return {
        "name": experiment.name,
        "optimizer": experiment.optimizer.kind,
        "runs": [summary(run) for run in runs],
        "steps": found.steps,
        "times": found.times,
        "distance": found.apart,
        "from_path": found.from_path,
        "loss": found.loss,
        "loss_of_flow": found.loss_of_flow,
        "flow_is_as_low_at": found.as_low_at,
        "end_of_flow": pair.times[-1],
        "at_the_end": {
            "distance": _interval(found.apart[:, -1]),
            "from_path": _interval(found.from_path[:, -1]),
        },
        "figure": drawn,
    }


def _convergence_document(
    found: Convergence,
    experiment: Experiment,
    factors: Sequence[int],
    runs: Sequence[Run],
    drawn: Path | None,
) -> dict[str, Any]:
    return {
        "name": experiment.name,
        "optimizer": experiment.optimizer.kind,
        "runs": [summary(run) for run in runs],
        "factors": factors,
        "step_sizes": found.rates,
        "errors": found.errors,
        "slopes": found.slopes,
        "local_slopes": found.local,
        "slope": _interval(found.slopes),
        "figure": drawn,
    }


def _say_runs(runs: Sequence[Run], drawn: Path | None) -> None:
    say("runs       " + "\n           ".join(str(run.path) for run in runs))
    for run in runs:
        for line in diverged_lines(run):
            say(f"diverged   {run.name}: {line}")
    if drawn is not None:
        say(f"figure     {drawn}")


def _shown(moments: int) -> list[int]:
    """The moments of a table: about equally spaced, without the start, with the end."""
    return np.unique(np.linspace(1, moments - 1, SHOWN).round().astype(int)).tolist()


def _mean(values: np.ndarray) -> str:
    from saltus.transitions import mean_interval

    return interval_text(mean_interval(values))


def _interval(values: np.ndarray) -> dict[str, float]:
    """A mean over members as `saltus show --json` gives it."""
    from saltus.transitions import mean_interval

    found = mean_interval(values)
    return {
        "mean": found.estimate,
        "low": found.low,
        "high": found.high,
        "confidence": found.confidence,
        "seeds": found.count,
    }


def _check_figure(path: Path) -> None:
    """A name that cannot be drawn shows before minutes of training."""
    import matplotlib  # noqa: F401  what is missing is named by the front door

    from saltus.report.publication import SUFFIXES

    if path.suffix.lower() not in SUFFIXES:
        raise SaltusError(f"--figure: '{path}' is not allowed: must end in {', '.join(SUFFIXES)}")


def _draw(path: Path, figure: Figure) -> Path:
    from saltus.report import publication

    return publication.write(figure, path)


def _factors(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise SaltusError(f"--finer: '{text}' is not allowed: whole numbers, as in 1,2,5,10")
    factors = [int(part) for part in parts]
    if len(set(factors)) < max(2, len(factors)):
        raise SaltusError(f"--finer: '{text}' is not allowed: two or more different numbers")
    return factors
