"""The figures of the paper, each from the arms that a scale has."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from saltus.instruments.embedding_geometry import tokens_of
from saltus.report.compose import figure, mark, panel
from saltus.report.embedding_map import embedding_map
from saltus.report.figure import Figure, Panel
from saltus.report.kinds import AnyFigure
from saltus.report.scatters.record import scatter
from saltus.report.summaries import (
    bars,
    bars_of,
    curve_against,
    heat_map_of,
    heat_maps,
    scatter_of,
    scatters,
    value_at,
)
from saltus.runs import Run
from saltus.studies.claim import Arms
from saltus.studies.matrix_completion import convex
from saltus.studies.matrix_completion.measures import MASKED, half_plateau, numbers, task_of
from saltus.studies.matrix_completion.recipe import COMPONENTS, DEPTHS, MOMENTS, WIDTHS
from saltus.studies.matrix_completion.whole_models import switched

PARTS = {"all": "evaluation/loss", "observed": "evaluation/loss/observed", "masked": MASKED}
ONE = "One seed alone, since heads have no order that seeds share."


def figures(arms: Arms) -> Iterator[AnyFigure]:
    """One after the other; what needs an arm that was not run is left out."""
    moments = MOMENTS["paper" if "base" in arms else "quick"]
    for name in dict.fromkeys((moments.plateau, moments.leap)):
        if name in arms:
            yield losses(arms[name], name)
    yield solver(arms)
    if moments.leap in arms:
        yield from inside(arms[moments.leap], moments.before)
    if all(f"only-{name}" in arms for name in COMPONENTS) and moments.leap in arms:
        yield components(arms, moments.leap)
    if "gpt" in arms:
        yield gpt(arms["gpt"])
    yield from variants(arms)


def losses(run: Run, name: str) -> Figure:
    """Figures 1 and 2: the loss and its two parts."""
    found = {label: run.series(series) for label, series in PARTS.items()}
    task = task_of(run)
    marks = [mark("half of Var(X)", numbers(half_plateau(run)))]
    whole = panel(
        "Mean squared error",
        [(label, each.steps, each.values) for label, each in found.items()],
        "squared error", log=True,
        levels=[("Var(X)", task.variance), ("p Var(X)", task.levels()["plateau"])],
        marks=marks if name != "signed" else (),
    )  # fmt: skip
    value = run.series("evaluation/mask-value")
    guess = panel("Mean |prediction| of missing entries", [("masked", value.steps, value.values)])
    return figure(f"Figures 1 and 2: {name}", [whole, guess])


def solver(arms: Arms) -> Figure:
    """Figure 3: nuclear-norm minimisation against the share of missing entries."""
    places = np.array(convex.PROBABILITIES)

    def table(read, *rest: str) -> np.ndarray:
        return np.stack([read(p, *rest) for p in places], axis=-1)

    errors = {"solver": table(convex.errors)}
    if "base" in arms:
        shares = [round(100 * p) for p in places]
        own = [value_at(arms["base"], f"on-masked-{share}/loss") for share in shares]
        errors["model"] = np.stack(own, axis=-1)
    norms = {"solution": table(convex.norms), "X": table(convex.norms, "true_norm")}
    label = "probability that an entry is missing"
    return figure(
        "Figure 3: nuclear-norm minimisation, 7 x 7, rank 2",
        [
            curve_against("Mean squared error, all entries", places, errors, x_label=label,
                          log=True),
            curve_against("Mean nuclear norm", places, norms, x_label=label, log=True),
        ],
        f"Seeds of the solver: sets of {convex.MATRICES} matrices, {convex.AT_THE_MODELS} at 0.3.",
    )  # fmt: skip


def inside(run: Run, before: int) -> Iterator[AnyFigure]:
    """Figures 4, 6 and 7, and the tables of ablation, patching and switching."""
    kinds, one = ("row", "column", "self", "observed"), [_shown(run)]
    for when, step in (("before", before), ("after", None)):
        masses = [heat_map_of(run, f"grid-attention/{kind}", kind, step=step, members=one)
                  for kind in kinds]  # fmt: skip
        yield heat_maps(f"Figure 4: where heads look, {when} the leap", masses, ONE,
                        unit="share of attention", span=(0.0, 1.0))  # fmt: skip
    lost = [
        heat_map_of(run, f"{label}/loss/masked", title, members=one)
        for label, title in (
            ("head-ablation", "uniform"), ("head-ablation-batch-mean", "batch mean"),
        )
    ]  # fmt: skip
    yield heat_maps("Ablated heads after the leap", lost, ONE, unit="L_mask", log=True)
    patched = [
        heat_map_of(run, f"activation-patching/{to}/masked", to.replace("-", " "), members=one)
        for to in ("to-clean", "to-corrupted")
    ]
    yield heat_maps("Patched heads after the leap: distance of the answer at missing entries",
                    patched, ONE, unit="squared error", log=True)  # fmt: skip
    yield bars("Components of the plateau's checkpoint in the last one", [_switched(run, before)])
    yield from _embeddings(run, *one)
    yield _probes(run)
    yield _norms(run)


def _shown(run: Run) -> int:
    """The member that stands for all where one must: the first that did not diverge."""
    return int(np.isfinite(run.series(MASKED).values[:, -1]).argmax())


def _switched(run: Run, before: int):
    scores = switched(run, before)
    found = {
        name.split("/")[1]: values
        for name, values in scores.items()
        if name.endswith("/loss/masked")
    }
    return bars_of("L_mask", found, "squared error")


def _embeddings(run: Run, member: int) -> Iterator[AnyFigure]:
    """Figure 7: token norms, components of tokens and of positions."""
    task = task_of(run)
    values = task.token_values()
    assert values is not None
    shown = values[tokens_of(task)].numpy()
    norms = value_at(run, "embedding-geometry/token/norms")
    lengths = curve_against("Norm of a token's embedding", shown, {"tokens": norms},
                            x_label="value of the token")  # fmt: skip
    yield figure("Figure 7a: token norms after the leap", [lengths])
    assert task.grid is not None
    columns = [f"column {place % task.grid[1]}" for place in range(task.cells)]
    rows = run.checkpoint()["position.weight"][member, : task.cells]
    near = embedding_map(rows, perplexity=min(30.0, task.cells / 5))
    yield scatters("Figure 7b and c: embeddings after the leap", [
        scatter_of(run, "embedding-geometry/token/coordinates", "tokens, components",
                   values=shown, names=[f"{value:g}" for value in shown], member=member),
        scatter_of(run, "embedding-geometry/position/coordinates", "positions, components",
                   kinds=columns, member=member),
        scatter("positions, t-SNE", near, kinds=columns),
    ], f"seed {run.seeds[member]}", "t-SNE shows who is near whom; its coordinates mean nothing.",
        shared=False)  # fmt: skip


def _norms(run: Run) -> Figure:
    """How the norms of the groups of parameters move across the leap; ours, not the paper's."""
    groups = ("embeddings.token", "embeddings.position", "attention.qk", "attention.value",
              "attention.output", "mlp", "readout")  # fmt: skip
    found = [(group, run.series(f"norm/{group}")) for group in groups]
    curves = [(group, each.steps, each.values / each.values[:, :1]) for group, each in found]
    half = mark("half of Var(X)", numbers(half_plateau(run)))
    return figure("Norms of parameter groups across the leap",
                  [panel("Norm over its start", curves, marks=[half])])  # fmt: skip


