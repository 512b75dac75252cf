"""The figures: the paper's own as far as its numbers are recorded, and what retraining shows.

Figures 1 and 5 are drawn from the recorded curves of T5-base, Figure 4 from random networks,
Figures 3 and 6 and the text's saturation from models trained here, under both masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from saltus.report.bars.record import bar_panel, bars
from saltus.report.compose import figure, panel
from saltus.report.figure import Figure, Reference
from saltus.report.heat_maps.record import heat_map, heat_maps
from saltus.report.kinds import AnyFigure
from saltus.report.tables.record import Cell, Row, Table, interval_cell
from saltus.report.text import number
from saltus.runs import Run
from saltus.studies.claim import Arms
from saltus.studies.norm_growth import fig4, fixture
from saltus.studies.norm_growth.measures import (
    COLUMNS,
    NORM,
    SATURATION,
    attended,
    cells,
    choice,
    default_of,
    level,
    norms,
    rate_of,
    whole,
)
from saltus.studies.norm_growth.recipe import LANGUAGES, OPTIMIZERS, SCHEDULES
from saltus.transitions.statistics.bimodality import dip_test, sarle
from saltus.transitions.statistics.growth import exponent_interval, fit, motion_of_pairs

PLACEMENTS = {
    "fast": "pre-norm, correct mask",
    "fast-authors": "pre-norm, authors' mask",
    "post-fast": "post-norm at {rate:g}, correct mask",
    "post-fast-authors": "post-norm at {rate:g}, authors' mask",
    "post": "post-norm at {rate:g}, correct mask",
    "post-authors": "post-norm at {rate:g}, authors' mask",
    "input": "norm at the input, correct mask",
    "input-final": "norm at the input and at the end, correct mask",
}
GROWING = ("adamw", "adamw-fast", "decay", *SCHEDULES, *OPTIMIZERS)
LAWS = ("root", "linear", "logarithm")
MASKS = "The authors' mask leaves masked scores at 0, so that heads see the future."


def figures(arms: Arms) -> Iterator[AnyFigure]:
    """One after the other; what needs an arm that was not run is left out."""
    yield recorded()
    growing = {name: arms[name] for name in GROWING if name in arms}
    if growing:
        yield growth(growing)
        yield laws(growing)
        yield dynamics(growing)
    trained = {placed(name, arms[name]): arms[name] for name in PLACEMENTS if name in arms}
    if trained:
        yield saturation(trained)
        yield heads(trained)
        yield modes(trained)
        yield kept(trained)
    collapsed = {name: arms[name] for name in ("post-fast", "post-fast-authors") if name in arms}
    if collapsed:
        yield collapse(collapsed)
    yield random_networks()
    languages = {name: arms[name] for name in LANGUAGES if name in arms}
    if languages:
        yield formal(languages)
    if "grid" in arms:
        yield grid(arms["grid"])


def placed(name: str, run: Run) -> str:
    """Where an arm has its LayerNorm, at which learning rate, under which mask."""
    return PLACEMENTS[name].format(rate=rate_of(run))


def recorded() -> Figure:
    """Figures 1 and 5 from the recorded curves."""
    steps, values = fixture.STEPS.astype(float), fixture.NORMS
    motion = motion_of_pairs(values, fixture.COSINES)
    found = {name: fit(steps, values, name) for name in ("root", "linear")}
    lines = [
        Reference(f"{title}, r² {float(found[law].r_squared):.4f}", steps,
                  float(found[law].intercept) + float(found[law].slope) * regressor)
        for law, title, regressor in (("root", "√t", np.sqrt(steps)), ("linear", "t", steps))
    ]  # fmt: skip
    between = steps[1:]
    return figure("Figures 1 and 5 of the paper: T5-base", [
        panel("Norm of encoder and decoder", [("T5-base", steps, values)], references=lines),
        panel("Direction", [("T5-base", between, fixture.COSINES)], "cosine of neighbours"),
        panel("Alignment", [("T5-base", between, motion.alignment)], "cos(δ, θ)"),
        panel("Distance of neighbours", [("T5-base", between, motion.lengths)], "‖δ‖"),
    ], "Read off the vector graphics that the authors keep with their code; the checkpoints are "
       "not public. One run. Neighbours are 5,100 steps apart, the last two 4,088.")  # fmt: skip


def growth(arms: Mapping[str, Run]) -> Figure:
    """The encoder's norm over its start, optimiser by optimiser."""
    curves = []
    for name, run in arms.items():
        steps, values = norms(run)
        curves.append((name, steps, values / values[:, :1]))
    own = [each for each in curves if each[0] in ("adamw", "adamw-fast", "decay", *SCHEDULES)]
    others = [each for each in curves if each[0] in ("adamw", *OPTIMIZERS)]
    panels = [panel("Schedules of AdamW", own, "over its start"),
              panel("Optimisers", others, "over its start")]  # fmt: skip
    ways = {"adamw": "constant", "adamw-fast": "constant", "decay": "1/√t from"}
    notes = [f"{name}: {way} {rate_of(arms[name]):g}." for name, way in ways.items()
             if name in arms]  # fmt: skip
    return figure("Norm of the encoder (M1)", [each for each in panels if each.curves], *notes)


