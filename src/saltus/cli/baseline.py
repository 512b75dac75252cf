"""`saltus baseline`: what convex optimisation makes of the matrices that a model completes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from math import floor, inf, isfinite, log10
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saltus.cli.inputs import Json, value_of, variations
from saltus.cli.output import console, print_json, say, table
from saltus.errors import FieldProblem, SaltusError, unknown

if TYPE_CHECKING:
    from rich.table import Table
    from torch import Tensor

    from saltus.baselines import Mean, Point
    from saltus.tasks.low_rank import LowRankTask

Setting = dict[str, Any]  # the fields in which a row differs from others
Row = tuple[Setting, "Point"]
NAMES = {"mask_probability": "p", "regularisation": "weight"}  # of columns


def baseline(
    task: Annotated[
        str, typer.Option(metavar="TASK", help="A kind, or a mapping as in experiments.")
    ] = "matrix-completion",
    matrices: Annotated[
        int, typer.Option(metavar="N", help="Fresh matrices for every row of the table.")
    ] = 1024,
    vary: Annotated[
        list[str] | None,
        typer.Option("--vary", metavar="FIELD=A,B,...", help="A row for each value of a field."),
    ] = None,
    regularisation: Annotated[
        str | None,
        typer.Option(metavar="L,...", help="Allow errors on observed entries; a row for each."),
    ] = None,
    method: Annotated[
        str, typer.Option(metavar="M", help="interior-point, or cvxpy: the same, slowly.")
    ] = "interior-point",
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Other matrices.")] = 0,
    json: Json = False,
) -> None:
    """How well does the least nuclear norm complete matrices?

    For each matrix X of a task, with observed entries O: the Z of least nuclear norm (the sum of
    singular values) with Z = X on O. With --regularisation L: the Z of least |Z - X|^2 / |O| on O
    plus L times the nuclear norm. The table has mean squared errors and mean norms, +- one
    standard error over matrices, and the share of matrices that have more than one solution.
    Every solution is certified by a dual one: no other is better by more than the duality gap.

    \b
    Examples:
      saltus baseline --vary mask_probability=0.1,0.2,0.3,0.4,0.5,0.6
      saltus baseline --regularisation 0.0005,0.002,0.01
      saltus baseline --task '{kind: matrix-completion, rank: 3}' --vary rows=7,10
    """
    from saltus.baselines import METHODS, measure

    if matrices < 1:
        raise SaltusError(f"--matrices: {matrices} is not allowed: 1 or more")
    if method not in METHODS:
        raise SaltusError(f"--method: {unknown('method', method, METHODS)}")
    weights = _weights(regularisation)
    tasks = _tasks(value_of(task, "--task"), variations(vary or []))
    given = value_of(task, "--task")
    tasks = _tasks(given, variations(vary or []))
    rows: list[Row] = []
    began = perf_counter()
    with _progress(len(tasks) * len(weights) * matrices) as progress:
        for setting, each in tasks:
            values, observed = _draw(each, matrices, seed)
            for weight in weights:
                named = setting | ({} if weight is None else {"regularisation": weight})
                rows.append((named, measure(values, observed, weight, method, named, progress)))
    seconds = perf_counter() - began
    if json:
        print_json(
            {
                "task": given,
                "method": method,
                "seed": seed,
                "seconds": seconds,
                "rows": [_document(setting, point) for setting, point in rows],
            }
        )
        return
    say(f"solved     {len(rows) * matrices:,} problems by {method} in {seconds:.1f} s, seed {seed}")
    say(f"certified  duality gap at most {max(point.gap for _, point in rows):.1e}")
    console().print(_table(rows, regularised=regularisation is not None))


def _tasks(given: Any, varied: dict[str, list[Any]]) -> list[tuple[Setting, LowRankTask]]:
    """Each combination of the varied fields, and the task that it makes."""
    from saltus.tasks import Task
    from saltus.tasks.low_rank import LowRankTask

    data = {"kind": given} if isinstance(given, str) else given
    found = []
    for field, values in varied.items():
        if not values:
            raise SaltusError(f"--vary {field}: no value is given")
    for values in product(*varied.values()):
        setting = dict(zip(varied, values, strict=True))
        try:
            task = Task.parse({**data, **setting} if isinstance(data, dict) else data)
        except FieldProblem as problem:
            where = ".".join(part for part in ("task", problem.path) if part)
            raise SaltusError(f"{where}: {problem.text}") from None
        if not isinstance(task, LowRankTask):
            allowed = sorted(
                kind for kind, part in Task.registry.items() if issubclass(part, LowRankTask)
            )
            raise SaltusError(
                f"task.kind: '{task.kind}' is not allowed: it has no matrices to complete; "
                f"allowed: {', '.join(allowed)}"
            )
        if task.sizes:
            sizes = list(task.sizes)
            raise SaltusError(
                f"task.sizes: {sizes} is not allowed here: give rows and columns, or vary them"
            )
        found.append((setting, task))
    return found


def _weights(text: str | None) -> list[float | None]:
    """--regularisation as numbers; [None] if it was not given."""
    if text is None:
        return [None]
    try:
        weights = [float(part) for part in text.split(",")]
    except ValueError:
        weights = [0.0]
    if not all(0 < weight < inf for weight in weights):
        raise SaltusError(
            f"--regularisation: '{text}' is not allowed: finite numbers above 0, as in 0.001,0.01"
        )
    return list(weights)


def _draw(task: LowRankTask, matrices: int, seed: int) -> tuple[Tensor, Tensor]:
    """Fresh matrices of a task as [matrix, row, column], and which entries are observed."""
    from saltus.random import Draws

    grid = task.rows, task.columns
    values, observed = task.matrices(Draws(seed, "baseline"), matrices)
    return values.unflatten(-1, grid), observed.unflatten(-1, grid)


def _document(setting: Setting, point: Point) -> dict[str, Any]:
    def mean(found: Mean) -> dict[str, float]:
        return {"mean": found.value, "standard_error": found.error}

    return {
        "setting": setting,
        "matrices": point.matrices,
        "mean_squared_error": {name: mean(found) for name, found in point.errors._asdict().items()},
        "nuclear_norm": mean(point.norm),
        "true_nuclear_norm": mean(point.true_norm),
        "matrices_with_several_solutions": point.several,
        "largest_gap": point.gap,
        "largest_residual": point.residual,
    }


def _table(rows: list[Row], regularised: bool) -> Table:
    """A row for each setting. What is missing has no table of its own: 80 columns are few."""
    fields = {NAMES.get(name, name): name for name in rows[0][0]}
    numbers = (
        ("observed", "missing", "all", "|Z|*")
        if regularised
        else (
            "missing",
            "all",
            "|Z|*",
            "|X|*",
        )
    )
    columns = (*fields, *numbers, "several")
    made = table(*columns, right=columns, padding=(0, 1, 0, 0))
    for setting, point in rows:
        means = {
            "observed": point.errors.observed,
            "missing": point.errors.missing,
            "all": point.errors.everything,
            "|Z|*": point.norm,
            "|X|*": point.true_norm,
        }
        shown = [_mean_text(means[name]) for name in numbers]
        several = f"{100 * point.several / point.matrices:.1f} %"
        made.add_row(*(f"{setting[name]}" for name in fields.values()), *shown, several)
    return made


def _mean_text(mean: Mean) -> str:
    """'0.0113±0.0005': one digit of the standard error, two where it begins with 1."""
    value, error = mean
    if not isfinite(value):
        return "-"
    if not (isfinite(error) and error > 0):
        return f"{value:.3g}"
    first = floor(log10(error))
    if 0 < abs(value) < 1e-3:
        digits = max(0, floor(log10(abs(value))) - first)
        return f"{value:.{digits}e}±{error:.0e}"
    decimals = max(0, (error < 2 * 10.0**first) - first)
    return f"{value:.{decimals}f}±{error:.{decimals}f}"


@contextmanager
def _progress(matrices: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, on stderr."""
    from rich.progress import Progress

    to = console(stderr=True)
    with Progress(console=to, transient=True, disable=not to.is_terminal) as bar:
        task = bar.add_task("matrices", total=matrices)
        yield lambda done: bar.advance(task, done)
