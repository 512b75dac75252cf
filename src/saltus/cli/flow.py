"""`saltus flow`: how far an experiment's optimiser is from gradient flow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from saltus.cli.inputs import Json, Root, Scale, Seeds, load_experiment, number_of_seeds, settings
from saltus.cli.output import console, count, interval_text, print_json, say, table
from saltus.cli.progress import Board
from saltus.errors import SaltusError

if TYPE_CHECKING:
    from saltus.experiment import Experiment
    from saltus.flow.convergence import Convergence
    from saltus.flow.twin import Distances, Twins
    from saltus.runs import Run

SHOWN = 8  # moments in the table


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
    moments: Annotated[int, typer.Option(min=1, help="How often the two are compared.")] = 40,
    finer: Annotated[
        str | None,
        typer.Option(
            metavar="F,G,...", help="Instead: the error at the end for step sizes rate / F, ..."
        ),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Draw it as well: .svg, .pdf or .png.")
    ] = None,
    scale: Scale = "quick",
    root: Root = Path("runs"),
    json: Json = False,
) -> None:
    """How far is SGD or Adam from gradient flow?

    Trains the experiment in float64, and its twin: the same start, following the exact flow of the
    loss on a fixed training set to the times at which the optimiser arrives (an update with
    learning rate r takes time r). The distance is |theta - flow| over |flow - start|; the distance
    to the flow's path forgets the time, which suits Adam. An experiment that draws fresh samples
    has a twin on a fixed sample of its data, unless --examples gives both the same set.

    \b
    Examples:
      saltus flow experiment.yaml --examples 128 --set batch=128
      saltus flow word-cooccurrence:U-0.01 --finer 1,10,100
    """
    from saltus.flow.twin import distances, twins

    experiment = load_experiment(file, scale)
    replaced = settings(changes or [])
    if seeds is not None:
        replaced["seeds"] = number_of_seeds(seeds)
    if replaced:
        experiment = experiment.override(replaced)
    if finer is not None:
        found = _converge(experiment, _factors(finer), examples, root)
        _finish_convergence(found, experiment, figure, json)
        return
    pair = twins(experiment, moments, examples)
    with Board() as board:
        runs: list[Run] = []
        for part in (pair.discrete, pair.flow):
            runs.append(_watched(part, root, board))
    found = distances(pair, *runs)
    _finish_distances(found, pair, figure, json)


def _watched(experiment: Experiment, root: Path, board: Board) -> Run:
    from saltus.runs import open_run
    from saltus.training.launch import create, resume

    path = create(experiment, root)
    progress = board.begin(experiment.name, open_run(path), "new")
    try:
        run = resume(path, progress)
    except SaltusError:
        board.end(experiment.name, None)
        raise
    board.end(experiment.name, run)
    return run


def _finish_distances(found: Distances, pair: Twins, figure: Path | None, json: bool) -> None:
    from saltus.transitions import mean_interval

    if json:
        print_json({name: getattr(found, name) for name in found.__dataclass_fields__})
    else:
        seeds = len(found.apart)
        say(f"{pair.discrete.name}: {pair.discrete.optimizer.kind} beside gradient flow")
        say(f"{count(seeds, 'member')}, mean and 95 % interval over them")
        rows = table("step", "time", "distance", "from path", "loss", "loss of flow",
                     right=("step", "time"))  # fmt: skip
        places = np.unique(np.linspace(1, len(found.steps) - 1, SHOWN).round().astype(int))
        for i in places:
            columns = (found.apart, found.from_path, found.loss, found.loss_of_flow)
            texts = [interval_text(mean_interval(values[:, i])) for values in columns]
            rows.add_row(str(found.steps[i]), f"{found.times[i]:.4g}", *texts)
        console().print(rows)
        say("distance: |theta - flow(t)| over the way the flow has come, |flow(t) - theta(0)|")
    if figure is not None:
        _draw(figure, distance_figure(found, pair.discrete.name))


def distance_figure(found: Distances, name: str):
    """Distances and losses against time, fans over members."""
    from saltus.report import compose

    apart = compose.panel(
        "Distance from the flow",
        [
            ("at equal time", found.times[1:], found.apart[:, 1:]),
            ("from its path", found.times[1:], found.from_path[:, 1:]),
        ],
        "of the way the flow has come",
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
    return compose.figure(f"{name} beside gradient flow", [apart, loss])


def _converge(
    experiment: Experiment, factors: list[int], examples: int | None, root: Path
) -> Convergence:
    from saltus.flow.convergence import convergence

    with Board() as board:
        return convergence(experiment, lambda part: _watched(part, root, board), factors, examples)


def _finish_convergence(
    found: Convergence, experiment: Experiment, figure: Path | None, json: bool
) -> None:
    from saltus.transitions import mean_interval

    if json:
        slopes = {"slopes": found.slopes, "local": found.local}
        print_json({"rates": found.rates, "errors": found.errors} | slopes)
    else:
        say(f"{experiment.name}: {experiment.optimizer.kind} against its flow, at the same time")
        rows = table("step size", "error at the end", right=("step size",))
        for i, rate in enumerate(found.rates):
            rows.add_row(f"{rate:.4g}", interval_text(mean_interval(found.errors[:, i])))
        console().print(rows)
        slope = interval_text(mean_interval(found.slopes))
        say(f"slope of log error over log step size: {slope} (1: first order)")
    if figure is not None:
        _draw(figure, convergence_figure(found, experiment.name))


def convergence_figure(found: Convergence, name: str):
    """Error against step size on log axes, with a line of slope 1."""
    from saltus.report import compose

    order = np.argsort(found.rates)
    rates, errors = found.rates[order], found.errors[:, order]
    middle = (float(rates[-1]), float(np.median(errors[:, -1])))
    guide = compose.slope("slope 1", 1.0, middle, (float(rates[0]), float(rates[-1])))
    panel = compose.panel(
        "Error at the end",
        [("error", rates, errors)],
        "of the way the flow has come",
        x_label="step size",
        x_log=True,
        log=True,
        dots=True,
        references=[guide],
    )
    return compose.figure(f"{name}: descent tends to flow", [panel])


def _draw(path: Path, figure) -> None:
    from saltus.report import publication

    say(f"figure     {publication.write(figure, path)}")


def _factors(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise SaltusError(f"--finer: '{text}' is not allowed: whole numbers, as in 1,2,5,10")
    return [int(part) for part in parts]