def laws(arms: Mapping[str, Run]) -> Table:
    """The √t verdict of every optimiser and schedule: exponent, and which law predicts best."""
    rows = []
    for color, (name, run) in enumerate(arms.items()):
        chosen, (steps, values) = choice(run), norms(run)
        values = values[whole(values)]
        if chosen is None:  # no seed is whole, or hardly read
            continue
        later = steps[1:], values[:, 1:]
        cells_ = [
            interval_cell(exponent_interval(steps, values)),
            *(Cell(f"{float(np.mean(fit(*later, law).r_squared)):.4f}") for law in LAWS),
            Cell(chosen.law or "undecided", "" if chosen.law else f"nearest: {chosen.best}"),
        ]
        rows.append(Row(name, tuple(cells_), color))
    columns = ("Exponent p of a tᵖ + b", "r² of √t", "r² of t", "r² of log t", "Law")
    text = (
        "Exponent: least squares per seed, mean over seeds with a 95 % Student-t interval. Law: "
        "the one that best predicts blocks of steps that it has not seen, where that can be told "
        "over seeds; else undecided (docs/growth.md)."
    )
    return Table("Which law the norm grows by", columns, tuple(rows), text)


def dynamics(arms: Mapping[str, Run]) -> Figure:
    """What the single step does to the norm."""
    shown = {
        "update-cosine": ("Alignment of the step", "cos(δ, θ)"),
        "descent-cosine": ("Alignment of the gradient", "cos(-∇L, θ)"),
        "radial-share": ("Radial share of the step", "of ‖δ‖²"),
        "relative-update": ("Length of the step", "‖δ‖ / ‖θ‖"),
    }
    panels = []
    for quantity, (title, unit) in shown.items():
        series = {name: run.series(f"norm-dynamics/{quantity}") for name, run in arms.items()}
        curves = [(name, each.steps, each.values) for name, each in series.items()]
        panels.append(panel(title, curves, unit, log=quantity == "relative-update"))
    return figure("One optimiser step: outward or around", panels)


def saturation(arms: Mapping[str, Run]) -> Figure:
    """How near the last layer is to its limit, over training."""
    panels = []
    for name, title in ((SATURATION, "Parameters times 1,000"),
                        ("saturation/zeta/final", "Every head on its largest scores")):  # fmt: skip
        series = {label: run.series(name) for label, run in arms.items()}
        curves = [(label, each.steps, each.values) for label, each in series.items()]
        panels.append(panel(title, curves, "cosine of final states"))
    return figure("Saturation over training", panels, MASKS)


def heads(arms: Mapping[str, Run]) -> AnyFigure:
    """Figure 3: how many positions each saturated head attends to, sorted, over seeds."""
    drawn = []
    for name, run in arms.items():
        values, positions = attended(run)
        ordered = np.sort(values, axis=1)
        future = (positions * (positions - 1) / 2 + 1) / positions
        own = {f"head {place + 1}": ordered[:, place] for place in range(ordered.shape[1])}
        known = [("only the future", future), ("all that is visible", (positions + 1) / 2)]
        drawn.append(bar_panel(name, own, "positions", levels=known))
    note = (
        "Heads of each seed by how many positions they attend to with parameters times 1,000. The "
        "paper reads the upper mode as attention on all that is visible; it lies at what a head "
        "has that sees only the future, and is there with the authors' mask alone."
    )
    return bars("Figure 3 of the paper: positions that heads attend to", drawn, note, shared=True)


