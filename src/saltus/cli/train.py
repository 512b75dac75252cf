"""`saltus run` and `saltus resume`: training one experiment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saltus.cli import Failed, Interrupted
from saltus.cli.inputs import (
    Json,
    Root,
    RunName,
    Scale,
    Seeds,
    find_run,
    load_experiment,
    number_of_seeds,
    settings,
    variations,
)
from saltus.cli.output import count, diverged_lines, interval_text, print_json, say, summary

if TYPE_CHECKING:
    from saltus.experiment import Experiment
    from saltus.runs import Run
    from saltus.studies.reproduce import How


def run(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A YAML file, or a study's arm as STUDY:ARM.")
    ],
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="FIELD=VALUE", help="Replace a dotted field; again for more."
        ),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=A,B,...", help="Members that differ in it, with every seed."),
    ] = None,
    seeds: Seeds = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the run is called.")
    ] = None,
    scale: Scale = "quick",
    root: Root = Path("runs"),
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the whole experiment and the plan; train nothing."),
    ] = False,
    json: Json = False,
) -> None:
    """Train an experiment over its seeds into a new run.

    Values are YAML: numbers, true, null, [lists], {mappings}. `saltus list tasks`, `models` and so
    on name the fields. Ctrl-C leaves a run that `saltus resume` continues.

    \b
    Examples:
      saltus run experiment.yaml --seeds 32 --set model.depth=2 --set steps=500
      saltus run loss-plateau:baseline --vary optimizer.learning_rate=1e-4,1e-3
      saltus run loss-plateau:baseline --dry-run > experiment.yaml
    """
    replaced = settings(changes or [])
    if seeds is not None:
        replaced["seeds"] = number_of_seeds(seeds)
    if name is not None:
        replaced["name"] = name
    varied = variations(vary or [])
    experiment = load_experiment(file, scale)
    if varied:
        replaced["vary"] = {**experiment.data()["vary"], **varied}
    if replaced:
        experiment = experiment.override(replaced)
    if dry_run:
        _show_plan(experiment, json)
        return
    from saltus.runs import open_run
    from saltus.training.launch import create

    _train(open_run(create(experiment, root)), "new", json)


def resume(name: RunName, root: Root = Path("runs"), json: Json = False) -> None:
    """Continue an interrupted run to its end.

    It goes on from the newest checkpoint that is whole, and ends with the same weights and metrics
    as if it had never stopped. A finished run is left alone.

    \b
    Example:
      saltus resume runs/my-experiment
    """
    found = find_run(name, root)
    _train(found, "reused" if found.status["state"] == "done" else "resumed", json)


def _train(run: Run, how: How, json: bool) -> None:
    from saltus.cli.progress import Board, continue_hint
    from saltus.errors import SaltusError
    from saltus.training.launch import resume as continue_training

    try:
        with Board() as board:
            progress = board.begin(run.name, run, how)
            try:
                run = continue_training(run.path, progress)
            except SaltusError:
                board.end(run.name, None)
                raise
            board.end(run.name, run)
    except KeyboardInterrupt:
        raise Interrupted(continue_hint(run.path)) from None
    except SaltusError as error:
        if run.status["state"] == "running":  # by somebody else: nothing of ours failed
            raise
        raise Failed(str(error)) from None
    if json:
        print_json(summary(run))
    else:
        _show_trained(run)


def _show_trained(run: Run) -> None:
    from saltus.transitions import mean_interval

    status = run.status
    series = run.series("loss/train")
    last = mean_interval(series.values[:, -1].tolist())
    say(f"run        {run.path}")
    say(f"trained    {count(len(run.members), 'member')}, {count(status['steps'], 'step')}")
    over = count(last.count, "member")
    say(f"loss       {interval_text(last)} at step {series.steps[-1]}, mean over {over}")
    share = status["instrument_seconds"] / (status["seconds"] or 1.0)
    say(f"time       {status['seconds']:.1f} s training, and instruments {share:.1%} of that")
    for line in diverged_lines(run):
        say(f"diverged   {line}")
    say(f"next       saltus show {run.path} loss/train; saltus report {run.path}")


def _show_plan(experiment: Experiment, json: bool) -> None:
    """The YAML, and the plan as comments below it: together they are a file that `run` takes."""
    from saltus.training.launch import check
    from saltus.training.plan import plan

    check(experiment)
    chosen = plan(experiment)
    shards, workers = chosen.shards, chosen.workers
    members = len(experiment.members())
    if json:
        plan_document = {"members": members, "shards": shards, "workers": workers}
        print_json({"experiment": experiment.data(), "plan": plan_document})
        return
    say(experiment.to_yaml().rstrip())
    largest = count(max(map(len, shards)), "member")
    say(
        f"# plan: {count(members, 'member')} in {count(len(shards), 'shard')} of at most {largest},"
    )
    say(f"#       trained by {count(workers, 'worker')} for {count(experiment.steps, 'step')}")