def _probes(run: Run) -> Figure:
    """Figures 6, 20 and 21: what least squares reads off each layer."""
    tail = "/row/mse/test"
    sites = [name.removeprefix("linear-probe/").removesuffix(tail)
             for name in run.names() if name.endswith(tail)]  # fmt: skip
    sites.sort(key=lambda site: (site != "embedding", len(site), site))
    depth = np.arange(len(sites))
    label = "layer (0: embedding)"

    def read(target: str, what: str) -> np.ndarray:
        return np.stack([value_at(run, f"linear-probe/{site}/{target}/{what}/test")
                         for site in sites], axis=-1)  # fmt: skip

    errors: list[Panel] = [
        curve_against(f"{target}: error", depth, {"test": read(target, "mse")}, "squared error",
                      x_label=label)
        for target in ("row", "element", "svd")
    ]  # fmt: skip
    cosines = {target: read(target, "cosine") for target in ("row", "svd")}
    alike = curve_against("Mean |cosine|", depth, cosines, x_label=label)
    return figure("Figures 6, 20 and 21: linear probes after the leap", [*errors, alike])


def components(arms: Arms, normal: str) -> Figure:
    """Figure 8: one component from a fresh start, the rest at its final values."""
    curves = []
    for name in (*(f"only-{each}" for each in COMPONENTS), normal):
        series = arms[name].series(MASKED)
        curves.append((name if name != normal else "everything", series.steps, series.values))
    level = ("Var(X)", task_of(arms[normal]).variance)
    return figure("Figure 8: components trained alone",
                  [panel("L_mask", curves, "squared error", levels=[level], log=True)])  # fmt: skip


def gpt(run: Run) -> Figure:
    """Figure 11: loss and accuracy of the GPT."""
    loss = run.series("evaluation/loss/answer")
    accuracy = [
        (part, run.series(f"evaluation/accuracy-{part}")) for part in ("observed", "masked")
    ]
    return figure("Figure 11: a GPT learns to copy what the prompt shows", [
        panel("Loss of the answer", [("answer", loss.steps, loss.values)], "nats"),
        panel("Accuracy of written entries",
              [(part, series.steps, series.values) for part, series in accuracy]),
    ])  # fmt: skip


def variants(arms: Arms) -> Iterator[AnyFigure]:
    """Figures 13 to 19, at paper scale."""
    families = {
        "Figure 13: width": [f"width-{width}" for width in WIDTHS],
        "Figure 14: depth": [f"depth-{depth}" for depth in DEPTHS],
        "Figures 15 and 17: size and rank": ["larger"],
        "Figure 18: Gaussian factors": ["gaussian"],
    }
    for title, names in families.items():
        if any(name in arms for name in names):
            there = [name for name in (*names, "base") if name in arms]
            series = [(name, arms[name].series(MASKED)) for name in there]
            curves = [(name, each.steps, each.values) for name, each in series]
            yield figure(title, [panel("L_mask", curves, log=True)])
    if "mixture" in arms:
        run = arms["mixture"]
        sizes = [(f"{n} x {n}", run.series(f"size-{n}/loss")) for n in (5, 7, 9)]
        curves = [(name, each.steps, each.values) for name, each in sizes]
        yield figure("Figure 16: a mixture of sizes", [panel("MSE", curves, log=True)])
    if "base" in arms:
        run = arms["base"]
        found = {name.split("/")[0].removeprefix("on-"): value_at(run, name)
                 for name in run.names() if name.startswith("on-") and name.endswith("/loss")
                 and not name.startswith("on-masked")}  # fmt: skip
        yield bars("Figure 19: other laws, ranks and sizes at inference",
                   [bars_of("MSE, all entries", found, log=True)])  # fmt: skip
