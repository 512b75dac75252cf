"""The figures: plateaus and leaps, what the remedies change, and what is seen inside.

Little is known of the paper's own figures (section 9 of our spec). Its curves of the training loss
and its gradient norms are drawn as they are told; everything else is this project's choice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import sqrt

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray

from saltus.instruments.softmax_jacobian import jacobian_norm
from saltus.random import Draws
from saltus.report.bars.record import BarPanel, Bars
from saltus.report.compose import curve, figure, mark, panel
from saltus.report.eureka_maps import median_map, ratio_map
from saltus.report.eureka_table import eureka_figures, said
from saltus.report.figure import Curve, Figure, Mark, Panel, Reference
from saltus.report.kinds import AnyFigure
from saltus.report.summaries import bars, bars_of, curve_against, value_at
from saltus.runs import Run
from saltus.studies.claim import Arms
from saltus.studies.eureka import exact
from saltus.studies.eureka.measures import VALIDATION, by_setting, moments, task_of, waiting
from saltus.studies.eureka.recipe import METHODS
from saltus.tasks.images.layouts import CELLS
from saltus.tasks.two_step_mlm import TwoStepMlm
from saltus.transitions.drop import moving_average
from saltus.transitions.statistics.eureka import (
    ACCURACY,
    TRAINING_LOSS,
    Criterion,
    eureka_moments,
    eureka_summary,
)

LOSS = "loss/train"
CONVOLUTIONS = ("convnet", "resnet-9", "resnet-18")
FEW = 40  # readings of a curve: fewer are drawn as dots, so that it is seen when it was read
RATE = "optimizer.learning_rate"
AVERAGED = (
    f"The loss is averaged over its past, with a decay of {TRAINING_LOSS.smoothing:g} per step."
)
OURS = "A task of this project: the paper's own is not known."
SHARES = {
    "indicator": "on indicators, all queries",
    "target": "on targets, all queries",
    "indicator.readout": "on indicators, class token",
    "target.readout": "on targets, class token",
}


def figures(arms: Arms) -> Iterator[AnyFigure]:
    """One after the other; what needs an arm that was not run is left out."""
    methods = {name: arms[name] for name in METHODS if name in arms}
    images = methods | {name: arms[name] for name in CONVOLUTIONS if name in arms}
    easy = {name: arms[name] for name in (*CONVOLUTIONS, "control") if name in arms}
    for name in ("softmax", "softmax-long"):
        if name in arms:
            yield plateau(arms[name], name)
    if easy:
        there = {name: arms[name] for name in ("softmax", *easy) if name in arms}
        yield beside(there, {name: place for place, name in enumerate([*images, "control"])})
    if images:
        yield from leaps(images, "two-step images", ACCURACY)
    if methods:
        yield from starved(methods)
        yield from inside(methods)
    if "softmax" in arms:
        yield from probes(arms["softmax"])
    yield from stand_ins(arms)
    yield from rates(arms)
    yield from searched()
    yield jacobian()
    yield starts()


def plateau(run: Run, name: str) -> Figure:
    """The loss between what reads both targets and what solves the task, and the leaps."""
    marks = [moment(run)]
    return figure(f"The plateau and the leap: {name}", [
        panel("Training loss", [averaged(name, run, 0)], "nats", levels=losses(run), marks=marks),
        panel("Validation accuracy", _curves({name: run}, VALIDATION), "share of images",
              levels=[("plateau", ACCURACY.plateau)], marks=marks),
    ], AVERAGED, said(VALIDATION, ACCURACY))  # fmt: skip


def beside(arms: Mapping[str, Run], colors: Mapping[str, int]) -> Figure:
    """What has no plateau: a task without the first step, and convolutions."""
    shown = next(iter(arms.values()))
    curves = [averaged(name, run, colors[name]) for name, run in arms.items()]
    return figure("Without the first step, and without attention", [
        panel("Training loss", curves, "nats", levels=losses(shown)),
        panel("Validation accuracy", _curves(arms, VALIDATION, colors), "share of images",
              levels=[("plateau", ACCURACY.plateau)]),
    ], "Control: the same images, of which the answer is always the target at the top right.",
        AVERAGED)  # fmt: skip


def losses(run: Run) -> list[tuple[str, float]]:
    """The closed forms that tell a plateau: what reads both targets, what solves the task."""
    known = task_of(run).levels()
    return [(name, known[name]) for name in ("plateau", "floor") if name in known]


def leaps(arms: Mapping[str, Run], what: str, criterion: Criterion) -> Iterator[AnyFigure]:
    """Survival curves, and the table with the log-rank p against softmax."""
    against = next((name for name in arms if name.endswith("softmax")), None)
    curves, table = eureka_figures(arms, VALIDATION, criterion, against, f"Eureka-moments: {what}")
    yield replace(curves, title=f"{curves.title}: {what}")
    yield table


def starved(
    arms: Mapping[str, Run], where: str = "", criterion: Criterion = ACCURACY
) -> Iterator[Figure]:
    """What the loss pulls on queries and keys, over what it pulls on values."""
    blocks = _blocks(arms, "qkv-gradients/{}/query-to-value")
    marks = [moment(run, place, criterion) for place, run in enumerate(arms.values())]
    for title, some in (("first block", blocks[:1]), ("the other blocks", blocks[1:])):
        panels = [
            panel(f"W_{part[0].upper()} over W_V, {_named(block)}",
                  _curves(arms, f"qkv-gradients/{block}/{part}-to-value"), log=True, marks=marks,
                  levels=[("equal", 1.0)])
            for block in some for part in ("query", "key")
        ]  # fmt: skip
        if panels:
            note = "Mean |∂L/∂W| over the entries of W_Q or W_K, over that of W_V."
            yield figure(f"Gradients of queries and keys{where}: {title}", panels, note)


def inside(arms: Mapping[str, Run], where: str = "") -> Iterator[Figure]:
    """How even attention is, what passes through its softmax, and where it falls: in the first
    and in the last block."""
    blocks = _blocks(arms, "attention-received/{}")
    for block in dict.fromkeys([*blocks[:1], *blocks[-1:]]):
        name = _named(block)
        found = [
            ("Entropy of attention", f"entropy/{block}.normalised", False, [("uniform", 1.0)]),
            ("Variance of raw logits", f"attention-logits/{block}/variance", True, []),
            ("Softmax Jacobian", f"softmax-jacobian/{block}", True, []),
        ]
        yield from _figure(
            f"Inside attention{where}: {name}",
            [_panel(title, arms, series, log, levels) for title, series, log, levels in found],
            "Entropy over ln(number of keys), mean over heads; Jacobian: Frobenius norm of the "
            "derivative of a query's weights by its raw logits.",
        )
        even = _uniform(arms, block)
        yield from _figure(
            f"Where attention falls{where}: {name}",
            [_panel(title, arms, f"attention-received/{block}/{role}", False, even)
             for role, title in SHARES.items()],
            "Share of a query's weight on the tokens of the two indicators or of the two targets.",
        )  # fmt: skip
        yield from _figure(
            f"Local gradients of attention{where}: {name}",
            [_panel(f"{part} of {role}s", arms,
                    f"local-attention-gradients/{block}/{part}/{role}", True)
             for role in ("indicator", "target") for part in ("query", "key")],
            "Mean |∂(Σ z)/∂f| over samples, heads and channels, z the outputs of the heads and f "
            "the queries or keys of the tokens of a role.",
        )  # fmt: skip


def probes(run: Run) -> Iterator[Bars]:
    """What a linear probe of the class token tells of z, y and the cells, behind the last block."""
    names = [name for name in run.names() if name.endswith("/z/class/accuracy")]
    if not names:
        return
    # The residual stream is all that the readout sees; else the attention's own part of it.
    site = max(names, key=lambda name: (_place(name), ".residual." in name, ".output" in name))
    site = site.removesuffix("/z/class/accuracy")
    read = run.series(f"{site}/z/class/accuracy").steps.tolist()
    found, last = moments(run), read[-1]
    on = {step: _on_the_plateau(run, step) for step in read[1:-1]}
    step = max(on, key=lambda each: int(on[each].sum()), default=None)
    times = {f"step {read[0]}, start": (read[0], np.full(found.runs, True))}
    if step is not None:
        times[f"step {step}, on the plateau"] = (step, on[step])
    times[f"step {last}, end"] = (last, np.full(found.runs, True))
    groups = {"seeds that leap": found.happened, "seeds that do not": ~found.happened}
    groups = {group: members for group, members in groups.items() if members.any()}

    def of(title: str, targets: Mapping[str, str], when: Sequence[str], *levels) -> BarPanel:
        values = {
            group: {
                ", ".join(filter(None, (label, each if len(when) > 1 else ""))):
                    _at(run, f"{site}/{target}/class/accuracy", times[each], members)
                for label, target in targets.items() for each in when
            }
            for group, members in groups.items()
        }  # fmt: skip
        return bars_of(title, values, "accuracy", zero=True, levels=levels)

    cells = {name.replace("-", " "): f"class-{index}" for index, name in enumerate(CELLS)}
    every, chance = list(times), ("chance", 0.1)
    panels = [
        of("z, which target is asked for", {"": "z"}, every, ("chance", 0.5)),
        of("y, the answer", {"": "y"}, every, chance, ("without z", ACCURACY.plateau)),
    ]
    panels += [of(f"what the cells show, {when}", cells, [when], chance) for when in every[1:]]
    where = site.removeprefix("class-probe/").replace("blocks.", "block ")
    left = "" if step is None else (
        f"At step {step} only seeds that are on their plateau then: {int(on[step].sum())} of "
        f"{found.runs}."
    )  # fmt: skip
    probed = f"Probed: {where}, blocks counted from 0."
    yield bars("Probes of the class token", panels, probed, left)


def stand_ins(arms: Mapping[str, Run]) -> Iterator[AnyFigure]:
    """Masked language modelling in two steps: the loss with its levels, and the leaps."""
    order = [*(f"mlm-{name}" for name in METHODS), *arms]
    known = {name: arms[name] for name in order if name.startswith("mlm-") and name in arms}
    if not known:
        return
    run = next(iter(known.values()))
    task = task_of(run)
    criterion = ACCURACY
    if isinstance(task, TwoStepMlm):
        levels = task.accuracy_levels()
        criterion = Criterion(levels["plateau"], levels["floor"])
    marks = [moment(each, place, criterion) for place, each in enumerate(known.values())]
    yield figure("Stand-ins for masked language modelling", [
        panel("Loss on fresh samples", _curves(known, "evaluation/loss"), "nats",
              levels=list(task.levels().items()), marks=marks),
        panel("Accuracy of the slot", _curves(known, VALIDATION), "share of samples",
              levels=[("plateau", criterion.plateau)], marks=marks),
    ], OURS, said(VALIDATION, criterion))  # fmt: skip
    yield from leaps(known, "stand-ins for language", criterion)
    yield from starved(known, " of stand-ins", criterion)
    yield from inside(known, " of stand-ins")


def rates(arms: Mapping[str, Run]) -> Iterator[AnyFigure]:
    """Eureka-ratio and median e* over learning rates, a row for each method."""
    table = {}
    for name in METHODS:
        if (run := arms.get(f"rates-{name}")) is not None:
            series = run.series(VALIDATION)
            for rate, places in by_setting(run, RATE).items():
                own = eureka_moments(series.steps, series.values[places])
                table[name, f"{rate:g}"] = eureka_summary(own)
    if not table:
        return
    rows = list(dict.fromkeys(method for method, _ in table))
    columns = sorted({rate for _, rate in table}, key=float)
    for drawn in (ratio_map, median_map):
        yield drawn("Learning rates", table, rows, columns, ("learning rate", ""),
                    said(VALIDATION, ACCURACY))  # fmt: skip


def searched() -> Iterator[AnyFigure]:
    """The maps of every panel of the search that was written down."""
    from saltus.studies.eureka import search  # a command: not loaded before it is run as one

    if search.RECORD.exists():
        for recorded in search.recorded().values():
            yield from search.maps(recorded)


def jacobian() -> Figure:
    """Claim 17: what the softmax lets through at every temperature."""
    temperatures = np.logspace(-2, 3, 101)
    each = torch.from_numpy(temperatures)[:, None, None]
    norms = []
    for seed in range(exact.SEEDS):
        logits = sqrt(0.2) * Draws(seed, "claims", dtype=torch.float64).normal(64, 197)
        weights = (logits / each).softmax(-1)
        norms.append(jacobian_norm(weights, each).median(-1).values.numpy())
    shown = np.array(norms)
    ends = np.array([shown.min(), shown.max()])
    lines = [
        Reference(label, np.array([at, at]), ends)
        for label, at in (("heat treatment starts, 1/3", 1 / 3), ("softmax, √64", 8.0))
    ]
    drawn = curve_against("Frobenius norm of the softmax Jacobian", temperatures,
                          {"median over 64 queries": shown}, "weight per logit",
                          x_label="temperature τ", x_log=True, log=True)  # fmt: skip
    smooth = replace(drawn, curves=tuple(replace(each, dots=False) for each in drawn.curves))
    return figure("Temperatures at either extreme starve the gradient of the logits",
                  [replace(smooth, references=tuple(lines))],
                  "197 Gaussian logits of variance 0.2; no training. Towards lower temperatures "
                  "the norm falls on.")  # fmt: skip


def starts() -> Bars:
    """Claim 11: how even attention is before training, by method and block."""
    found = {
        attention: {
            f"block {block + 1}": entropies for block, entropies in enumerate(
                exact.at_start(attention)[0].T)
        }
        for attention in exact.ENTROPIES
    }  # fmt: skip
    drawn = bars_of("Normalised entropy", found, levels=[("uniform", 1.0)])
    note = f"The paper's ViT, untrained, on {exact.IMAGES} images: mean over heads and queries."
    return bars("Attention before training", [drawn], note)


def moment(run: Run, color: int = 0, criterion: Criterion = ACCURACY) -> Mark:
    """When each seed has its Eureka-moment."""
    series = run.series(VALIDATION)
    return mark("e*", eureka_moments(series.steps, series.values, criterion).step, color)


def averaged(label: str, run: Run, color: int) -> Curve:
    """The training loss, which is of single batches, averaged over its past."""
    series = run.series(LOSS)
    values = [moving_average(series.steps, row, TRAINING_LOSS.smoothing) for row in series.values]
    return curve(label, series.steps, np.array(values), color)


def _curves(
    arms: Mapping[str, Run], name: str, colors: Mapping[str, int] | None = None
) -> list[Curve]:
    """A series of the arms that have it, the mean over heads where it has heads."""
    found = []
    for place, (label, run) in enumerate(arms.items()):
        if name in run.names():
            series = run.array(name)
            values = series.values.astype(np.float64)
            values = values if values.ndim == 2 else values.mean(axis=2)
            dots = len(series.steps) < FEW
            color = place if colors is None else colors[label]
            found.append(curve(label, series.steps, values, color, dots=dots))
    return found


def _panel(
    title: str, arms: Mapping[str, Run], name: str, log: bool,
    levels: Sequence[tuple[str, float]] = (),
) -> Panel:  # fmt: skip
    return panel(title, _curves(arms, name), log=log, levels=levels)


def _figure(title: str, panels: Sequence[Panel], note: str) -> Iterator[Figure]:
    """Of the panels that have something to show."""
    there = [each for each in panels if each.curves]
    if there:
        yield figure(title, there, note)


def _blocks(arms: Mapping[str, Run], series: str) -> list[str]:
    """The blocks of which some arm has a series, in their order; {} stands for the block."""
    pattern = re.compile(re.escape(series).replace(r"\{\}", r"(blocks\.\d+)"))
    found = {
        match[1]
        for run in arms.values()
        for name in run.names()
        if (match := pattern.fullmatch(name))
    }
    return sorted(found, key=_place)


def _place(name: str) -> int:
    """The number of the block that a name speaks of."""
    match = re.search(r"blocks\.(\d+)", name)
    return int(match[1]) if match else -1


def _named(block: str) -> str:
    return f"block {_place(block) + 1}"


def _uniform(arms: Mapping[str, Run], block: str) -> list[tuple[str, float]]:
    """What even attention gives to a role: half of the patches, or two of the tokens."""
    for run in arms.values():
        if (name := f"attention-received/{block}") in run.names():
            tokens = run.array(name).values.shape[-1]
            of_a_role = 2 if isinstance(task_of(run), TwoStepMlm) else (tokens - 1) / 2
            return [("uniform", of_a_role / tokens)]
    return []


def _on_the_plateau(run: Run, step: int) -> Bool[ndarray, " seed"]:
    """Which seeds read both targets at a step, and have not had their Eureka-moment."""
    return np.array([window.start <= step <= window.end for window in waiting(run)])


def _at(
    run: Run, name: str, when: tuple[int, Bool[ndarray, " seed"]], members: Bool[ndarray, " seed"]
) -> Float[ndarray, " some"]:
    """What some of the seeds read at a step."""
    step, there = when
    return value_at(run, name, step, np.flatnonzero(there & members).tolist())
