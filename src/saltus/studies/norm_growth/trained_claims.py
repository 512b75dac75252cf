"""The claims that language models are trained for (section 8 of our spec), and five of ours.

Numbers 1 to 19 are the spec's; claims 1, 4, 5, 8, 9, 14, 18 and 19 need no training and stand in
`regression.py`, `fig4.py` and `exact.py`. From 20 on they are this project's own, on what the
released code does against what the text says.
"""

from __future__ import annotations

from math import log

import numpy as np
from jaxtyping import Float

from saltus.runs import Run
from saltus.studies.claim import Arms, Claim, Quantity, Range, amount, every, exact
from saltus.studies.norm_growth import regression
from saltus.studies.norm_growth.measures import (
    NORM,
    SATURATION,
    attended,
    cells,
    first,
    last,
    level,
    loss,
    norms,
    spaced,
)
from saltus.studies.norm_growth.recipe import LANGUAGES, OPTIMIZERS, SCHEDULES
from saltus.studies.study import Scale
from saltus.transitions.statistics.growth import choose, power

PAPER = "2010.09697"
OURS = "our spec of 2010.09697"
FEW = 3.0  # positions: fewer make a head of the lower mode


def claims(scale: Scale) -> list[Claim]:
    """What is judged on trained models."""
    growing = ("adamw", "decay", *OPTIMIZERS, *SCHEDULES)
    return [
        Claim(2, "The direction of the parameters converges", f"{PAPER}, Figure 1, bottom",
              "cosine of consecutive checkpoints tends to 1",
              "T5-base: first ≤ 0.81, last ≥ 0.997; small models, 25 steps apart: last ≥ first, "
              "and ≥ 0.99", ("adamw", "fast"), _direction),
        Claim(3, "Steps are nearly orthogonal to the parameters", f"{PAPER}, Figure 5, left",
              "alignment peaks near 0.15 and falls towards 0",
              "T5-base: highest 0.179 ± 0.005 at step 15,300, last 0.023 to 0.029; small models, "
              "25 steps apart: highest < 0.15, last < 0.06", ("adamw", "post-authors"), _alignment),
        Claim(6, "The norm of the encoder grows under AdamW with its defaults",
              f"{PAPER}, section 4.1", "every model", "pre-norm, of every seed: at the end above "
              "the start, and higher at every mark of 250 steps", ("adamw",), _growth),
        Claim(7, "√t is a matter of the learning rate's schedule", f"{PAPER}, section 4",
              "√t expected; T5 has 1/√t for a schedule",
              "constant rate: exponent ≥ 0.8 and t fits better than √t; 1/√t: exponent ≤ 0.6, r² "
              "of √t ≥ 0.99", ("adamw", "fast", "decay"), _schedules),
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
              "pre-norm and norm at the input: every head's mean ≤ 1.1; post-norm: at most 10 % of "
              "heads above T / 4", ("fast", "input", "post"), _one_mode),
        Claim(15, "With LayerNorm at the input, as T5 has it, training does not saturate",
              f"{OURS}, section 9 item 3", "not in the paper",
              "final layer < 0.6 after training, without a LayerNorm behind the last block and "
              "with one", ("input", "input-final"), _input),
        Claim(16, "Models of formal languages grow and saturate too",
              f"{OURS}, section 2.2", "no formal language is trained on",
              "norm up by 8 % or more, final layer ≥ 0.98", tuple(LANGUAGES), _languages),
        Claim(17, "Pretrained models are partly saturated", f"{PAPER}, Figure 2",
              "final layers: T5 0.915, XLNet 0.914, RoBERTa 0.652, BERT 0.113",
              "within 0.05; needs their weights", ("pretrained",), lambda arms: []),
        Claim(20, "The norm grows as √t under every optimiser and schedule",
              f"{PAPER}, abstract", "√t", "free exponent 0.4 to 0.6 for each", growing, _roots),
        Claim(21, "A saturated network still does its task", f"{PAPER}, section 4.2",
              "not established",
              "every head on its largest scores alone: accuracy kept ≥ 0.9 of it",
              ("fast", "post", "input"), _kept),
        Claim(22, "The norm grows at PyTorch's defaults and falls where decay is strong",
              f"{PAPER}, Figure 6", "outcome not established",
              "learning rate by weight decay: grows at (1e-3, 1e-2), and at the least decay under "
              "every rate; falls at (1e-1, 1e-1)", ("grid",), _cells),
    ]  # fmt: skip


def _direction(arms: Arms) -> list[Quantity]:
    found = regression.direction()
    for name in ("adamw", "fast"):
        cosines = spaced(arms[name]).direction
        found += [
            amount(f"{name}: last less first cosine", cosines[:, -1] - cosines[:, 0],
                   Range(low=0.0)),
            amount(f"{name}: last cosine", cosines[:, -1], Range(low=0.99)),
        ]  # fmt: skip
    return found


def _alignment(arms: Arms) -> list[Quantity]:
    found = regression.alignment()
    for name in ("adamw", "post-authors"):
        alignment = spaced(arms[name]).alignment
        found += [
            amount(f"{name}: highest alignment", alignment.max(axis=1), Range(high=0.15)),
            amount(f"{name}: last alignment", alignment[:, -1], Range(high=0.06)),
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
    for name in ("adamw", "fast"):
        found += regression.constant_rate(f"constant rate, {name}", *norms(arms[name]))
    return found + regression.decaying_rate("1/√t", *norms(arms["decay"]))


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
            amount(f"{name}: share of heads ≤ {FEW:g}", (heads <= FEW).mean(axis=1),
                   Range(low=0.25)),
        ]  # fmt: skip
    return found


def _one_mode(arms: Arms) -> list[Quantity]:
    found = [
        amount(f"{name}: largest mean", attended(arms[name])[0].max(axis=1), Range(high=1.1))
        for name in ("fast", "input")
    ]
    heads, positions = attended(arms["post"])
    share = (heads > positions / 4).mean(axis=1)
    return [*found, amount("post: share of heads above T / 4", share, Range(high=0.1))]


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
        steps, values = norms(arms[name])
        law = choose(steps[1:], values[:, 1:]).law or "undecided"
        found.append(
            amount(f"{name}: exponent (best law: {law})", power(steps, values).exponent,
                   Range(0.4, 0.6))
        )  # fmt: skip
    return found


def _kept(arms: Arms) -> list[Quantity]:
    return [
        amount(f"{name}: accuracy saturated over accuracy", _share_kept(arms[name]), Range(low=0.9))
        for name in ("fast", "post", "input")
    ]


def _share_kept(run: Run) -> Float[np.ndarray, " seed"]:
    return last(run, "saturated/accuracy") / last(run, "saturated/intact/accuracy")


def _cells(arms: Arms) -> list[Quantity]:
    change = cells(arms["grid"])
    least, most = min(decay for _, decay in change), max(decay for _, decay in change)
    grow = Range(low=0.0, open=True)
    default = min(change, key=lambda cell: abs(log(cell[0] / 1e-3)) + abs(log(cell[1] / 1e-2)))
    slowest = min((rate for rate, _ in change), key=lambda rate: change[rate, least].min())
    return [
        amount("log of end over start at PyTorch's default", change[default], grow),
        exact("the least of all rates at the least decay", change[slowest, least].min(), grow),
        amount("at the largest rate and decay", change[most, most], Range(high=0.0, open=True)),
    ]