def modes(arms: Mapping[str, Run]) -> Table:
    """Are there two kinds of heads?"""
    rows = []
    for color, (name, run) in enumerate(arms.items()):
        values, _ = attended(run)
        there = whole(values)
        if not there.any():  # all seeds were lost
            continue
        values = values[there]
        pooled = dip_test(values.flatten())
        own = [float(sarle(row)) if np.ptp(row) > 0 else np.nan for row in values]
        few, many = (run.series(f"head-types/{kind}").values[there, -1].mean()
                     for kind in ("argmax-like", "mean-like"))  # fmt: skip
        exact = attended(run, "zeta")[0][there]
        finite = [each for each in own if np.isfinite(each)]
        rows.append(Row(name, (
            Cell(f"{100 * few:.0f} %"), Cell(f"{100 * many:.0f} %"),
            Cell(number(float(np.mean(finite))) if finite else "–"),
            Cell(f"{pooled.dip:.3f}", f"p {pooled.p_value:.2g}"),
            Cell(number(float(values.max())), f"ζ: {number(float(exact.max()))}"),
        ), color))  # fmt: skip
    columns = ("Argmax-like", "Mean-like", "Sarle's coefficient", "Dip", "Largest mean")
    text = (
        "Argmax-like: 5 positions or fewer; mean-like: 0.9 T / 2 or more (our spec's thresholds, "
        "the paper has none). Sarle: mean over seeds; 0.56 for a uniform law, 1 for two points. "
        "Dip: Hartigan's, heads of all seeds together, p against a uniform law; heads that attend "
        "to exactly one position are ties, which it takes for modes. ζ: exact argmax sets."
    )
    return Table("One mode or two", columns, tuple(rows), text)


def kept(arms: Mapping[str, Run]) -> AnyFigure:
    """What a saturated network still can do."""
    ways = {"as it is": "saturated/intact/accuracy", "saturated": "saturated/accuracy"}
    found = {
        way: {label: run.series(name).values[:, -1] for label, run in arms.items()}
        for way, name in ways.items()
    }
    return bars("Accuracy with every head saturated",
                [bar_panel("Next word, validation", found, "share of words")], MASKS)  # fmt: skip


def collapse(arms: Mapping[str, Run]) -> Figure:
    """Post-norm at the large rate: the loss of one constant prediction."""
    panels = []
    for name, run in arms.items():
        panels += [
            panel(placed(name, run), [_curve(run, "evaluation/loss")], "nats, validation",
                  levels=[("one constant prediction", level(run, "constant"))]),
            panel("Norms", [_curve(run, series) for series in (NORM, COLUMNS)], log=True),
        ]  # fmt: skip
    return figure("Post-norm: full saturation is collapse", panels)


def random_networks() -> Figure:
    """Figure 4, forward passes alone."""
    scales = tuple(float(c) for c in range(1, 11))
    panels = []
    for title, preset in (("Authors' mask", "authors"), ("Correct mask", "corrected")):
        curves = [
            (label, np.array(scales), fig4.curve("quick", name, preset, free, scales))
            for label, name, free in (
                ("pre-norm", "pre_norm", False), ("pre-norm, no biases", "pre_norm", True),
                ("post-norm", "control", False),
            )
        ]  # fmt: skip
        panels.append(panel(title, curves, "cosine with 1,000 θ", x_label="c", dots=True))
    return figure("Figure 4 of the paper: random networks at c θ", panels,
                  "4 layers of width 64 and not 12 of 768. No biases: truly none in the encoder, "
                  "which the released code's switch did not reach.")  # fmt: skip


def formal(arms: Mapping[str, Run]) -> Figure:
    """Formal languages, which the paper does not train on."""
    grown = []
    for name, run in arms.items():
        steps, values = norms(run)
        grown.append((name, steps, values / values[:, :1]))
    series = {name: run.series(SATURATION) for name, run in arms.items()}
    near = [(name, each.steps, each.values) for name, each in series.items()]
    return figure("Formal languages", [
        panel("Norm of the encoder", grown, "over its start"),
        panel("Saturation", near, "cosine of final states"),
    ])  # fmt: skip


def grid(run: Run) -> AnyFigure:
    """Figure 6: where the norm grows and where it falls."""
    change = cells(run)
    rates, decays = (sorted({cell[axis] for cell in change}) for axis in (0, 1))
    table: Float[ndarray, "seed row column"] = np.array(
        [[change[rate, decay] for decay in decays] for rate in rates]
    ).transpose(2, 0, 1)
    nearest = default_of(change)
    default = np.array([[(rate, decay) == nearest for decay in decays] for rate in rates])
    made = heat_map("ln of the norm at the end over its start", table, rates, decays, default,
                    x_label="weight decay", y_label="learning rate")  # fmt: skip
    title = "Figure 6 of the paper: growth by learning rate and weight decay"
    return heat_maps(title, [made], "One epoch of AdamW. Outlined: PyTorch's default, or "
                     "the nearest cell.",
                     diverging=True)  # fmt: skip


def _curve(run: Run, name: str) -> tuple[str, ndarray, ndarray]:
    series = run.series(name)
    return name, series.steps, series.values
