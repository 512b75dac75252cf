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
from saltus.runs.files import write_atomic
from saltus.studies.eureka.measures import moments
from saltus.studies.eureka.recipe import METHODS, recipe
from saltus.studies.once import trained
from saltus.transitions.statistics.eureka import (
    EurekaMoments,
    eureka_comparison,
    eureka_summary,
)

RECORD = Path(__file__).with_name("search.json")
THREE = ("softmax", "heat-treatment", "norm-softmax")
RECORDED = ("step", "plateau", "early", "late", "last")  # what is kept of each seed
Moments = Mapping[str, list[float | None]]
COMMAND = "python -m saltus.studies.eureka.search --write"
QUERIES_AND_KEYS = ["blocks.*.attention.query.*", "blocks.*.attention.key.*"]


@dataclass(frozen=True)
class Panel:
    """One thing that is varied: a row of the map for each of its values."""

    title: str
    axis: str
    rows: Mapping[str, Mapping[str, Any]]  # name of the row -> fields to set
    arm: str = "softmax"  # the quick arm that is changed
    steps: int = 1400
    seeds: int = 4
    first_seed: int = 0
    methods: Sequence[str] = THREE
    common: Mapping[str, Any] = field(default_factory=dict)


def starting(factor: float) -> dict[str, Any]:
    """Queries and keys that start larger or smaller."""
    return {
        "interventions": [{"kind": "scale-start", "groups": QUERIES_AND_KEYS, "factor": factor}]
    }


def fixed(tau: float) -> dict[str, Any]:
    """A temperature that stays."""
    return {"interventions": [{"kind": "temperature", "value": tau}]}


def sized(width: int) -> dict[str, Any]:
    """Heads of 16 as in the quick setting; the spec's 0.02 sqrt(256 / width) as deviation."""
    deviation = 0.02 * (256 / width) ** 0.5
    return {
        "model.width": width,
        "model.heads": width // 16,
        "model.initial_deviation": round(deviation, 4),
    }


PANELS: dict[str, Panel] = {
    "stand-in": Panel(
        "Two-step masked language modelling, 20 seeds", "positions",
        {"16": {}}, arm="mlm-softmax", steps=800, seeds=20, methods=tuple(METHODS),
    ),
    # The same on seeds that chose nothing.
    "confirmation": Panel(
        "Two-step masked language modelling, 20 fresh seeds", "positions",
        {"16": {}}, arm="mlm-softmax", steps=800, seeds=20, first_seed=100,
    ),
    "fillers": Panel(
        "Two-step masked language modelling: how much filler", "positions",
        {f"{length}": {"task.length": length} for length in (5, 8, 12, 24)},
        arm="mlm-softmax", steps=800, seeds=6,
    ),
    "rate": Panel(
        "Digits: learning rate", "learning rate",
        {f"{rate:g}": {"optimizer.learning_rate": rate} for rate in (1e-3, 2e-3, 4e-3)},
    ),
    "start": Panel(
        "Digits: queries and keys that start smaller or larger", "factor",
        {f"{factor:g}": starting(factor) for factor in (0.25, 4.0)},
    ),
    "temperature": Panel(
        "Digits: a fixed temperature, 4 by default", "temperature",
        {f"{tau:g}": fixed(tau) for tau in (1.0, 2.0, 8.0, 16.0)}, methods=("softmax",),
    ),
    "fashion": Panel(
        "MNIST digits and Fashion-MNIST, patches of a whole cell", "tokens",
        {"5": {"model.patch": 28}}, common={"task.source": "mnist-5k-fashion"},
    ),
    "width": Panel(
        "Digits: width, with heads of 16", "width",
        {f"{width}": sized(width) for width in (32, 128)},
    ),
    "tokens": Panel(
        "Digits: smaller patches", "tokens and the class token", {"17": {"model.patch": 4}},
    ),
}  # fmt: skip


def setting(panel: Panel, row: str, method: str) -> Experiment:
    """The quick arm as a cell of a panel has it, with nothing read but the accuracy."""
    base = recipe("quick")[panel.arm].model_copy(
        update={
            "name": "search",
            "steps": panel.steps,
            "evaluation_batch": 512,
            "seeds": tuple(range(panel.first_seed, panel.first_seed + panel.seeds)),
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


def record_of(panel: Panel, root: Path) -> dict[str, Any]:
    """{row: {method: each seed's moments}}, in steps, None where there was none."""
    cells: dict[str, dict[str, Moments]] = {}
    for row in panel.rows:
        for method in panel.methods:
            found = moments(trained(setting(panel, row, method), root))
            cells.setdefault(row, {})[method] = {
                name: [float(at) if np.isfinite(at) else None for at in getattr(found, name)]
                for name in RECORDED
            }
    return {"title": panel.title, "axis": panel.axis, "steps": panel.steps, "cells": cells}


def recorded() -> dict[str, Any]:
    """What the search found when it was last written down, by panel. SaltusError: nothing was."""
    try:
        return json.loads(RECORD.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SaltusError(f"{RECORD.name}: cannot be read ({error}); made by: {COMMAND}") from None


def of_seeds(cell: Moments, budget: float) -> EurekaMoments:
    """Recorded moments as the statistics take them."""
    moments = {
        name: np.array([np.nan if at is None else at for at in cell[name]], dtype=float)
        for name in RECORDED
    }
    pending = np.zeros(len(moments["step"]), dtype=bool)
    return EurekaMoments(**moments, pending=pending, budget=float(budget))


def maps(panel: Mapping[str, Any]) -> tuple[HeatMaps, HeatMaps]:
    """Eureka-ratio and median e* for each setting (row) and method (column) of a recorded panel."""
    table = {
        (row, method): eureka_summary(of_seeds(cell, panel["steps"]))
        for row, methods in panel["cells"].items()
        for method, cell in methods.items()
    }
    rows = list(panel["cells"])
    columns = list(dict.fromkeys(method for _, method in table))
    note = f"Budget {panel['steps']:,} steps. Recorded by `{COMMAND}`, not trained for this report."
    labels = ("method", panel["axis"])
    return (
        ratio_map(panel["title"], table, rows, columns, labels, note),
        median_map(panel["title"], table, rows, columns, labels, note),
    )


def p_values(panel: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """The log-rank p of each remedy against softmax in each row, not corrected for their number."""
    found = {}
    for row, methods in panel["cells"].items():
        arms = {name: of_seeds(cell, panel["steps"]) for name, cell in methods.items()}
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
    tested = p_values(panel)
    methods = list(next(iter(panel["cells"].values())))
    table = Table(panel["axis"], *methods, title=f"{panel['title']}: {panel['steps']} steps")
    for row, cells in panel["cells"].items():
        texts = []
        for method, cell in cells.items():
            came = sorted(round(step) for step in cell["step"] if step is not None)
            p = tested.get((row, method))
            said = "" if p is None else f", p {p:.2g}"
            texts.append(f"{len(came)}/{len(cell['step'])}{said}: {', '.join(map(str, came))}")
        table.add_row(row, *texts)
    return table


if __name__ == "__main__":
    main()
