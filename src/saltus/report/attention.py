"""Attention over training, as a film: the mean over seeds, or the first seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.report.clock import clock_of
from saltus.report.compose import caption
from saltus.report.detected import Leaps, detected
from saltus.report.figure import STEP
from saltus.report.films.record import Film, Maps, Take, remarks
from saltus.report.gather import Group, groups_of, panel_of
from saltus.report.text import count, listed
from saltus.runs import Run

PREFIX = "attention-map/"
TITLE = "Attention over training"
BUDGET = 160_000  # values of one layer in one take; fewer steps are kept where a map is large
FEWEST, MOST = 6, 40  # steps kept
EVENLY = 5  # steps on paper where there is no leap to go by


def attention_film(arms: Mapping[str, Run]) -> Film | None:
    """Every attention map that the arms recorded, beside the training loss; None without maps.

    Settings of a grid are kept apart.
    """
    found = [pair for groups in groups_of(arms).values() for group in groups
             for pair in maps_of(group)]  # fmt: skip
    if not found:
        return None
    means, firsts = zip(*(maps for maps, _ in found), strict=True)
    groups = list(dict.fromkeys(group for _, group in found))
    # Arms of a study share their seeds; where they do not, the take cannot name one.
    seeds = {int(group.run.seeds[group.places[0]]) for group in groups}
    first = f"seed {next(iter(seeds))}" if len(seeds) == 1 else "first seed"
    loss = panel_of(groups, "loss/train")
    clock = clock_of(groups[0].run) if loss and loss.x_label != STEP else None
    loss = replace(loss, levels=()) if loss else None
    takes = (Take("mean over seeds", means, loss, clock), Take(first, firsts, loss, clock))
    bands = [f"Loss: {caption([loss])}"] if loss else []
    return Film(TITLE, takes, " ".join([_caption(groups), *remarks(takes), *bands]))


def maps_of(group: Group) -> list[tuple[tuple[Maps, Maps], Group]]:
    """Mean and first seed of every layer that a group recorded."""
    found = []
    for name in group.run.names():
        if name.startswith(PREFIX):
            series = group.run.array(name)
            if series.values.ndim == 5 and len(series.steps):
                layer = name.removeprefix(PREFIX)
                found.append((maps(group, layer, series.steps, series.values), group))
    return found


def maps(
    group: Group,
    layer: str,
    steps: Int[np.ndarray, " step"],
    values: Float[np.ndarray, "member step head query key"],
) -> tuple[Maps, Maps]:
    """The mean over seeds (of finite maps) and the first seed, at some of the steps."""
    places = spread(len(steps), int(np.clip(BUDGET // max(1, values[0, 0].size), FEWEST, MOST)))
    chosen = values[list(group.places)][:, places].astype(np.float64)
    finite = np.isfinite(chosen)
    mean = np.where(finite, chosen, 0.0).sum(axis=0) / np.maximum(finite.sum(axis=0), 1)
    mask = needed_keys(group.run, layer, values.shape[-2:])
    moments = tuple(phases(steps[places], detected(group.run, group.places)))
    one, two = (
        Maps(group.label, layer, steps[places], shown, mask, moments=moments)
        for shown in (mean, chosen[0])
    )
    return one, two


def spread(size: int, most: int) -> Int[np.ndarray, " some"]:
    """Places of at most `most` of `size` things, evenly spread, with both ends."""
    return np.unique(np.linspace(0, size - 1, min(most, size)).round().astype(int))


def phases(steps: Int[np.ndarray, " step"], leaps: Leaps | None) -> list[tuple[int, str]]:
    """(place among the steps, its name): start, before, during, after, end.

    Around the median over seeds of the leap; evenly spread where most seeds have none. A step that
    would come twice has its first name.
    """
    last = len(steps) - 1
    middle = None if leaps is None else leaps.median_steps
    if middle is None:
        return [(int(place), "") for place in spread(last + 1, EVENLY)]
    onset, step, end = middle
    before = max(int(np.searchsorted(steps, onset, side="right")) - 1, 0)
    during = int(np.abs(steps - step).argmin())
    after = min(int(np.searchsorted(steps, end)), last)
    named = {0: "start", last: "end"}
    for place, name in ((during, "during the leap"), (before, "before"), (after, "after")):
        named.setdefault(place, name)
    return sorted(named.items())


def needed_keys(
    run: Run, layer: str, shape: tuple[int, ...]
) -> Bool[np.ndarray, "query key"] | None:
    """The keys that the task needs, where it knows them."""
    index = layer.rpartition(".")[2]
    try:
        task = Experiment.from_yaml(run.experiment_yaml).task
    except SaltusError:
        return None
    mask = task.attended(int(index)) if index.isdigit() else None
    return np.asarray(mask) if mask is not None and tuple(mask.shape) == shape else None


def _caption(groups: Sequence[Group]) -> str:
    who = listed([f"{group.label}: {count(len(group.places), 'seed')}" for group in groups])
    return (
        f"Attention weights averaged over the evaluation batch. Mean over seeds ({who}), or the "
        "first seed alone; a mean has no band here."
    )
