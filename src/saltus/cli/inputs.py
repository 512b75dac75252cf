"""What the verbs share of the command line: options, values, and finding runs and experiments."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from saltus.errors import SaltusError, unknown
from saltus.parts import with_numbers

if TYPE_CHECKING:
    from saltus.experiment import Experiment
    from saltus.runs import Run

ROOT = Path("runs")
SCALES = ("quick", "paper")
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Root = Annotated[Path, typer.Option("--root", metavar="DIR", help="Where the runs are.")]
Scale = Annotated[
    str,
    typer.Option("--scale", metavar="quick|paper", help="Minutes on two cores, or as published."),
]
Seeds = Annotated[
    str | None, typer.Option("--seeds", metavar="N", help="Seeds 0 to N-1, trained as one.")
]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="Its directory, or its name below --root.")
]


def chosen_scale(text: str) -> Any:
    """One of the two scales; Any, because a Literal cannot be narrowed by `in`."""
    if text not in SCALES:
        raise SaltusError(f"--scale: {unknown('scale', text, SCALES)}")
    return text


def number_of_seeds(text: str | None) -> int | None:
    """--seeds as a number; None if it was not given."""
    if text is None or (text.isdecimal() and int(text) > 0):
        return None if text is None else int(text)
    raise SaltusError(f"--seeds: {text!r} is not allowed: a number of seeds, 1 or more")


def existing(root: Path) -> Path:
    """A root that was named must be there; the default one appears with the first run."""
    if root != ROOT and not root.is_dir():
        raise SaltusError(f"--root: {root} is not a directory")
    return root


def find_run(text: str, root: Path = ROOT) -> Run:
    """The run at a path, or below `root` by its path or its own name."""
    from saltus.runs import list_runs, open_run
    from saltus.runs.layout import is_run

    for path in (Path(text), root / text):
        if is_run(path):
            return open_run(path)
    labels = {run.path.relative_to(root).as_posix(): run for run in list_runs(root)}
    same = [label for label, run in labels.items() if run.name == text]
    if len(same) == 1:
        return labels[same[0]]
    if same:
        raise SaltusError(f"RUN: '{text}' is the name of several runs: {', '.join(same)}")
    near = difflib.get_close_matches(text, [*labels, *(run.name for run in labels.values())], n=1)
    hint = f"; did you mean '{near[0]}'?" if near else f"; `saltus runs --root {root}` lists them"
    raise SaltusError(f"RUN: '{text}' is not a run, and none below {root} has that name{hint}")


def load_experiment(text: str, scale: str) -> Experiment:
    """From a YAML file, or a study's arm written as STUDY:ARM."""
    from saltus.experiment import Experiment

    study, colon, arm = text.partition(":")
    if colon and not Path(text).exists() and "/" not in text:
        from saltus.studies import find_study

        arms = find_study(study).recipe(chosen_scale(scale))
        if arm not in arms:
            raise SaltusError(f"{text}: {unknown('arm', arm, arms)}")
        return arms[arm]
    if not Path(text).is_file():
        raise SaltusError(f"{text}: no such file; give a YAML file, or STUDY:ARM of a study")
    return Experiment.load(text)


def value_of(text: str, where: str) -> Any:
    """A value written as YAML: 3, 1e-3, true, null, [1, 2], {kind: adam, learning_rate: 1e-3}."""
    try:
        return with_numbers(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise SaltusError(
            f"{where}: '{text}' is not YAML: {' '.join(str(error).split())}"
        ) from None


def assignment(text: str, option: str) -> tuple[str, str]:
    """'a.b=c' as ('a.b', 'c')."""
    field, equals, value = text.partition("=")
    if not equals or not field.strip():
        raise SaltusError(
            f"{option}: '{text}' is no assignment: write FIELD=VALUE, as in steps=100"
        )
    return field.strip(), value


def settings(texts: list[str]) -> dict[str, Any]:
    """The --set options: dotted fields and their values."""
    pairs = [assignment(text, "--set") for text in texts]
    return {field: value_of(value, f"--set {field}") for field, value in pairs}


def variations(texts: list[str]) -> dict[str, list[Any]]:
    """The --vary options: dotted fields and lists of values."""
    found = {}
    for text in texts:
        field, value = assignment(text, "--vary")
        values = value if value.lstrip().startswith("[") else f"[{value}]"
        found[field] = value_of(values, f"--vary {field}")
    return found
