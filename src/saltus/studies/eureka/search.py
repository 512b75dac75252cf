"""The search for a setting in which a remedy beats softmax, as it can be run again:

    python -m saltus.studies.eureka.search [--root runs/search] [--only PANEL] [--write]

Each panel varies one thing around the quick setting, for four ways to attend. Finished runs are
used again; `--write` puts what was found beside this file, where the report takes it from.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from saltus.errors import SaltusError
from saltus.experiment import Checkpoints, Experiment
from saltus.instruments import Cadence
from saltus.instruments.evaluation import Evaluation
from saltus.report.eureka_maps import median_map, ratio_map
from saltus.report.heat_maps.record import HeatMaps
from saltus.runs import Run, list_runs
from saltus.runs.files import write_atomic
from saltus.studies.eureka.measures import moments
from saltus.studies.eureka.recipe import METHODS, recipe
from saltus.training.launch import start
from saltus.transitions.statistics.eureka import (
    EurekaMoments,
    eureka_comparison,
    eureka_summary,
)

RECORD = Path(__file__).with_name("search.json")
COMMAND = "python -m saltus.studies.eureka.search --write"
QUERIES_AND_KEYS = ["blocks.*.attention.query.*", "blocks.*.attention.key.*"]


@dataclass(frozen=True)
class Panel:
    """One thing that is varied: a row of the map for each of its values."""

    title: str
    axis: str
    rows: Mapping[str, Mapping[str, Any]]  # name of the row -> fields to set
    steps: int = 2000
    seeds: int = 8
    methods: Sequence[str] = tuple(METHODS)
    common: Mapping[str, Any] = field(default_factory=dict)


def starting(factor: float) -> dict[str, Any]:
    """Queries and keys that start larger or smaller."""
    return {
        "interventions": [{"kind": "scale-start", "groups": QUERIES_AND_KEYS, "factor": factor}]
    }


PANELS: dict[str, Panel] = {
    "rate": Panel(
        "Learning rate", "learning rate",
        {f"{rate:g}": {"optimizer.learning_rate": rate} for rate in (5e-4, 1e-3, 2e-3, 4e-3)},
    ),
}  # fmt: skip


def setting(panel: Panel, row: str, method: str) -> Experiment:
    """The quick softmax arm as a cell of a panel has it, with nothing read but the accuracy."""
    base = recipe("quick")["softmax"].model_copy(
        update={
            "name": "search",
            "steps": panel.steps,
            "seeds": tuple(range(panel.seeds)),
            "instruments": (Evaluation(cadence=Cadence(every=50), generate=False),),
            "checkpoints": Checkpoints(),
        }
    )
    changes = {**panel.common, **panel.rows[row], **METHODS[method]}
    interventions = [
        part
        for given in (panel.common, panel.rows[row], METHODS[method])
        for part in given.get("interventions", [])
    ]
    return base.override({**changes, "interventions": interventions})


def trained(experiment: Experiment, root: Path) -> Run:
    """A finished run of exactly this experiment, trained now if there is none."""
    for run in list_runs(root):
        if run.experiment_yaml == experiment.to_yaml() and run.status["state"] == "done":
            return run
    return start(experiment, root)


def record_of(panel: Panel, root: Path) -> dict[str, Any]:
    """{row: {method: the step of each seed's Eureka-moment, None where there was none}}."""
    cells: dict[str, dict[str, list[int | None]]] = {}
    for row in panel.rows:
        for method in panel.methods:
            found = moments(trained(setting(panel, row, method), root)).step
            cells.setdefault(row, {})[method] = [
                int(step) if np.isfinite(step) else None for step in found
            ]
    return {"title": panel.title, "axis": panel.axis, "steps": panel.steps, "cells": cells}


def recorded() -> dict[str, Any]:
    """What the search found when it was last written down, by panel. SaltusError: nothing was."""
    try:
        return json.loads(RECORD.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SaltusError(f"{RECORD.name}: cannot be read ({error}); made by: {COMMAND}") from None


def of_seeds(steps: Sequence[int | None], budget: int) -> EurekaMoments:
    """Recorded steps as the statistics take them; what was not recorded is nan."""
    step = np.array([np.nan if each is None else each for each in steps], dtype=float)
    unknown, last = np.full(len(step), np.nan), np.full(len(step), float(budget))
    return EurekaMoments(
        step, unknown, unknown, unknown, last, np.zeros(len(step), dtype=bool), float(budget)
    )


def maps(panel: Mapping[str, Any]) -> tuple[HeatMaps, HeatMaps]:
    """Eureka-ratio and median e* for each setting (row) and method (column) of a recorded panel."""
    table = {
        (row, method): eureka_summary(of_seeds(steps, panel["steps"]))
        for row, methods in panel["cells"].items()
        for method, steps in methods.items()
    }
    rows = list(panel["cells"])
    columns = list(dict.fromkeys(method for _, method in table))
    note = f"Budget {panel['steps']:,} steps. Recorded by `{COMMAND}`, not trained for this report."
    labels = ("method", panel["axis"])
    return (
        ratio_map(panel["title"], table, rows, columns, labels, note),
        median_map(panel["title"], table, rows, columns, labels, note),
    )


def tests(panel: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """The log-rank p of each remedy against softmax in each row, not corrected for their number."""
    found = {}
    for row, methods in panel["cells"].items():
        arms = {name: of_seeds(steps, panel["steps"]) for name, steps in methods.items()}
        if "softmax" in arms and len(arms) > 1:
            compared = eureka_comparison(arms, "softmax")
            for name, contrast in compared.contrasts.items():
                found[row, name] = contrast.test.best
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, and print every panel as it is done."""
    parser = argparse.ArgumentParser(description="The search for a setting where remedies help.")
    parser.add_argument("--root", type=Path, default=Path("runs/search"))
    parser.add_argument("--only", choices=list(PANELS), action="append")
    parser.add_argument("--write", action="store_true", help=f"write {RECORD.name}")
    given = parser.parse_args(arguments)
    console = Console()
    found = recorded() if RECORD.exists() else {}
    for name in given.only or PANELS:
        panel = found[name] = record_of(PANELS[name], given.root)
        console.print(shown(panel))
        if given.write:
            write_atomic(RECORD, (json.dumps(found, indent=1) + "\n").encode())


def shown(panel: Mapping[str, Any]) -> Table:
    """A panel in words: successes, their steps, and p against softmax."""
    p_values = tests(panel)
    methods = list(next(iter(panel["cells"].values())))
    table = Table(panel["axis"], *methods, title=f"{panel['title']}: {panel['steps']} steps")
    for row, cells in panel["cells"].items():
        texts = []
        for method, steps in cells.items():
            came = sorted(step for step in steps if step is not None)
            p = p_values.get((row, method))
            tested = "" if p is None else f", p {p:.2g}"
            texts.append(f"{len(came)}/{len(steps)}{tested}: {', '.join(map(str, came))}")
        table.add_row(row, *texts)
    return table


if __name__ == "__main__":
    main()
