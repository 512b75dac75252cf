"""The figures: both panels of the paper's Fig. 1, the balance of gradients, and the numerics."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from saltus.flow.mean_field import MeanField
from saltus.flow.solve import solve
from saltus.report.compose import Points, curve, figure, mark, panel, slope
from saltus.report.figure import Curve, Figure, Panel, Reference
from saltus.studies.claim import Arms
from saltus.studies.word_cooccurrence.numerics import errors_of_descent
from saltus.studies.word_cooccurrence.track import Track
from saltus.tasks.word_cooccurrence import CLASSES
from saltus.transitions import Times

TAU, TIME = "time τ = |ω(0)|² t", "time t = step size × epoch"
NAMES = {"both": "both targets", "first": "only µ₁", "second": "only µ₂", "neither": "neither"}
PAIRS = {"12": "M[1,2]", "21": "M[2,1]", "31": "M[3,1]", "32": "M[3,2]"}


def figures(arms: Arms) -> Iterator[Figure]:
    """One after the other, so that a missing arm loses only what needs it."""
    yield first(Track(arms["SA"]), TAU, "Figure 1 in the theorem's regime: SA, gradient flow")
    yield first(Track(arms["paper"]), TIME, "Figure 1, the paper's configuration, gradient flow")
    yield balance(Track(arms["SA"]), Track(arms["SB"]))
    yield alignment(Track(arms["mean-field"]), Track(arms["SA"]))
    yield numerics(arms)
    if "paper-descent" in arms:
        title = "Figure 1, the paper's configuration, 30000 epochs of gradient descent"
        yield first(Track(arms["paper-descent"]), TIME, title)


def end_of_phase_1(arms: Arms) -> dict[str, Times]:
    """T1 of every seed in tau, for the arms that run on that clock; its last moment if never."""
    found = {}
    for arm in ("SA", "SB", "SC"):
        if arm in arms:
            track = Track(arms[arm])
            ended = track.event("T1")
            happened = np.isfinite(ended)
            found[arm] = Times(np.where(happened, ended, track.clock()[-1]), happened)
    return found


def first(track: Track, clock: str, title: str) -> Figure:
    """(a) score entries since the start, (b) the loss of each class; the boundary is T1."""
    boundary = [mark("T₁", track.event("T1"))]
    scores = panel(
        "(a) change of score entries",
        [(PAIRS[pair], track.clock(f"M/{pair}"), track.since_start(f"M/{pair}")) for pair in PAIRS],
        "µᵢᵀ W_Kᵀ W_Q µⱼ",
        x_label=clock,
        x_log=True,
        marks=boundary,
    )
    losses: list[Points | Curve] = [
        (NAMES[name], track.clock(f"class-loss/{name}"), track[f"class-loss/{name}"])
        for name in CLASSES
    ]
    total = curve("all", track.clock("class-loss/all"), track["class-loss/all"], 6, x_log=True)
    loss = panel(
        "(b) loss by class",
        [*losses, total],
        "nats",
        x_label=clock,
        x_log=True,
        levels=[("ln 2", float(np.log(2)))],
        marks=boundary,
    )
    return figure(title, [scores, loss], "T₁: the boundary of the phases, as our spec defines it.")


def balance(*tracks: Track) -> Figure:
    """R and rho against the limits of section 7, and the balance of S2 and S3."""
    panels: list[Panel] = []
    for track in tracks:
        name, limits = track.experiment.arm, MeanField(*track.counts).limits()
        s1, s2, s3, s4 = track.forces()
        clock, late = track.clock("class-loss/all"), track.clock("class-loss/all") >= 10.0
        x = clock[late]
        panels += [
            panel(
                f"{name}: R and ρ",
                [("R", x, track.ratio()[:, late]), ("ρ = S₁/S₂", x, (s1 / s2)[:, late])],
                x_label=TAU,
                x_log=True,
                levels=[("R*", limits.common), ("ρ*", limits.ratio)],
                marks=[mark("T₁", track.event("T1"))],
            ),
            panel(
                f"{name}: one-target classes balance, I₄ does not",
                [("S₂/S₃", x, (s2 / s3)[:, late]), ("S₄/S₂", x, (s4 / s2)[:, late])],
                x_label=TAU,
                x_log=True,
                levels=[("balance", 1.0)],
            ),
        ]
    note = "R = (S₂+S₃+S₄−S₁)/(S₁−S₂). Dashed: the limits for these counts."
    return figure("Automatic balancing of gradients", panels, note)


def alignment(small: Track, large: Track) -> Figure:
    """The read-outs of the signal tokens, and the mean-field system's class losses."""
    readouts = panel(
        "read-out G of the signal tokens, SA",
        [(f"G(µ{'₁₂₃'[i - 1]})", large.clock(f"G/{i}"), large[f"G/{i}"]) for i in (1, 2, 3)],
        x_label=TAU,
        x_log=True,
        marks=[mark("T₁", large.event("T1"))],
    )
    curves: list[Points | Curve] = [
        (NAMES[name], small.clock(f"class-loss/{name}"), small[f"class-loss/{name}"])
        for name in CLASSES
    ]
    followed = panel(
        "loss by class from a small start, SB, κ = 0.05",
        curves,
        "nats",
        x_label=TAU,
        references=mean_field(small),
    )
    return figure("Alignment", [readouts, followed], "Dashed on the right: the mean field MF(n).")


def mean_field(track: Track) -> list[Reference]:
    """The losses of the classes in MF(n), in the colours of the classes."""
    system, clock = MeanField(*track.counts), np.linspace(0.0, track.clock()[-1], 200)
    path = solve(system.velocity, system.start(), clock.tolist(), rtol=1e-10)
    losses = system.class_losses(path.states[0]).numpy()
    return [Reference("MF(n)", clock, losses[:, place], place) for place in range(len(CLASSES))]


def numerics(arms: Arms) -> Figure:
    """Gradient descent tends to gradient flow; what the flow conserves drifts by solver error."""
    found = errors_of_descent(arms)
    order = np.argsort(found.rates)
    rates, errors = found.rates[order], found.errors[:, order]
    guide = slope("slope 1", 1.0, (rates[0], float(np.median(errors[:, 0]))), (rates[0], rates[-1]))
    descent = panel(
        "error of gradient descent at t = 2, setting U",
        [("|θ − flow| / |flow|", rates, errors)],
        x_label="step size η",
        x_log=True,
        log=True,
        dots=True,
        references=[guide],
    )
    drift: list[Points | Curve] = []
    for arm, label in (("U-0.0025", "descent, η = 0.0025"), ("U-flow", "flow, rtol 1e-8")):
        track = Track(arms[arm])
        for name in ("I1", "I2"):
            series = f"conservation/{name}"
            drift.append((f"{name}, {label}", track.clock(series), track[series]))
    invariants = panel(
        "drift of the invariants, over their size",
        drift,
        x_label="time t",
        x_log=True,
        log=True,
    )
    return figure("Descent, flow, and what the flow conserves", [descent, invariants])
