"""The page of `saltus analyse`: a series of checkpoints, how it grows, turns, and what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from saltus.integrations.attention_saturation import AttentionSaturation
from saltus.report.compose import panel
from saltus.report.figure import Figure, Panel, Reference
from saltus.report.heat_maps.record import HeatMaps, heat_map, heat_maps
from saltus.report.kinds import AnyFigure, draw_any
from saltus.report.markup import Markup, tag
from saltus.report.origin import command as command_block
from saltus.report.page import page
from saltus.report.parts import block
from saltus.report.save import save
from saltus.report.tables.record import Cell, Row, Table
from saltus.report.text import count, duration
from saltus.report.trajectory_growth import WRITTEN, Growth, encoder_of, growth_table, number_cell
from saltus.report.trajectory_heads import (
    ONE_RUN,
    attended_figure,
    head_table,
    saturation_figure,
    some,
)
from saltus.trajectories import Finding, Trajectory

BETWEEN = "Steps are between neighbouring checkpoints, and not those of the optimiser."
MOST_CURVES = 7  # groups of one panel: as many as there are colours


@dataclass(frozen=True)
class TrajectoryReport:
    """What was found of one series. `saturation`: by checkpoint, in the series' order."""

    trajectory: Trajectory
    findings: Sequence[Finding]
    growth: Growth
    saturation: Sequence[AttentionSaturation] = ()
    command: str = ""


def write_trajectory_report(found: TrajectoryReport, path: Path) -> Path:
    """One self-contained HTML file."""
    return save(path, page("Saltus: a trajectory", _section(found)).encode())


def trajectory_figures(found: TrajectoryReport) -> list[AnyFigure]:
    """Every figure of the page, in its order."""
    several = len(found.trajectory.steps) > 1
    figures: list[AnyFigure] = []
    if several:
        figures += [_growth_figure(found), _direction_figure(found), _module_figure(found)]
        figures += [each for each in [_block_figure(found)] if each]
    figures += [_checkpoint_table(found), growth_table(found.growth), _audit_table(found)]
    if found.saturation:
        steps = dict(zip(found.trajectory.checkpoints, _steps(found), strict=True))
        named = [(steps.get(each.checkpoint, each.checkpoint), each) for each in found.saturation]
        figures += [saturation_figure(named), attended_figure(named), head_table(named)]
    return figures


def _section(found: TrajectoryReport) -> Markup:
    trajectory = found.trajectory
    first, last = trajectory.steps[[0, -1]].tolist()
    facts = [
        ("Checkpoints", count(len(trajectory.checkpoints), "checkpoint")),
        ("Steps", f"{first:,} to {last:,}" if trajectory.numbered else "positions in the series"),
        ("Parameters", f"{sum(each.numel for each in trajectory.parameters):,}"),
        ("Read", f"{trajectory.bytes_read / 1e6:,.1f} MB in {duration(trajectory.seconds)}"),
        ("Audit", count(len(found.findings), "finding")),
    ]
    head = tag(
        "header",
        tag("p", "A trajectory", class_="eyebrow"),
        tag("h2", "How do the weights grow and turn, and are these the checkpoints they claim?"),
        tag("dl", [tag("div", tag("dt", name), tag("dd", text)) for name, text in facts]),
    )
    figures = trajectory_figures(found)
    audit = [each for each in figures if each.title == AUDIT]
    others = [each for each in figures if each.title != AUDIT]
    return tag(
        "section",
        head,
        [block(each.title, draw_any(each)) for each in (*audit, *others)],
        block("Run it again", command_block(found.command)) if found.command else None,
        class_="study",
    )


def _growth_figure(found: TrajectoryReport) -> Figure:
    trajectory = found.trajectory
    steps, encoder = trajectory.steps, encoder_of(trajectory)
    panels = [
        panel(
            "Norm of the encoder (M1)",
            [("encoder", steps, encoder.norm)],
            "‖θ‖",
            x_label=_x_label(trajectory),
            references=_references(found),
        ),
        _panel(trajectory, "All learned parameters (M2)", "all", trajectory.total.norm, "‖θ‖"),
    ]
    columns = trajectory.mean_column_norm
    if np.isfinite(columns).any():
        title = "Mean column of the linear maps (M3)"
        panels.append(_panel(trajectory, title, "column", columns, "norm"))
    note = " Dashed: least squares of a law of the step." if panels[0].references else ""
    return Figure("Norm growth", tuple(panels), f"{ONE_RUN}{note}")


def _references(found: TrajectoryReport) -> list[Reference]:
    x = found.trajectory.steps.astype(np.float64)
    dense = np.linspace(x[0], x[-1], 120)
    laws = {"root": np.sqrt(dense), "linear": dense}
    fits = found.growth.fits
    return [
        Reference(WRITTEN[law], dense, float(fits[law].slope) * t + float(fits[law].intercept))
        for law, t in laws.items()
        if law in fits
    ]


