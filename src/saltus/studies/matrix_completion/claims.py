"""Claims 1 to 21 of our matrix-completion spec (section 10)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy import ndarray

from saltus.instruments.grid_attention import category
from saltus.runs import Run
from saltus.studies.claim import Arms, Claim, Quantity, Range, amount, every, holds, median
from saltus.studies.matrix_completion import convex
from saltus.studies.matrix_completion.measures import (
    MASKED,
    at,
    half_plateau,
    layers,
    leap_width,
    median_over,
    numbers,
    task_of,
)
from saltus.studies.matrix_completion.recipe import MOMENTS
from saltus.studies.matrix_completion.whole_models import identities
from saltus.studies.study import Scale
from saltus.transitions import first_crossing

P1 = "2410.22244"
VALUES = (0.44, -0.24)  # what is written in the place of the mask


def claims(scale: Scale) -> list[Claim]:
    """The claims of the first paper. Those that need its model are not run at quick scale.

    Where the spec gives a cheap setting's own tolerance it is used at quick scale; where it gives
    steps, they are replaced by orders and ratios, since the quick setting is another one.
    """
    now, paper = MOMENTS[scale], scale == "paper"
    plateau, leap = (now.plateau,), (now.leap,)
    structured = 0.6 if paper else 0.5
    sizes = ("width-64", "width-128", "base")
    only_paper = leap if paper else ("base",)
    return [
        Claim(1, "Plateau: L_mask is Var(X), L is p Var(X)", f"{P1}; closed form r/9",
              "0.2222 and 0.0667 at rank 2", "both within 5 %", plateau,
              lambda arms: _levels(arms[now.plateau], now.levels)),
        Claim(2, "Copying is learned first", f"{P1}, figures 1 and 2", "yes",
              f"at step {now.copied}: L_obs < 2e-3 while L_mask > 0.9 Var(X)", plateau,
              lambda arms: _copied(arms[now.plateau], now.copied)),
        Claim(3, "Missing entries are predicted near 0 on the plateau", P1, "about 0",
              "mean |prediction| < 0.05", plateau,
              lambda arms: [amount("mask value", at(arms[now.plateau], "levels/mask-value",
                                                     now.copied), Range(high=0.05))]),
        Claim(4, "Copy check: a value in the mask's place comes back", f"{P1}, table 1",
              "not established", "(output - v)² < 0.01, L_obs < 2e-3, error Var(X) + v² ± 10 %",
              plateau, lambda arms: _copy_check(arms[now.plateau], now.copied)),
        Claim(5, "Matrices of full rank are copied too", f"{P1}, table 1", "not established",
              "L_obs and (output - v)² < 5e-3", plateau,
              lambda arms: _copies_anything(arms[now.plateau], now.copied)),
        Claim(6, "Sudden drop of L_mask after a plateau", f"{P1}, figure 1", "about step 15,000",
              "half of Var(X) at step 8,000 to 25,000; to a third within 3,000 steps" if paper
              else f"> 0.9 Var(X) at step {now.before}, < 0.6 Var(X) within the budget", leap,
              lambda arms: _drop(arms[now.leap], now.before, paper)),
        Claim(7, "Final error", P1, "about 4e-3", "L in 1e-3 to 6e-3 at step 50,000", only_paper,
              lambda arms: [amount("L", at(arms["base"], "many/loss"), Range(1e-3, 6e-3))]),
        Claim(8, "Nuclear-norm minimisation at p = 0.3", f"{P1}, figure 3",
              "values not established; recomputed in our spec", "within 15 %; norm 4.18 ± 0.1", (),
              convex.reference),
        Claim(9, "The model beats nuclear-norm minimisation at p = 0.3", f"{P1}, figure 3", "yes",
              "L < 0.6 of the solver's", only_paper, _beats_convex),
        Claim(10, "Errors grow with the share of missing entries; the solver's norm falls",
              f"{P1}, figure 3", "not established", "monotone; norm 4.2 to 3.46 ± 0.15",
              only_paper if paper else (), _growth if paper else convex.growth),
        Claim(11, "After the drop there are row heads and column heads, before it none",
              f"{P1}, figures 4 and 22", "yes",
              f"largest row and column mass > {structured:g} after, < 0.3 before", leap,
              lambda arms: _structured(arms[now.leap], now.before, structured)),
        Claim(12, "Row and column heads matter, unstructured ones do not", P1, "not established",
              f"L_mask rises {2 if paper else 5} times as much; L_obs < 0.01", leap,
              lambda arms: _ablated(arms[now.leap], structured, paper)),
        Claim(13, "Identities: patching with one's own activations, switching everything",
              "arithmetic", "exact", "within 1e-6", leap,
              lambda arms: identities(arms[now.leap], now.before)),
        Claim(14, "Token norms are symmetric in the value", f"{P1}, figure 7a", "yes",
              "rank correlation of |e(v)| and |e(-v)| > 0.9", only_paper,
              lambda arms: [amount("rank correlation", at(arms["base"],
                                   "embedding-geometry/token/symmetry"), Range(low=0.9))]),
        Claim(15, "Two components of the tokens are sign and magnitude", f"{P1}, figure 7b", "yes",
              "|correlation| > 0.8 for both", only_paper,
              lambda arms: [amount("the smaller", at(arms["base"],
                                   "embedding-geometry/token/sign-magnitude"), Range(low=0.8))]),
        Claim(16, "Positions cluster by column", f"{P1}, figure 7c", "yes",
              "cosine difference > 0.2 after, < 0.05 before" if paper
              else "cosine > 0.1 above pairs that share nothing after, < 0.05 before", leap,
              lambda arms: _clusters(arms[now.leap], now.before, paper)),
        Claim(17, "Exchanging the positions destroys completion", P1, "not established",
              "L_mask ≥ 0.8 Var(X), L > 5 times intact" if paper else "L_mask > 5 times intact",
              leap, lambda arms: _shuffled(arms[now.leap], paper)),
        Claim(18, "Rows are read off layers 3 and 4 best", f"{P1}, figure 6", "layers 3 and 4",
              "the two best layers; |cosine| 0.1 above the others",
              ("base", "probe") if paper else ("base",), _rows_in_the_middle),
        Claim(19, "Components alone: no plateau for tokens and MLPs, positions come last",
              f"{P1}, figure 8", "position-only about step 40,000",
              "L at step 5,000 < 0.03 for tokens and MLPs; positions in 25,000 to 50,000" if paper
              else "half of Var(X): tokens and MLPs before half of normal training's step, "
              "attention before normal, positions last of the four",
              (now.leap, "only-token", "only-position", "only-attention", "only-mlp"),
              lambda arms: _components(arms, now.leap, paper)),
        Claim(20, "Width 64 does not complete, width 128 ends worse than 768",
              f"{P1}, figure 13", "yes", "L(64) > 0.03; L(128) > 1.3 L(768)", sizes, _widths),
        Claim(21, "A GPT's drop is learning to copy observed entries", f"{P1}, figures 11 and 12",
              "between steps 200 and 600",
              "observed accuracy < 0.3 at 200, > 0.7 at 1000; masked < 0.3" if paper
              else "observed accuracy < 0.3 before the drop, > 0.7 at the end; masked < 0.5",
              ("gpt",), lambda arms: _gpt(arms["gpt"], paper)),
    ]  # fmt: skip


def _levels(run: Run, steps: Sequence[int]) -> list[Quantity]:
    variance, plateau = task_of(run).variance, task_of(run).levels()["plateau"]
    masked, loss = (median_over(run, f"levels/{n}", steps) for n in ("loss/masked", "loss"))
    return [
        amount("L_mask over Var(X)", masked / variance, Range(0.95, 1.05)),
        amount("L over p Var(X)", loss / plateau, Range(0.95, 1.05)),
    ]


def _copied(run: Run, step: int) -> list[Quantity]:
    masked = at(run, "levels/loss/masked", step) / task_of(run).variance
    return [
        amount("L_obs", at(run, "levels/loss/observed", step), Range(high=2e-3)),
        amount("L_mask over Var(X)", masked, Range(low=0.9)),
    ]


def _copy_check(run: Run, step: int) -> list[Quantity]:
    variance, found = task_of(run).variance, []
    for value in VALUES:
        error = at(run, f"copy-check/planted-loss/{value:g}", step) / (variance + value**2)
        back = at(run, f"copy-check/replace-loss/{value:g}", step)
        seen = at(run, f"copy-check/observed-loss/{value:g}", step)
        found += [
            amount(f"(output - v)², v = {value:g}", back, Range(high=0.01)),
            amount(f"L_obs, v = {value:g}", seen, Range(high=2e-3)),
            amount(f"error over Var(X) + v², v = {value:g}", error, Range(0.9, 1.1)),
        ]
    return found


def _copies_anything(run: Run, step: int) -> list[Quantity]:
    found = []
    for value in VALUES:
        for name, what in (("(output - v)²", "replace-loss"), ("L_obs", "observed-loss")):
            error = at(run, f"copy-check-full-rank/{what}/{value:g}", step)
            found.append(amount(f"{name}, v = {value:g}", error, Range(high=5e-3)))
    return found


def _drop(run: Run, before: int, paper: bool) -> list[Quantity]:
    variance = task_of(run).variance
    if paper:
        half = numbers(half_plateau(run))
        # Stricter than the spec, which lets one seed in three miss: that one leaves the claim open.
        return [
            amount("step at half of Var(X)", half, Range(8_000, 25_000)),
            amount("steps from 0.9 to a third of Var(X)", leap_width(run, 3), Range(high=3_000)),
        ]
    lowest = run.series(MASKED).values[:, -3:].mean(1)
    return [
        amount("L_mask over Var(X) before", at(run, "many/loss/masked", before) / variance,
               Range(low=0.9)),
        amount("L_mask over Var(X) at the end", lowest / variance, Range(high=0.6)),
    ]  # fmt: skip


def _beats_convex(arms: Arms) -> list[Quantity]:
    ratio = at(arms["base"], "on-masked-30/loss") / convex.errors(0.3).mean()
    return [amount("L over the solver's", ratio, Range(high=0.6))]


def _growth(arms: Arms) -> list[Quantity]:
    errors = [at(arms["base"], f"on-masked-{share}/loss") for share in range(10, 61, 5)]
    rises = np.diff(errors, axis=0)
    smallest = rises[int(rises.mean(1).argmin())]
    return [
        amount("model: smallest rise from one p to the next", smallest, Range(low=0.0, open=True)),
        *convex.growth(arms),
    ]


def _structured(run: Run, before: int, structured: float) -> list[Quantity]:
    found = []
    for kind in ("row", "column"):
        series = f"grid-attention/largest-{kind}"
        found += [
            amount(f"largest {kind} mass, before", at(run, series, before), Range(high=0.3)),
            amount(f"largest {kind} mass, after", at(run, series), Range(low=structured)),
        ]
    return found


def _ablated(run: Run, structured: float, paper: bool) -> list[Quantity]:
    """Per seed: the mean rise over its row and column heads over that of the unstructured ones.

    Only layers that have both kinds are compared; a seed without such a layer counts as missing.
    """
    ratios, seen = [], []
    masses = [layers(run, f"grid-attention/{kind}") for kind in ("row", "column", "self")]
    after, observed = (layers(run, f"head-ablation/loss/{part}") for part in ("masked", "observed"))
    intact = at(run, "head-ablation/intact/loss/masked")
    for seed in range(len(intact)):
        found: list[float] = []
        spared: list[float] = []
        for layer, losses in enumerate(after):
            shares = zip(*(mass[layer][seed] for mass in masses), strict=True)
            kinds = [category(*map(float, each), structured=structured) for each in shares]
            rise = losses[seed] - intact[seed]
            matter = [kind in ("row", "column") for kind in kinds]
            plain = [kind == "unstructured" for kind in kinds]
            spared += observed[layer][seed][matter].tolist()
            if any(matter) and any(plain):
                found.append(float(rise[matter].mean() / max(rise[plain].mean(), 1e-9)))
        ratios.append(float(np.mean(found)) if found else np.nan)
        seen.append(max(spared, default=np.nan))
    # A rise of nearly nothing makes a huge ratio: the mean is not judged. Four seeds are too few
    # for a median with an interval, so at paper scale each of them must show it.
    judge, least = (every, 2.0) if paper else (median, 5.0)
    return [
        judge("rise of L_mask, structured over unstructured heads", ratios, Range(low=least)),
        amount("largest L_obs with a structured head ablated", seen, Range(high=0.01)),
    ]


def _clusters(run: Run, before: int, paper: bool) -> list[Quantity]:
    name = "columns" if paper else "columns-over-neither"
    series = f"embedding-geometry/position/{name}"
    return [
        amount("before", at(run, series, before), Range(high=0.05)),
        amount("after", at(run, series), Range(low=0.2 if paper else 0.1)),
    ]


def _shuffled(run: Run, paper: bool) -> list[Quantity]:
    masked = at(run, "position-shuffle/loss/masked")
    if not paper:
        ratio = masked / at(run, "position-shuffle/intact/loss/masked")
        return [amount("L_mask over intact", ratio, Range(low=5.0))]
    whole = (at(run, f"position-shuffle/{which}") for which in ("loss", "intact/loss"))
    return [
        amount("L_mask over Var(X)", masked / task_of(run).variance, Range(low=0.8)),
        amount("L over intact", np.divide(*whole), Range(low=5.0)),
    ]


def _rows_in_the_middle(arms: Arms) -> list[Quantity]:
    found = []
    for name in ("base", "probe"):
        run = arms[name]
        depth = sum(each.endswith("/row/mse/test") for each in run.names()) - 1
        sites = [f"blocks.{layer}.residual.post" for layer in range(depth)]
        error = np.array([at(run, f"linear-probe/{site}/row/mse/test") for site in sites])
        cosine = np.array([at(run, f"linear-probe/{site}/row/cosine/test") for site in sites])
        best = [set(column.argsort()[:2]) == {2, 3} for column in error.T]
        others = np.delete(cosine, (2, 3), axis=0).max(0)
        found += [
            holds(f"{name}: layers 3 and 4 have the least error", best),
            amount(f"{name}: |cosine| above the other layers", cosine[2:4].min(0) - others,
                   Range(low=0.1)),
        ]  # fmt: skip
    return found


def _components(arms: Arms, normal: str, paper: bool) -> list[Quantity]:
    steps = {name: numbers(half_plateau(arms[f"only-{name}"]))
             for name in ("token", "mlp", "attention", "position")}  # fmt: skip
    whole = numbers(half_plateau(arms[normal]))
    if paper:
        early = [(name, at(arms[f"only-{name}"], "evaluation/loss", 5000))
                 for name in ("token", "mlp")]  # fmt: skip
        return [
            *(amount(f"L at step 5,000, {name} only", each, Range(high=0.03))
              for name, each in early),
            amount("attention only, step over normal", steps["attention"] / whole, Range(high=1)),
            amount("position only, step", steps["position"], Range(25_000, 50_000)),
        ]  # fmt: skip
    # What never came within a budget comes later than all that did.
    late = {name: np.where(np.isnan(each), np.inf, each) for name, each in steps.items()}
    others = np.max([late[name] for name in ("token", "mlp", "attention")], axis=0)
    return [
        holds("token only: before half of normal training's step", late["token"] < whole / 2),
        holds("MLP only: before half of it", late["mlp"] < whole / 2),
        holds("attention only: before it", late["attention"] < whole),
        holds("position only: after the other three", late["position"] > others),
    ]


def _widths(arms: Arms) -> list[Quantity]:
    last = {name: _last(arms[name]) for name in ("width-64", "width-128", "base")}
    return [
        amount("L, width 64", last["width-64"], Range(low=0.03)),
        amount("L, width 128 over 768", last["width-128"] / last["base"], Range(low=1.3)),
    ]


def _last(run: Run) -> ndarray:
    return run.series("evaluation/loss").values[:, -10:].mean(1)


def _gpt(run: Run, paper: bool) -> list[Quantity]:
    observed, masked = (
        run.series(f"evaluation/accuracy-{part}") for part in ("observed", "masked")
    )
    if paper:
        return [
            amount("observed, step 200", at(run, observed.name, 200), Range(high=0.3)),
            amount("observed, step 1,000", at(run, observed.name, 1000), Range(low=0.7)),
            amount("masked, step 1,000", at(run, masked.name, 1000), Range(high=0.3)),
        ]
    loss = run.series("evaluation/loss/answer")
    middle = (loss.values[:, :1] + loss.values[:, -1:]) / 2
    halves = first_crossing(loss.steps, loss.values - middle, 0.0, above=False)
    # A loss that never fell is at the middle of its ends at step 0, or nowhere if it is not finite.
    first = [row[np.searchsorted(loss.steps, half / 2)] if half else np.nan
             for row, half in zip(observed.values, halves, strict=True)]  # fmt: skip
    return [
        amount("observed accuracy at half of the drop's step", first, Range(high=0.3)),
        amount("observed accuracy at the end", observed.values[:, -1], Range(low=0.7)),
        amount("masked accuracy at the end", masked.values[:, -1], Range(high=0.5)),
    ]
