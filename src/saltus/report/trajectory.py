"""The page of `saltus analyse`: a series of checkpoints, how it grows, turns, and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from saltus.errors import SaltusError
from saltus.integrations.attention_saturation import (
    ARGMAX_LIKE,
    TYPES,
    AttentionSaturation,
)
from saltus.report.compose import panel
from saltus.report.figure import Figure, Panel, Reference
from saltus.report.heat_maps.record import HeatMaps, heat_map, heat_maps
from saltus.report.kinds import AnyFigure, draw_any
from saltus.report.markup import Markup, tag
from saltus.report.origin import command as command_block
from saltus.report.page import page
from saltus.report.parts import block
from saltus.report.save import save
from saltus.report.tables.record import Cell, Row, Table, interval_cell
from saltus.report.text import count, duration, number
from saltus.trajectories import Finding, Trajectory
from saltus.trajectories.course import Course
from saltus.transitions.statistics.growth import BLOCKS, Choice, Fit, choose, exponent_interval, fit
from saltus.transitions.statistics.intervals import Interval

PAPER_LAWS = ("root", "linear", "fourth-root", "exponential")  # M6, the released regression's
WRITTEN = {
    "root": "√t",
    "linear": "t",
    "fourth-root": "t^¼",
    "exponential": "e⁻ᵗ",
    "logarithm": "log t",
}
ONE_RUN = "One training run, so nothing here has an interval over seeds."
BETWEEN = "Steps are between neighbouring checkpoints, and not those of the optimiser."
LAST = "In GPT-2, GPT-NeoX, Llama and T5 the last layer's state is the one after the final norm."
MOST_COLUMNS = 40  # checkpoints of a heat map; more could not be told apart
MOST_CURVES = 7  # groups of one panel: as many as there are colours


@dataclass(frozen=True)
class Growth:
    """How the encoder's norm (M1) grows with the step; `reason` is why it is not known.

    `exponent`: p of ‖θ‖ = a t^p + b; of one run, the interval is over parts of it. `fits`: r² of
    the paper's four laws (M6). `choice`: which of √t, t and log t predicts parts left out.
    """

    exponent: Interval | None = None
    fits: Mapping[str, Fit] = field(default_factory=dict)
    choice: Choice | None = None
    reason: str = ""


@dataclass(frozen=True)
class TrajectoryReport:
    """What was found of one series. `saturation`: by checkpoint, in the series' order."""

    trajectory: Trajectory
    findings: Sequence[Finding]
    growth: Growth
    saturation: Sequence[AttentionSaturation] = ()
    command: str = ""


