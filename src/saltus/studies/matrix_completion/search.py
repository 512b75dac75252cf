"""The search for a quick setting, as it can be run again:

    python -m saltus.studies.matrix_completion.search [--root runs/search]

Every setting that was tried, against the one that became the quick scale's leap: how long L_mask
stays on its plateau, and how suddenly it leaves it. Finished runs are used again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from saltus.experiment import Checkpoints, Experiment
from saltus.instruments import Cadence
from saltus.instruments.evaluation import Evaluation
from saltus.runs import Run
from saltus.studies.matrix_completion.measures import MASKED, task_of
from saltus.studies.matrix_completion.recipe import recipe
from saltus.studies.once import trained
from saltus.transitions import first_crossing

STEPS, SEEDS = 1000, (0, 1)
UNIFORM = {"task.factors": "uniform"}
# The spec's toys first; then one change after another.
SETTINGS: dict[str, dict[str, Any]] = {
    "uniform on [-0.5, 1], 1e-3": {
        **UNIFORM, "task.low": -0.5, "task.decimals": 1, "batch": 64,
        "optimizer.learning_rate": 1e-3,
    },
    "uniform on [-0.5, 1], 3e-3": {
        **UNIFORM, "task.low": -0.5, "task.decimals": 1, "batch": 64,
        "optimizer.learning_rate": 3e-3,
    },
    "uniform on [-0.2, 1]": {**UNIFORM, "task.low": -0.2, "task.decimals": 1},
    "uniform on [-0.2, 1], p = 0.15": {
        **UNIFORM, "task.low": -0.2, "task.decimals": 1, "task.mask_probability": 0.15,
    },
    "uniform on [-0.2, 1], 4 x 4": {
        **UNIFORM, "task.low": -0.2, "task.decimals": 1, "task.rows": 4, "task.columns": 4,
    },
    "uniform on [0, 1]": {**UNIFORM, "task.low": 0.0, "task.decimals": 1},
    "signs: -1 or 1": {"task.low": -1.0},
    "0.25 or 1": {"task.low": 0.25},
    "0 or 1": {"task.low": 0.0},
    "-0.5 or 1": {"task.low": -0.5},
    "-0.5 or 1, 1e-3": {"task.low": -0.5, "optimizer.learning_rate": 1e-3},
    "-0.6 or 1": {"task.low": -0.6},
    "-0.7 or 1, 3e-3": {"optimizer.learning_rate": 3e-3},
    "-0.7 or 1, deviation 0.02": {"model.initial_deviation": 0.02},
    "-0.7 or 1 (chosen)": {},
}  # fmt: skip


def setting(changes: dict[str, Any]) -> Experiment:
    """The quick leap with some changes, two seeds, and nothing read but the losses."""
    base = recipe("quick")["leap"].model_copy(
        update={
            "name": "search",
            "steps": STEPS,
            "seeds": SEEDS,
            "instruments": (Evaluation(cadence=Cadence(every=20), samples=256),),
            "checkpoints": Checkpoints(),
        }
    )
    return base.override(changes) if changes else base


def row(run: Run) -> list[str]:
    """The plateau's end, half, a third, and the end, each as the seeds have them."""
    series, variance = run.series(MASKED), task_of(run).variance
    values = series.values / variance
    above = [series.steps[np.flatnonzero(each > 0.9)[-1]] for each in values]
    halves, thirds = (
        first_crossing(series.steps, values, level, above=False) for level in (1 / 2, 1 / 3)
    )
    last = values[:, -5:].mean(1)
    cells = [map(str, above), map(_step, halves), map(_step, thirds), (f"{v:.2f}" for v in last)]
    return [", ".join(each) for each in cells]


def _step(step: int | None) -> str:
    return "never" if step is None else str(step)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, and print the table as it grows."""
    parser = argparse.ArgumentParser(description="The search for a quick setting.")
    parser.add_argument("--root", type=Path, default=Path("runs/search"))
    given = parser.parse_args(arguments)
    table = Table("setting", "last > 0.9", "half", "third", "at the end")
    for name, changes in SETTINGS.items():
        table.add_row(name, *row(trained(setting(changes), given.root)))
    console = Console()
    console.print(table)
    console.print(f"L_mask over Var(X); {len(SEEDS)} seeds, {STEPS} steps each.")


if __name__ == "__main__":
    main()
