"""Saturation by layer and where heads look, over a series of checkpoints: figures and a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saltus.integrations.attention_saturation import ARGMAX_LIKE, TYPES, AttentionSaturation
from saltus.report.heat_maps.record import HeatMaps, heat_map
from saltus.report.tables.record import Cell, Row, Table
from saltus.report.text import count
from saltus.report.trajectory_growth import number_cell

ONE_RUN = "One training run, so nothing here has an interval over seeds."
LAST = "In GPT-2, GPT-NeoX, Llama and T5 the last layer's state is the one after the final norm."
MOST_COLUMNS = 40  # checkpoints of a heat map; more could not be told apart

Named = Sequence[tuple[str, AttentionSaturation]]  # the step of each in words


def saturation_figure(found: Named) -> HeatMaps:
    """M13: layers by checkpoints, a map for each stack."""
    maps = []
    shown = [found[place] for place in some(len(found))]
    columns = [name for name, _ in shown]
    for index, stack in enumerate(shown[0][1].stacks):
        table = np.array([each.stacks[index].layers for _, each in shown]).T
        layers = [str(layer + 1) for layer in range(len(table))]
        maps.append(heat_map(stack.name, table, layers, columns, x_label="step", y_label="layer"))
    first = shown[0][1]
    note = (
        f"Mean over {first.tokens:,} tokens of {count(first.texts, 'text')} of the cosine between "
        f"a state and the one with {first.saturated_by} (M13). {LAST} {ONE_RUN}"
    )
    return HeatMaps("Saturation by layer", tuple(maps), note, span=(0.0, 1.0))


def attended_figure(found: Named) -> HeatMaps:
    """M15: layers by heads of the last checkpoint, a map for each stack."""
    name, last = found[-1]
    maps = [
        heat_map(each.name, each.attended, [str(i + 1) for i in range(len(each.attended))],
                 x_label="head", y_label="layer")
        for each in last.heads
    ]  # fmt: skip
    note = (
        f"Checkpoint {name}. Mean number of keys with a weight above 1e-5, "
        f"{last.saturated_by} (M15); texts of {last.heads[0].length:.1f} tokens. {ONE_RUN}"
    )
    return HeatMaps("Attended positions by head", tuple(maps), note, shared=False)


def head_table(found: Named) -> Table:
    """M18: heads of each type, checkpoint by checkpoint and stack by stack."""
    rows = []
    for name, each in found:
        for heads in each.heads:
            counts = heads.counts
            cells = [Cell(str(counts[kind]) if counts else "–") for kind in TYPES]
            rows.append(
                Row(f"{name}, {heads.name}", (*cells, number_cell(float(heads.attended.mean()), 4)))
            )
    caption = (
        f"Heads by type (M18). argmax-like: {ARGMAX_LIKE:g} attended positions or fewer; "
        "mean-like: 0.9 of T / 2 or more, and of T where a head sees all. The paper gives no "
        "thresholds. –: texts too short to tell."
    )
    return Table("Head types", (*TYPES, "attended"), tuple(rows), caption, corner="step, stack")


def some(size: int) -> list[int]:
    """Places evenly chosen, first and last among them."""
    return sorted(
        set(np.linspace(0, size - 1, min(size, MOST_COLUMNS)).round().astype(int).tolist())
    )
