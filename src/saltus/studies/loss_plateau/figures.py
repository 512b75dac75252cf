"""The figures of the paper, each from the arms that a scale has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from saltus.report.compose import figure, mark, panel
from saltus.report.figure import Figure
from saltus.report.kinds import AnyFigure
from saltus.report.summaries import bars, bars_of, value_at
from saltus.runs import Run
from saltus.studies.claim import Arms
from saltus.studies.loss_plateau.claims import LEVELS, half_accuracy, numbers
from saltus.studies.loss_plateau.variants import STARTS

MEASURES = (
    ("Training loss", "loss/train", "nats"),
    ("Accuracy of written answers", "evaluation/accuracy", ""),
    ("COS, final states", "cosine/final", ""),
    ("Repetition ρ", "repetition/rate", ""),
    ("Attention on the oracle's keys", "attention-progress/blocks.0", ""),
    ("Entropy of answers", "answers/entropy", "nats"),
)
# Title, arms in the order of the paper's figure, and which of the measures it shows.
COMPARED = (
    ("Figures 3 and 4: attention bias",
     ("baseline", "bias-10", "bias-2.5", "bias-0.5", "bias-0.2"), (0, 1, 2, 4)),
    ("Figure 5: optimal initialisation",
     ("baseline", *(f"start-{name}" for name in STARTS), "frozen-mlp"), (0, 1, 2)),
    ("Figures 6, 11 and 12: prefix sum", ("prefix-sum",), (0, 1, 2, 5)),
    ("Figures 7, 21 and 22: repeat", ("repeat-1", "repeat-2", "repeat-4"), (0, 1, 2, 3)),
    ("Figures 9 and 10: addition", ("addition",), (0, 1, 2, 3)),
    ("Figures 13 to 16: permutation and histogram", ("permutation", "histogram"), (0, 1, 2, 3)),
    ("Figures 17 and 18: reverse and copy", ("reverse", "copy"), (0, 1, 2, 3)),
    ("Figure 19: concatenated sums", ("concat",), (0, 1, 2, 3)),
    ("Figures 26 to 29: other windows", ("baseline", "window-3"), (0, 1, 2, 4)),
    ("Figure 30: softmax attention", ("baseline", "softmax"), (0, 1, 2, 3)),
    ("Figures 31 to 40: optimisers and schedules",
     ("baseline", "sgd", "muon", "warmup", "warmup-cosine"), (0, 1, 2)),
    ("Figure 43: a bias of 10 from a later step on",
     ("bias-10", *(f"bias-10-from-{step}" for step in (25, 50, 75, 100))), (0, 2)),
)  # fmt: skip
LOCATIONS = {
    "before attention": "blocks.0.residual.pre",
    "attention output": "blocks.0.attention.output",
    "after attention": "blocks.0.residual.mid",
    "after the MLP": "blocks.0.residual.post",
    "final": "final",
}


def figures(arms: Arms) -> Iterator[AnyFigure]:
    """One after the other; arms that were not run are left out."""
    if "baseline" in arms:
        yield baseline(arms["baseline"])
    for title, names, chosen in COMPARED:
        there = [name for name in names if name in arms]
        if there and (len(there) > 1 or there[0] not in ("baseline", "bias-10")):
            yield compared(title, arms, there, chosen)
    if "baseline" in arms:
        yield from locations(arms["baseline"])
    if "probe" in arms:
        yield probe(arms["probe"])


def baseline(run: Run) -> Figure:
    """Figure 2: moving-window sum, all measures."""
    half = mark("half accuracy", numbers(half_accuracy(run)))
    panels = []
    for title, name, unit in MEASURES[:5]:
        series = run.series(name)
        levels = [("plateau", LEVELS["plateau"]), ("floor", LEVELS["floor"])]
        panels.append(panel(title, [("baseline", series.steps, series.values)], unit, marks=[half],
                            levels=levels if name == "loss/train" else ()))  # fmt: skip
    return figure("Figure 2: moving-window sum", panels)


def compared(title: str, arms: Arms, names: Sequence[str], chosen: Sequence[int]) -> Figure:
    """Some measures of some arms; an arm that does not have a measure is not in its panel."""
    panels = []
    for place in chosen:
        what, name, unit = MEASURES[place]
        found = [(arm, arms[arm].series(name)) for arm in names if name in arms[arm].names()]
        curves = [(arm, each.steps, each.values) for arm, each in found]
        if curves:
            panels.append(panel(what, curves, unit))
    return figure(title, panels)


def locations(run: Run) -> Iterator[AnyFigure]:
    """Figures 41 and 42: where the states collapse, and when."""
    known = {label: f"cosine/{site}" for label, site in LOCATIONS.items()
             if f"cosine/{site}" in run.names()}  # fmt: skip
    series = {label: run.series(name) for label, name in known.items()}
    curves = [(label, each.steps, each.values) for label, each in series.items()]
    yield figure("Figures 41 and 42: cosine of states, by place", [panel("COS", curves)])
    final = run.series("cosine/final")
    cosines = np.nan_to_num(final.values, nan=-1.0)  # where a seed diverged is not where it peaks
    peak = int(final.steps[np.median(cosines, axis=0).argmax()])
    there = {label: value_at(run, name, peak) for label, name in known.items()}
    yield bars(f"The same at step {peak}, where COS is highest", [bars_of("COS", there)])


def probe(run: Run) -> Figure:
    """Figure 20: the answer, read off the attention output."""
    tail = "/accuracy/test"
    names = [name for name in run.names() if name.startswith("mlp-probe/") and name.endswith(tail)]
    found = [(name.removeprefix("mlp-probe/").removesuffix(tail), run.series(name))
             for name in names]  # fmt: skip
    curves = [(label, each.steps, each.values) for label, each in found]
    written = run.series("evaluation/accuracy")
    return figure("Figure 20: an MLP probe of the attention output", [
        panel("Accuracy", [*curves, ("written by the model", written.steps, written.values)])
    ])  # fmt: skip
