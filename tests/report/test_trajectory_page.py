"""The page of a trajectory: what its figures hold, whatever the series is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from saltus.integrations.attention_saturation import (
    AttentionSaturation,
    Heads,
    StackSaturation,
)
from saltus.report.tables.record import Table
from saltus.report.trajectory import (
    TrajectoryReport,
    trajectory_figures,
    write_trajectory_report,
)
from saltus.report.trajectory_growth import encoder_of, growth_of, law_text
from saltus.trajectories import Finding, Trajectory, analyse, find_series

SHAPES = {"embeddings.weight": (6, 4), "blocks.0.mlp.input.weight": (8, 4)}
SHAPES |= {"blocks.1.mlp.input.weight": (8, 4), "readout.weight": (6, 4)}


def trajectory(folder: Path, steps: list[int], law=np.sqrt, name: str = "step-{}") -> Trajectory:
    """Every tensor is its direction times 1 + law(step)."""
    going = torch.Generator().manual_seed(0)
    ways = {key: torch.randn(shape, generator=going).double() for key, shape in SHAPES.items()}
    paths = []
    for step in steps:
        paths.append(folder / f"{name.format(step)}.safetensors")
        save_file({key: way * (1 + law(step)) for key, way in ways.items()}, paths[-1])
    return analyse(find_series(paths, in_given_order="step" not in name))


def saturation(name: str, layers: int = 3, length: float = 20.0) -> AttentionSaturation:
    table = np.linspace(1, length / 2, 2 * layers).reshape(layers, 2)
    heads = Heads("layers", True, length, table, table, table / length, table)
    stack = StackSaturation("layers", 1.0, np.linspace(0.2, 0.9, layers))
    return AttentionSaturation(
        name, "GPT2Model", "scale", 1000.0, 2, 40, 0, (stack,), (heads,), 0.1
    )


def titles(found: TrajectoryReport) -> list[str]:
    return [each.title for each in trajectory_figures(found)]


def cells(table: object) -> dict[str, list[str]]:
    assert isinstance(table, Table)
    return {row.label: [cell.text for cell in row.cells] for row in table.rows}


def test_the_law_of_exact_growth_is_found(tmp_path):
    found = growth_of(trajectory(tmp_path, list(range(0, 4000, 100))))
    assert found.exponent is not None and found.choice is not None
    assert found.exponent.estimate == pytest.approx(0.5, abs=1e-3)
    assert float(found.fits["root"].r_squared) == pytest.approx(1)
    assert found.choice.law == "root" and law_text(found.choice) == "√t"
    assert list(found.fits) == ["root", "linear", "fourth-root", "exponential"]


@pytest.mark.parametrize(
    ("steps", "name", "reason"),
    [
        ([1, 2, 3], "step-{}", "steps: 4 or more of them, rising, from 0 on, are needed"),
        ([1, 2, 3, 4], "step-{}", "too few checkpoints for an exponent with an interval"),
        ([0, 1, 2, 3, 4, 5, 6, 7], "part{}", "the names of the checkpoints have no steps"),
    ],
    ids=["three", "four", "positions"],
)
def test_why_there_is_no_law(tmp_path, steps, name, reason):
    found = trajectory(tmp_path, steps, name=name)
    assert growth_of(found).reason == reason
    table = trajectory_figures(TrajectoryReport(found, (), growth_of(found)))[-2]
    assert table.caption.startswith(f"Not fitted: {reason}.")


def test_the_figures_and_tables_hold_the_numbers(tmp_path):
    one = trajectory(tmp_path, list(range(0, 1000, 100)))
    finding = Finding("duplicated", ("step-0", "step-100"), (0, 1100), "the same weights", {})
    several = [saturation("random weights"), saturation(one.checkpoints[-1])]
    found = TrajectoryReport(one, (finding,), growth_of(one), several, "saltus analyse x")
    figures = {each.title: each for each in trajectory_figures(found)}
    assert list(figures) == [
        "Norm growth", "Directions and steps", "Growth by module", "Growth by layer (M4)",
        "Checkpoints", "The law of growth", "Audit", "Saturation by layer",
        "Attended positions by head", "Head types",
    ]  # fmt: skip
    rows = cells(figures["Checkpoints"])
    assert list(rows) == [f"{step:,}" for step in one.steps.tolist()]
    assert float(rows["900"][0]) == pytest.approx(encoder_of(one).norm[-1], rel=1e-5)
    assert rows["0"][1:4] == ["–", "–", "–"] and rows["900"][1] == "1"
    assert cells(figures["Audit"]) == {"duplicated": ["0, 1,100", "the same weights"]}
    types = cells(figures["Head types"])
    assert types["random weights, layers"] == types["900, layers"]
    assert sum(map(int, types["900, layers"][:3])) == 6
    by_layer = figures["Growth by layer (M4)"]
    assert by_layer.maps[0].values[:, -1] == pytest.approx(np.full(2, 31.0))
    grown = figures["Norm growth"].panels[0]
    assert [each.label for each in grown.references] == ["√t", "t"]
    page = write_trajectory_report(found, tmp_path / "page.html").read_text()
    assert all(f"<h3>{title}</h3>" in page for title in figures)
    assert page.index("<h3>Audit</h3>") < page.index("<h3>Norm growth</h3>")
    assert "saltus analyse x" in page and "http" not in page.split("<main>")[1].split("</main>")[0]


def test_one_checkpoint_and_short_texts(tmp_path):
    one = trajectory(tmp_path, [5])
    found = TrajectoryReport(one, (), growth_of(one), [saturation("step-5", length=8.0)])
    assert titles(found)[:3] == ["Checkpoints", "The law of growth", "Audit"]
    assert cells(trajectory_figures(found)[-1])["step-5, layers"][:3] == ["–"] * 3
    assert "Nothing was found" in write_trajectory_report(found, tmp_path / "a.html").read_text()


def test_what_is_not_finite_or_zero_is_drawn_all_the_same(tmp_path):
    for law in (lambda step: np.nan if step == 3 else float(step), lambda step: -1.0):
        one = trajectory(tmp_path, list(range(1, 9)), law)
        found = TrajectoryReport(one, (), growth_of(one))
        reason = "norms: a step or a norm is not finite: leave it out"
        assert found.growth.reason in (reason, "the norm does not change")
        write_trajectory_report(found, tmp_path / "page.html")


def test_many_checkpoints_and_groups_are_thinned(tmp_path):
    one = trajectory(tmp_path, list(range(1, 120)))
    figures = {each.title: each for each in trajectory_figures(
        TrajectoryReport(one, (), growth_of(one), [saturation(name) for name in one.checkpoints])
    )}  # fmt: skip
    assert figures["Growth by layer (M4)"].maps[0].values.shape == (2, 40)
    assert figures["Saturation by layer"].maps[0].values.shape == (3, 40)
    assert len(figures["Checkpoints"].rows) == 119


def test_an_exponent_at_the_border_says_so(tmp_path):
    found = growth_of(trajectory(tmp_path, list(range(1, 400, 10)), np.log))
    assert found.at_border and found.choice is not None and found.choice.best == "logarithm"
    one = trajectory(tmp_path, list(range(1, 400, 10)), np.log)
    table = trajectory_figures(TrajectoryReport(one, (), found))[-2]
    assert table.caption.endswith("p is at the border of the exponents looked at, 0.02 to 3.")