def _direction_figure(found: TrajectoryReport) -> Figure:
    trajectory, course = found.trajectory, encoder_of(found.trajectory)
    panels = (
        _panel(trajectory, "Direction (M7)", "cosine", course.direction, "cos(θₜ, θₜ₊₁)"),
        _panel(trajectory, "Alignment (M8)", "cosine", course.alignment, "cos(δₜ, θₜ)"),
        _panel(trajectory, "Step between checkpoints (M9)", "step", course.step, "‖δₜ‖"),
    )
    account = course.accounting
    shares = ""
    if np.isfinite(account.cross_share):
        each = (account.squared_steps_share, account.cross_share)
        squares, cross = (f"{100 * share:.0f}\u00a0%" for share in each)
        shares = (
            f" Of the growth of ‖θ‖², squared steps are {squares}, the cross term {cross} (M10)."
        )
    return Figure("Directions and steps", panels, f"{ONE_RUN} {BETWEEN}{shares}")


def _module_figure(found: TrajectoryReport) -> Figure:
    trajectory = found.trajectory
    groups = list(trajectory.groups.items())
    order = np.argsort([-each.norm[-1] if np.isfinite(each.norm[-1]) else 0 for _, each in groups])
    kept = [groups[place] for place in sorted(order[:MOST_CURVES].tolist())]
    steps, label = trajectory.steps, _x_label(trajectory)
    norms = [(name, steps, each.norm) for name, each in kept]
    turned = [(name, steps[1:], each.direction) for name, each in kept]
    positive = all(bool((norm > 0).all()) for _, _, norm in norms)
    left = len(groups) - len(kept)
    note = f" The {MOST_CURVES} groups that end largest of {len(groups)}." if left > 0 else ""
    panels = (
        panel("Norm", norms, "‖θ‖", x_label=label, log=positive),
        panel("Direction", turned, "cos(θₜ, θₜ₊₁)", x_label=label),
    )  # fmt: skip
    return Figure("Growth by module", panels, f"{ONE_RUN}{note}")


def _block_figure(found: TrajectoryReport) -> HeatMaps | None:
    trajectory = found.trajectory
    blocks = trajectory.blocks
    if not blocks:
        return None
    places = some(len(trajectory.steps))
    norms = np.array([each.norm for each in blocks.values()])
    first = np.where(norms[:, :1] > 0, norms[:, :1], np.nan)
    grown = (norms / first)[:, places]
    turned = np.array([each.direction for each in blocks.values()])
    between = some(turned.shape[1])
    names = _steps(found)
    maps = [
        heat_map("Norm over its first", grown, list(blocks), [names[p] for p in places],
                 x_label="step", y_label="layer"),
        heat_map("Direction cos(θₜ, θₜ₊₁)", turned[:, between], list(blocks),
                 [names[p + 1] for p in between], x_label="step", y_label="layer"),
    ]  # fmt: skip
    return heat_maps("Growth by layer (M4)", maps, ONE_RUN, shared=False)


def _checkpoint_table(found: TrajectoryReport) -> Table:
    trajectory, course = found.trajectory, encoder_of(found.trajectory)
    names = _steps(found)
    rows = []
    for place, name in enumerate(trajectory.checkpoints):
        before = [course.direction, course.alignment, course.step]
        values = [float(each[place - 1]) if place else np.nan for each in before]
        cells = [
            number_cell(float(course.norm[place]), 6),
            *(number_cell(value, 4) for value in values),
        ]
        rows.append(Row(names[place], (*cells, Cell(name))))
    columns = ("norm", "direction", "alignment", "step length", "checkpoint")
    return Table(
        "Checkpoints",
        columns,
        tuple(rows),
        f"Direction, alignment and step: from the checkpoint before. {ONE_RUN} {BETWEEN}",
        corner="step",
    )


AUDIT = "Audit"


def _audit_table(found: TrajectoryReport) -> Table:
    rows = [
        Row(each.kind, (Cell(", ".join(f"{step:,}" for step in each.steps)), Cell(each.text)))
        for each in found.findings
    ]
    caption = (
        "Told from the weights alone." if rows else "Nothing was found from the weights alone."
    )
    return Table(AUDIT, ("steps", "what"), tuple(rows), caption, corner="kind")


def _panel(trajectory: Trajectory, title: str, label: str, values: np.ndarray, unit: str) -> Panel:
    steps = trajectory.steps[len(trajectory.steps) - len(values) :]  # of a pair, the later one
    return panel(title, [(label, steps, values)], unit, x_label=_x_label(trajectory))


def _x_label(trajectory: Trajectory) -> str:
    return "training step" if trajectory.numbered else "position in the series"


def _steps(found: TrajectoryReport) -> list[str]:
    return [f"{step:,}" for step in found.trajectory.steps.tolist()]
