"""The claims that language models are trained for (section 8 of our spec), and three of ours.

Numbers 1 to 19 are the spec's; claims 1, 4, 5, 8, 9, 14, 18 and 19 need no training and stand in
`regression.py`, `fig4.py` and `exact.py`. From 20 on they are this project's own: where the paper
speaks of T5-base alone, of none, or shows a figure whose outcome we do not have.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from jaxtyping import Bool, Float

from saltus.runs import Run
from saltus.studies.claim import Arms, Claim, Quantity, Range, amount, every
from saltus.studies.norm_growth import regression
from saltus.studies.norm_growth.measures import (
    NORM,
    SATURATION,
    attended,
    cells,
    choice,
    default_of,
    first,
    last,
    level,
    loss,
    norms,
    spaced,
    whole,
)
from saltus.studies.norm_growth.recipe import LANGUAGES, OPTIMIZERS, SCHEDULES
from saltus.studies.study import Scale
from saltus.transitions.statistics.growth import power

PAPER = "2010.09697"
OURS = "our spec of 2010.09697"
FEW = 3.0  # positions: fewer make a head of the lower mode


def claims(scale: Scale) -> list[Claim]:
    """What is judged on trained models."""
    growing = ("adamw", "decay", *OPTIMIZERS, *SCHEDULES)
    return [
        Claim(2, "The direction of the parameters converges", f"{PAPER}, Figure 1, bottom",
              "cosine of consecutive checkpoints tends to 1",
              "T5-base: first ≤ 0.81, last ≥ 0.997; small models, encoder, 25 steps apart: "
              "last ≥ first, last ≥ 0.99", ("adamw", "adamw-fast"), _direction),
        Claim(3, "Steps are nearly orthogonal to the parameters", f"{PAPER}, Figure 5, left",
              "alignment peaks near 0.15 and falls towards 0",
              "T5-base: highest 0.179 ± 0.005 at step 15,300, last 0.023 to 0.029; small models, "
              "encoder, 25 steps apart: highest < 0.15, last < 0.06", ("adamw", "post-long"),
              _alignment),
        Claim(6, "The norm of the encoder grows under AdamW with its defaults",
              f"{PAPER}, section 4.1", "every model", "pre-norm, of every seed: at the end above "
              "the start, and higher at every mark of 250 steps", ("adamw",), _growth),
        Claim(7, "√t is a matter of the learning rate's schedule", f"{PAPER}, section 4",
              "√t expected; T5 has 1/√t for a schedule",
              "constant rate: exponent ≥ 0.8 and t fits better than √t; 1/√t: exponent ≤ 0.6, r² "
              "of √t ≥ 0.99", ("adamw", "adamw-fast", "decay"), _schedules),
        Claim(10, "Trained language models with the paper's pre-norm are saturated",
              f"{PAPER}, section 4.1", "1.00 for both corpora",
              "final layer, c = 1000: ≥ 0.98 after training, < 0.85 before, both masks",
              ("fast", "fast-authors"), _saturated),
        Claim(11, "Post-norm models that saturate have collapsed to a constant prediction",
              f"{OURS}, section 9 item 4", "saturation 1.00; nothing is said of collapse",
              "final layer ≥ 0.99; validation loss within 0.1 of what a constant prediction has",
              ("post-fast", "post-fast-authors"), _collapsed),
        Claim(12, "With the authors' mask heads have two modes: one key, or half of all positions",
              f"{PAPER}, Figure 3", "modes at 1 and around 41 of 83 positions",
              "largest mean within 0.1 of (T (T - 1) / 2 + 1) / T; at least 25 % of heads ≤ 3",
              ("post-authors", "fast-authors"), _two_modes),
        Claim(13, "With a correct mask the mode of the mean heads is gone",
              f"{OURS}, section 9 item 1", "not in the paper",
              "pre-norm and norm at the input: largest mean of a head ≤ 1.1; post-norm: at most "
              "10 % of heads above T / 4", ("fast", "input", "post"), _one_mode),
        Claim(15, "With LayerNorm at the input, as T5 has it, training does not saturate",
              f"{OURS}, section 9 item 3", "not in the paper",
              "final layer < 0.6 after training, without a LayerNorm behind the last block and "
              "with one", ("input", "input-final"), _input),
        Claim(16, "Models of formal languages grow and saturate too",
              f"{OURS}, section 2.2", "no formal language is trained on",
              "norm up by 8 % or more, final layer ≥ 0.98", tuple(LANGUAGES), _languages),
        Claim(17, "Pretrained models are partly saturated", f"{PAPER}, Figure 2",
              "final layers: T5 and XLNet ≥ 0.9, RoBERTa 0.65, BERT lower; read off the authors' "
              "figure: 0.915, 0.914 (perhaps of XLNet's layer 11), 0.652, 0.113",
              "final layers within 0.05 of what is read off; needs their weights",
              ("pretrained",), lambda arms: []),
        Claim(20, "The norm grows as √t under every optimiser and schedule",
              f"this project, after {PAPER}, Figure 1", "√t for T5-base, whose rate falls as 1/√t; "
              "of others not established", "free exponent 0.4 to 0.6 for each", growing, _roots),
        Claim(21, "With every head saturated, a trained network still does its task",
              f"this project, after {PAPER}, section 4.2", "not established",
              "every head on its largest scores alone: accuracy ≥ 0.9 of what it was",
              ("fast", "post", "input"), _kept),
        Claim(22, "At PyTorch's defaults of AdamW the norm grows; more decay, less norm",
              f"this project, after {PAPER}, Figure 6", "outcome not established",
              "learning rate by weight decay, ln of end over start: above 0 at (1e-3, 1e-2) or the "
              "nearest cell; at that rate less under the largest decay than under the least",
              ("grid",), _cells),
    ]  # fmt: skip


def _direction(arms: Arms) -> list[Quantity]:
    found = regression.direction()
    for name in ("adamw", "adamw-fast"):
        cosines = spaced(arms[name]).direction
        rise = cosines[:, -1] - cosines[:, 0]
        found += [
            amount(f"{name}: last less first cosine", rise, Range(low=0.0)),
            amount(f"{name}: last cosine", cosines[:, -1], Range(low=0.99)),
        ]
    return found


def _alignment(arms: Arms) -> list[Quantity]:
    found = regression.alignment()
    for name in ("adamw", "post-long"):
        alignment = spaced(arms[name]).alignment
        highest, last_ = alignment.max(axis=1), alignment[:, -1]
        found += [
            amount(f"{name}: highest alignment", highest, Range(high=0.15, open=True)),
            amount(f"{name}: last alignment", last_, Range(high=0.06, open=True)),
        ]
    return found


def _growth(arms: Arms) -> list[Quantity]:
    steps, values = norms(arms["adamw"])
    marks = values[:, steps % 250 == 0]
    return [
        every("norm at the end over the start", values[:, -1] / values[:, 0],
              Range(low=1.0, open=True)),
        every("smallest rise from mark to mark", np.diff(marks, axis=1).min(axis=1),
              Range(low=0.0, open=True)),
    ]  # fmt: skip


def _schedules(arms: Arms) -> list[Quantity]:
    found = []
    for name in ("adamw", "adamw-fast"):
        found += _fitted(arms[name], partial(regression.constant_rate, f"constant rate, {name}"))
    return found + _fitted(arms["decay"], partial(regression.decaying_rate, "1/√t"))


def _saturated(arms: Arms) -> list[Quantity]:
    found = []
    for name, mask in (("fast", "correct mask"), ("fast-authors", "authors' mask")):
        found += [
            amount(f"{mask}: before", first(arms[name], SATURATION), Range(high=0.85, open=True)),
            amount(f"{mask}: after", last(arms[name], SATURATION), Range(low=0.98)),
        ]
    return found


def _collapsed(arms: Arms) -> list[Quantity]:
    found = []
    for name, mask in (("post-fast", "correct mask"), ("post-fast-authors", "authors' mask")):
        away = loss(arms[name]) - level(arms[name], "constant")
        found += [
            amount(f"{mask}: saturation", last(arms[name], SATURATION), Range(low=0.99)),
            amount(f"{mask}: loss less a constant prediction's", away, Range(-0.1, 0.1)),
        ]
    return found


def _two_modes(arms: Arms) -> list[Quantity]:
    found = []
    for name in ("post-authors", "fast-authors"):
        heads, positions = attended(arms[name])
        mode = (positions * (positions - 1) / 2 + 1) / positions
        found += [
            amount(f"{name}: largest mean", heads.max(axis=1), Range(mode - 0.1, mode + 0.1)),
            amount(f"{name}: share of heads ≤ {FEW:g}", _share(heads <= FEW, heads),
                   Range(low=0.25)),
        ]  # fmt: skip
    return found


def _one_mode(arms: Arms) -> list[Quantity]:
    found = [
        amount(f"{name}: largest mean", attended(arms[name])[0].max(axis=1), Range(high=1.1))
        for name in ("fast", "input")
    ]
    heads, positions = attended(arms["post"])
    share = _share(heads > positions / 4, heads)
    return [*found, amount("post: share of heads above T / 4", share, Range(high=0.1))]


def _share(
    counted: Bool[np.ndarray, "seed head"], heads: Float[np.ndarray, "seed head"]
) -> Float[np.ndarray, " seed"]:
    """The share of heads that are counted; nan for a seed that was lost."""
    return np.where(whole(heads), counted.mean(axis=1), np.nan)


def _input(arms: Arms) -> list[Quantity]:
    """Our spec's 0.26 is of models without the final LayerNorm, as the paper's have none."""
    return [
        amount(f"{name}: saturation", last(arms[name], SATURATION), Range(high=0.6, open=True))
        for name in ("input", "input-final")
    ]


def _languages(arms: Arms) -> list[Quantity]:
    found = []
    for name in LANGUAGES:
        grown = last(arms[name], NORM) / first(arms[name], NORM)
        found += [
            amount(f"{name}: norm over its start", grown, Range(low=1.08)),
            amount(f"{name}: saturation", last(arms[name], SATURATION), Range(low=0.98)),
        ]
    return found


def _roots(arms: Arms) -> list[Quantity]:
    """The exponent of every optimiser and schedule; in its name the law that predicts best."""
    found = []
    for name in ("adamw", "decay", *OPTIMIZERS, *SCHEDULES):
        chosen = choice(arms[name])
        law = (chosen and chosen.law) or "undecided"
        found += _fitted(arms[name], partial(_root, f"{name}: exponent (best law: {law})"))
    return found


def _root(name: str, steps: np.ndarray, values: np.ndarray) -> list[Quantity]:
    return [amount(name, power(steps, values).exponent, Range(0.4, 0.6))]


def _fitted(run: Run, fits: Callable[[np.ndarray, np.ndarray], list[Quantity]]) -> list[Quantity]:
    """Fits to the norms of every seed; nan for a seed that was lost on the way."""
    steps, values = norms(run)
    there = whole(values)
    found = fits(steps, np.where(there[:, None], values, steps))  # any curve in its place
    return [amount(q.name, np.where(there, q.values, np.nan), q.accepted) for q in found]


def _kept(arms: Arms) -> list[Quantity]:
    return [
        amount(f"{name}: accuracy saturated over accuracy", _share_kept(arms[name]), Range(low=0.9))
        for name in ("fast", "post", "input")
    ]


def _share_kept(run: Run) -> Float[np.ndarray, " seed"]:
    return last(run, "saturated/accuracy") / last(run, "saturated/intact/accuracy")


def _cells(arms: Arms) -> list[Quantity]:
    change = cells(arms["grid"])
    default = default_of(change)
    at_rate = {decay: values for (rate, decay), values in change.items() if rate == default[0]}
    less = at_rate[max(at_rate)] - at_rate[min(at_rate)]
    return [
        amount("at PyTorch's default", change[default], Range(low=0.0, open=True)),
        amount("there, largest decay less least", less, Range(high=0.0, open=True)),
    ]
