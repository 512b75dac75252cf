"""`saltus look`: what instruments say of a run afterwards, on the checkpoints that it kept."""

from __future__ import annotations

import json as text
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saltus.cli.inputs import Json, Root, RunName, find_run, value_of
from saltus.cli.output import count, interval_text, print_json, say
from saltus.errors import SaltusError

if TYPE_CHECKING:
    from numpy import ndarray

    from saltus.instruments import Instrument
    from saltus.runs import Run

LISTED = 12  # an array of at most so many numbers is printed whole


def look(
    name: RunName,
    specs: Annotated[
        list[str],
        typer.Option("--read", metavar="SPEC", help="A kind, an instrument as YAML, or a file."),
    ],
    step: Annotated[int | None, typer.Option(metavar="N", help="A kept step [the last].")] = None,
    donor: Annotated[
        str | None,
        typer.Option(metavar="STEP|RUN:STEP", help="Another checkpoint, whose parameters mix in."),
    ] = None,
    member: Annotated[
        list[int] | None, typer.Option(metavar="K", help="Only this member; repeat for more.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="cpu|cuda", help="[where the run was trained]")
    ] = None,
    root: Root = Path("runs"),
    json: Json = False,
) -> None:
    """Read a checkpoint of a run with any instruments.

    Also with those that it was not trained with, and those that mix two checkpoints. A scalar is
    shown as its mean over members with a 95 % interval, an array as its means.

    \b
    Examples:
      saltus look runs/my-experiment --read head-ablation
      saltus look runs/my-experiment --step 400 \\
        --read '{kind: activation-patching, sweep: layers}' --read copy-check
      saltus look runs/my-experiment --read component-switching --donor 400
    """
    from saltus.training.revisit import revisit

    run = find_run(name, root)
    instruments = [part for each in specs for part in _instruments(each)]
    for chosen in member or []:
        if not 0 <= chosen < len(run.members):
            raise SaltusError(f"--member: {chosen} is not allowed: 0 to {len(run.members) - 1}")
    members = sorted(set(member)) if member else list(range(len(run.members)))
    given = _donor(donor, run, root, instruments)
    found = revisit(run, instruments, step, given, members, device)
    at = run.checkpoints()[-1] if step is None else step
    document = {
        "run": str(run.path),
        "step": at,
        "donor": donor,
        "instruments": [part.model_dump(mode="json") for part in instruments],
        "members": [
            {k: run.members[m][k] for k in ("member", "seed", "overrides")} for m in members
        ],
        "readings": _readings(found, [run.members[m]["overrides"] for m in members]),
    }
    if json:
        print_json(document)
    else:
        _show(document)


def _instruments(spec: str) -> list[Instrument]:
    """One --read: a kind, YAML, or a file with one instrument or a list of them."""
    from saltus.instruments import Instrument

    where, value = "--read", spec
    if Path(spec).is_file():
        where = spec
        try:
            value = Path(spec).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SaltusError(f"{spec}: cannot be read: {error}") from None
    elif spec.endswith((".yaml", ".yml")):
        raise SaltusError(f"--read: {spec}: no such file")
    parsed = value_of(value, where)
    try:
        return [
            Instrument.parse(each) for each in (parsed if isinstance(parsed, list) else [parsed])
        ]
    except ValueError as error:
        raise SaltusError(f"{where}: {error}") from None


def _donor(
    spec: str | None, run: Run, root: Path, instruments: list[Instrument]
) -> Mapping[str, ndarray] | None:
    """The parameters that --donor names."""
    from saltus.training.revisit import experiment_of

    task = experiment_of(run).task
    mixing = [part.kind for part in instruments if part.needs(task).donor]
    if spec is None and mixing:
        raise SaltusError(f"--donor: required for {mixing[0]}: STEP of the same run, or RUN:STEP")
    if spec is None:
        return None
    if not mixing:
        raise SaltusError("--donor: none of the instruments mixes two checkpoints")
    other, _, step = spec.rpartition(":")
    if not step.isdecimal():
        raise SaltusError(f"--donor: '{spec}' is not allowed: STEP of the same run, or RUN:STEP")
    return (find_run(other, root) if other else run).checkpoint(int(step))


def _readings(found: Mapping[str, ndarray], overrides: list[dict[str, Any]]) -> list[dict]:
    """Every name with its values and, for each setting, mean and interval over its members."""
    from saltus.transitions import mean_interval

    settings: dict[str, list[int]] = {}
    for row, each in enumerate(overrides):
        settings.setdefault(text.dumps(each), []).append(row)
    readings = []
    for name, values in found.items():
        groups = []
        for setting, rows in settings.items():
            group = {"setting": text.loads(setting), "mean": _mean(values[rows])}
            if values.ndim == 1:
                interval = mean_interval(values[rows])
                keys = {"mean": "estimate", "low": "low", "high": "high", "seeds": "count"}
                group |= {key: getattr(interval, field) for key, field in keys.items()}
            groups.append(group)
        readings.append(
            {"name": name, "shape": list(values.shape[1:]), "settings": groups, "values": values}
        )
    return readings


def _mean(values: ndarray) -> ndarray:
    """The mean over the members whose value is finite: a diverged one has none."""
    import numpy as np

    finite = np.isfinite(values)
    some = finite.sum(axis=0)
    total = np.where(finite, values, 0).sum(axis=0, dtype=np.float64)
    return np.where(some > 0, total / np.maximum(some, 1), np.nan)


def _show(document: dict[str, Any]) -> None:
    mixed = f", mixed with {document['donor']}" if document["donor"] else ""
    over = count(len(document["members"]), "member")
    say(f"{document['run']} at step {document['step']}{mixed}, {over}")
    scalars, arrays = [("reading", "mean [95 % interval]", "")], [("array", "shape", "mean")]
    for each in document["readings"]:
        for group in each["settings"]:
            setting = ", ".join(f"{key} = {value}" for key, value in group["setting"].items())
            if each["shape"]:
                shape = " x ".join(map(str, each["shape"]))
                mean = "  ".join(filter(None, (_brief(group["mean"]), setting)))
                arrays.append((each["name"], shape, mean))
            else:
                scalars.append((each["name"], _interval(group), setting))
    for rows in (scalars, arrays):
        if len(rows) > 1:
            say()
            _aligned(rows)


def _aligned(rows: list[tuple[str, str, str]]) -> None:
    """Lines that are never folded: names are long, and people copy them."""
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    for name, middle, last in rows:
        say(f"{name:<{first}}  {middle:<{second}}  {last}".rstrip())


def _interval(group: dict[str, Any]) -> str:
    """The mean with its interval; alone where one member gives none."""
    from saltus.transitions import Interval

    if group["seeds"] < 2:
        return f"{group['mean']:.4g}"
    return interval_text(Interval(*(group[key] for key in ("mean", "low", "high", "seeds"))))


def _brief(values: ndarray) -> str:
    """A small array whole, a larger one by its range."""
    if values.size <= LISTED:
        return " ".join(f"{value:.3g}" for value in values.ravel().tolist())
    return f"{values.min():.3g} to {values.max():.3g}"
