"""Levels: what a model's loss is when it has understood this much and no more."""

from __future__ import annotations

from math import log

import torch
from jaxtyping import Float
from torch import Tensor

from saltus.tasks.images.layouts import CLASSES, Answer, Layout


def levels(layout: Layout, control: str, smoothing: float, chance: float) -> dict[str, float]:
    """Cross-entropies with label smoothing, in nats, of ideal predictors (section 2 of our spec).

    - `uniform`: every class alike;
    - `one-target`: reads the target of the likelier z alone;
    - `plateau`: reads both targets and knows of z only how likely it is;
    - `floor`: solves both steps. Smoothing alone keeps it above 0.

    `chance` is P(z = 1). Classes and colours count as balanced and as independent of one another.
    With ten of each, chance 1/2 and smoothing 0.1 the levels are 2.3026, 1.7807, 1.0246 and 0.5003.
    Where the label does not depend on z, or is z, there is nothing in between.
    """
    outputs = 2 if control == "predict-z" else CLASSES
    sure = torch.eye(outputs, dtype=torch.float64)
    ends = {"floor": _loss(sure[:1], smoothing), "uniform": log(outputs)}
    if control in ("always-top-right", "predict-z"):
        return ends
    one, zero = (sure[_labels(layout, given)] for given in (layout.one, layout.zero))
    both = chance * one.unsqueeze(1) + (1 - chance) * zero
    first = chance * one + (1 - chance) * zero.mean(0)
    second = chance * one.mean(0) + (1 - chance) * zero
    return {
        **ends,
        "plateau": _loss(both, smoothing),
        "one-target": _loss(first if chance >= 1 / 2 else second, smoothing),
    }


def _labels(layout: Layout, given: Answer) -> list[int]:
    """The labels that an answer may give, all equally likely."""
    cell = layout.cells[given.cell]
    if given.names == "colour":
        return [layout.palette.index(name) for name in cell.colours]
    return list(cell.classes)


def _loss(chances: Float[Tensor, "*case label"], smoothing: float) -> float:
    """The mean cross-entropy where labels have these chances and the prediction is the best one:
    the entropy of the smoothed chances."""
    smooth = (1 - smoothing) * chances + smoothing / chances.shape[-1]
    return float(torch.special.entr(smooth).sum(-1).mean())
