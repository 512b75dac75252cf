"""Attention maps over training: arrays of a run, made small enough to travel inside the page."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.report.gather import Group, groups_of
from saltus.report.markup import Markup, data_script, tag
from saltus.report.text import count, listed
from saltus.runs import Run

PREFIX = "attention-map/"
BUDGET = 160_000  # bytes of one view of one layer; fewer steps are kept where a map is large
FEWEST, MOST = 6, 40  # steps kept
CLIP = 0.995  # share of all weights that the colours resolve; single huge ones would pale the rest


@dataclass(frozen=True)
class View:
    """Weights as bytes [step, head, query, key] on the scale that the colours span.

    A byte b stands for (b - 128) / 127 * scale where weights are signed, b / 255 * scale otherwise.
    """

    name: str
    weights: np.ndarray
    scale: float
    signed: bool


@dataclass(frozen=True)
class Maps:
    """One layer of one arm: the mean over seeds, and the first seed."""

    arm: str
    layer: str
    steps: Int[np.ndarray, " step"]
    views: tuple[View, ...]
    needed: Bool[np.ndarray, "query key"] | None
    seeds: int


def maps_of(arms: Mapping[str, Run]) -> list[Maps]:
    """Every attention map that the arms recorded; settings of a grid are kept apart."""
    groups = [group for groups in groups_of(arms).values() for group in groups]
    found = []
    for group in groups:
        for name in group.run.names():
            if name.startswith(PREFIX):
                series = group.run.array(name)
                if series.values.ndim == 5 and len(series.steps):
                    layer = name.removeprefix(PREFIX)
                    found.append(maps(group, layer, series.steps, series.values))
    return found


def maps(
    group: Group,
    layer: str,
    steps: Int[np.ndarray, " step"],
    values: Float[np.ndarray, "member step head query key"],
) -> Maps:
    """The mean over seeds (of finite maps) and the first seed, at some of the steps."""
    keep = np.clip(BUDGET // max(1, values[0, 0].size), FEWEST, MOST)
    places = np.unique(
        np.linspace(0, len(steps) - 1, min(int(keep), len(steps))).round().astype(int)
    )
    chosen = values[list(group.places)][:, places].astype(np.float64)
    finite = np.isfinite(chosen)
    some = finite.sum(axis=0)
    mean = np.where(finite, chosen, 0.0).sum(axis=0) / np.maximum(some, 1)
    first = np.where(finite[0], chosen[0], 0.0)
    views = (view("mean over seeds", mean), view(f"seed {group.run.seeds[group.places[0]]}", first))
    mask = needed_keys(group.run, layer, values.shape[-2:])
    return Maps(group.label, layer, steps[places], views, mask, len(chosen))


def view(name: str, values: Float[np.ndarray, "step head query key"]) -> View:
    """Weights as bytes; what lies beyond the scale is cut to it."""
    weights = np.abs(values)
    scale = float(np.quantile(weights, CLIP)) or float(weights.max()) or 1.0
    signed = bool(values.min() < -1e-6)
    shares = np.clip(values / scale, -1 if signed else 0, 1)
    coded = (shares * 127 + 128 if signed else shares * 255).round().astype(np.uint8)
    return View(name, coded, scale, signed)


def needed_keys(run: Run, layer: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """The keys that the task needs, where it knows them."""
    index = layer.rpartition(".")[2]
    try:
        task = Experiment.from_yaml(run.experiment_yaml).task
    except SaltusError:
        return None
    mask = task.attended(int(index)) if index.isdigit() else None
    return np.asarray(mask) if mask is not None and tuple(mask.shape) == shape else None


def viewer(found: list[Maps]) -> Markup | None:
    """The maps of a study behind one slider; page.js draws them. None without maps."""
    if not found:
        return None
    steps = sorted({int(step) for maps in found for step in maps.steps})
    # Arms of a study share their seeds; where they do not, the option cannot name one.
    names = [dict.fromkeys(maps.views[i].name for maps in found) for i in range(2)]
    texts = [next(iter(name)) if len(name) == 1 else "first seed" for name in names]
    choice = tag("select", [tag("option", text, value=i) for i, text in enumerate(texts)],
                 class_="view", aria_label="which seeds")  # fmt: skip
    last = len(steps) - 1
    slider = tag("input", type="range", min=0, max=last, value=last, step=1,
                 class_="steps", aria_label="training step")  # fmt: skip
    controls = tag(
        "div",
        tag("button", "Play", type="button", class_="play"),
        slider,
        tag("output", f"step {steps[-1]}", class_="step"),
        choice,
        class_="controls",
    )
    cards = [_card(maps, place, head) for place, maps in enumerate(found)
             for head in range(maps.views[0].weights.shape[1])]  # fmt: skip
    return tag(
        "figure",
        controls,
        tag("div", cards, class_="maps"),
        tag("figcaption", _caption(found)),
        tag("noscript", "The maps are drawn by a script in this page, which is switched off."),
        data_script({"steps": steps, "maps": [_data(maps) for maps in found]}, "attention"),
        class_="attention-maps",
        aria_label="Attention maps over training",
    )


def _card(maps: Maps, place: int, head: int) -> Markup:
    canvas = tag("canvas", width=10, height=10, data_map=place, data_head=head, role="img",
                 aria_label=f"attention of head {head}, {maps.layer}, {maps.arm}")  # fmt: skip
    several = maps.views[0].weights.shape[1] > 1
    where = f"{maps.layer}, head {head}" if several else maps.layer
    heading = tag("div", tag("b", maps.arm), " ", tag("span", where), class_="map-head")
    return tag("div", heading, canvas, tag("div", class_="map-foot"), class_="map")


def _caption(found: list[Maps]) -> str:
    seeds = {maps.arm: maps.seeds for maps in found}
    who = listed([f"{arm}: {count(number, 'seed')}" for arm, number in seeds.items()])
    text = (
        f"Attention weights averaged over the evaluation batch; rows are queries, columns keys. "
        f"Mean over seeds ({who}), or the first seed alone; a mean has no band here. "
        "The colours of an arm mean the same at every step; weights beyond the scale have the "
        "colour of its end."
    )
    if any(maps.needed is not None for maps in found):
        text += " Outlined: the keys that the task needs."
    return text


def _data(maps: Maps) -> dict[str, object]:
    needed = [] if maps.needed is None else np.argwhere(maps.needed).tolist()
    return {
        "steps": maps.steps.tolist(),
        "shape": list(maps.views[0].weights.shape[1:]),
        "views": [_view_data(view) for view in maps.views],
        "needed": needed,
    }


def _view_data(view: View) -> dict[str, object]:
    return {
        "weights": base64.b64encode(view.weights.tobytes()).decode("ascii"),
        "scale": float(f"{view.scale:.3g}"),
        "signed": view.signed,
    }