def growth_of(trajectory: Trajectory) -> Growth:
    """Fits of the encoder's norm; by the total norm where a model has no encoder."""
    if not trajectory.numbered:
        return Growth(reason="the names of the checkpoints have no steps")
    steps, norms = trajectory.steps, encoder_of(trajectory).norm
    usable = int((steps > 0).sum())  # log t leaves the others out
    blocks = min(BLOCKS, usable // 2)
    try:
        fits = {law: fit(steps, norms, law) for law in PAPER_LAWS}
        if blocks < 3:
            return Growth(None, fits, None, "too few checkpoints for an exponent with an interval")
        exponent = exponent_interval(steps, norms, blocks=blocks)
        return Growth(exponent, fits, choose(steps, norms, blocks=blocks))
    except SaltusError as error:
        return Growth(reason=str(error))


def encoder_of(trajectory: Trajectory) -> Course:
    """M1, or the total where no parameter counts as encoder."""
    own = trajectory.encoder
    return own if own.norm.any() else trajectory.total


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
    figures += [_checkpoint_table(found), _growth_table(found), _audit_table(found)]
    if found.saturation:
        figures += [_saturation_figure(found), *_head_figures(found), _head_table(found)]
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
    places = _some(len(trajectory.steps))
    grown = np.array([each.norm / each.norm[0] for each in blocks.values()])[:, places]
    turned = np.array([each.direction for each in blocks.values()])
    between = _some(turned.shape[1])
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
        cells = [_cell(float(course.norm[place]), 6), *(_cell(value, 4) for value in values)]
        rows.append(Row(names[place], (*cells, Cell(name))))
    columns = ("norm", "direction", "alignment", "step length", "checkpoint")
    return Table(
        "Checkpoints",
        columns,
        tuple(rows),
        f"Direction, alignment and step: from the checkpoint before. {ONE_RUN} {BETWEEN}",
        corner="step",
    )


def _growth_table(found: TrajectoryReport) -> Table:
    growth, rows = found.growth, []
    if growth.exponent is not None:
        rows.append(Row("exponent p", (interval_cell(growth.exponent),)))
    for law, each in growth.fits.items():
        rows.append(Row(f"r² of {WRITTEN[law]}", (_cell(float(each.r_squared), 4),)))
    if growth.choice is not None:
        rows.append(Row("law", (Cell(law_text(growth.choice)),)))
    caption = (
        "‖θ‖ = a tᵖ + b for the encoder's norm. The interval of p is over parts of this one run, "
        "and says nothing of other seeds. The law: which of √t, t and log t predicts parts left "
        "out, where that can be told (a criterion of this project)."
    )
    if growth.reason:
        caption = f"Not fitted: {growth.reason}. {caption if rows else ''}".strip()
    return Table("The law of growth", ("",), tuple(rows), caption)


def law_text(choice: Choice) -> str:
    """'√t', or that it cannot be told."""
    best = WRITTEN[choice.best]
    return best if choice.law else f"cannot be told ({best} predicts best)"


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


def _saturation_figure(found: TrajectoryReport) -> HeatMaps:
    maps = []
    places = _some(len(found.saturation))
    shown = [found.saturation[place] for place in places]
    names = _saturation_names(found)
    for index, stack in enumerate(shown[0].stacks):
        table = np.array([each.stacks[index].layers for each in shown]).T
        layers = [str(layer + 1) for layer in range(len(table))]
        columns = [names[place] for place in places]
        maps.append(heat_map(stack.name, table, layers, columns, x_label="step", y_label="layer"))
    first = shown[0]
    note = (
        f"Mean over {first.tokens:,} tokens of {count(first.texts, 'text')} of the cosine between "
        f"a state and the one with every parameter times {first.scale:g} (M13). {LAST} {ONE_RUN}"
    )
    return HeatMaps("Saturation by layer", tuple(maps), note, span=(0.0, 1.0))


def _head_figures(found: TrajectoryReport) -> list[AnyFigure]:
    last = found.saturation[-1]
    maps = [
        heat_map(each.name, each.attended, [str(i + 1) for i in range(len(each.attended))],
                 x_label="head", y_label="layer")
        for each in last.heads
    ]  # fmt: skip
    name = _saturation_names(found)[-1]
    note = (
        f"Checkpoint {name}. Mean number of keys with a weight above 1e-5, every parameter times "
        f"{last.scale:g} (M15); texts of {last.heads[0].length:.1f} tokens. {ONE_RUN}"
    )
    return [HeatMaps("Attended positions by head", tuple(maps), note, shared=False)]


def _head_table(found: TrajectoryReport) -> Table:
    rows = []
    for name, each in zip(_saturation_names(found), found.saturation, strict=True):
        for heads in each.heads:
            counts = heads.counts
            cells = [Cell(str(counts[kind]) if counts else "–") for kind in TYPES]
            rows.append(
                Row(f"{name}, {heads.name}", (*cells, _cell(float(heads.attended.mean()), 4)))
            )
    caption = (
        f"Heads by type (M18). argmax-like: {ARGMAX_LIKE:g} attended positions or fewer; "
        "mean-like: 0.9 of T / 2 or more, and of T where a head sees all. The paper gives no "
        "thresholds. –: texts too short to tell."
    )
    return Table("Head types", (*TYPES, "attended"), tuple(rows), caption, corner="step, stack")


def _panel(trajectory: Trajectory, title: str, label: str, values: np.ndarray, unit: str) -> Panel:
    steps = trajectory.steps[len(trajectory.steps) - len(values) :]  # of a pair, the later one
    return panel(title, [(label, steps, values)], unit, x_label=_x_label(trajectory))


def _x_label(trajectory: Trajectory) -> str:
    return "training step" if trajectory.numbered else "position in the series"


def _steps(found: TrajectoryReport) -> list[str]:
    return [f"{step:,}" for step in found.trajectory.steps.tolist()]


def _saturation_names(found: TrajectoryReport) -> list[str]:
    steps = dict(zip(found.trajectory.checkpoints, _steps(found), strict=True))
    return [steps.get(each.checkpoint, each.checkpoint) for each in found.saturation]


def _some(size: int) -> list[int]:
    """Places evenly chosen, first and last among them."""
    return sorted(
        set(np.linspace(0, size - 1, min(size, MOST_COLUMNS)).round().astype(int).tolist())
    )


def _cell(value: float, digits: int) -> Cell:
    return Cell(number(value, digits), "", value)
