"""Claims 12 to 15: phase 1, from the start to T1."""

from __future__ import annotations

import numpy as np

from saltus.flow.mean_field import MeanField
from saltus.flow.solve import solve
from saltus.studies.claim import Arms, Claim, Quantity, Range, amount, every
from saltus.studies.study import Scale
from saltus.studies.word_cooccurrence.recipe import WIDTHS
from saltus.studies.word_cooccurrence.track import Track, highest
from saltus.tasks.word_cooccurrence import CLASSES

SOURCE = "2410.09605, Thm 3.1, Lemma 4.3; spec sections 5.4, 8, 11"
DERIVED = "derived in our spec, sections 5.4 and 11; the paper gives orders only"


def claims(scale: Scale) -> list[Claim]:
    """Claims 12 to 15 of section 12."""
    larger = ("SB",) if scale == "paper" else ()
    widths = tuple(f"width-{width}" for width in WIDTHS[scale])
    return [
        Claim(12, "A small start follows the mean-field system through phase 1", DERIVED,
              "not established", "loss of every class within 0.04 of MF(n) for τ ≤ 40",
              ("mean-field",), _mean_field),
        Claim(13, "In phase 1 one-target losses rise, then fall; the two-target loss only falls",
              "2410.09605, Fig. 1(b) and section 4", "rise, then fall; fall at once",
              "peaks above the start; I1 never rises; all seeds of SA, and of SB from a start as "
              "small as the theorem's (κ = 0.05)", ("SA", "mean-field", *larger),
              lambda arms: [q for arm in ("SA", "mean-field", *larger) for q in _rise(arms, arm)]),
        Claim(14, "At T1 all is classified, the loss still large, attention still", SOURCE,
              "loss Θ(1), weights of attention near their start",
              "loss ≥ 0.25, max |dp| ≤ 1e-5, |dA| / A ≤ 0.05 at T1; all seeds",
              ("SA", *larger, *(("SC",) if larger else ())),
              lambda arms: [q for arm in ("SA", *larger, *(("SC",) if larger else ()))
                            for q in _at_boundary(arms, arm)]),
        Claim(15, "Phase 1 lasts 1/m, and values move by 1/m in it",
              "2410.09605, Thm 3.1: T1 = C / (σ1² m m1), change of values Õ(1/m)",
              "slopes -1 in m", "log-log slopes -1.1 to -0.9, m from "
              f"{WIDTHS[scale][0]} to {WIDTHS[scale][-1]}", widths,
              lambda arms: _against_width(arms, WIDTHS[scale])),
    ]  # fmt: skip


def _mean_field(arms: Arms) -> list[Quantity]:
    track = Track(arms["mean-field"])
    system = MeanField(*track.counts)
    clock = track.clock("class-loss/all")
    path = solve(system.velocity, system.start(), clock.tolist(), rtol=1e-11)
    expected = system.class_losses(path.states[0]).numpy()  # [moment, class]
    errors = [
        np.abs(track[f"class-loss/{name}"] - expected[:, place]).max(axis=1)
        for place, name in enumerate(CLASSES)
    ]
    return [every("largest error of a class's loss", np.max(errors, axis=0), Range(high=0.04))]


def _rise(arms: Arms, arm: str) -> list[Quantity]:
    track = Track(arms[arm])
    first, second = (track.since_start(f"class-loss/{name}").max(axis=1) for name in CLASSES[1:3])
    climb = np.diff(track["class-loss/both"], axis=1).max(axis=1)
    just_above = Range(low=0.0, open=True)
    return [
        every(f"{arm}: peak of the I2 loss above its start", first, just_above),
        every(f"{arm}: peak of the I3 loss above its start", second, just_above),
        every(f"{arm}: largest rise of the I1 loss from moment to moment", climb, Range(high=0.0)),
    ]


def _at_boundary(arms: Arms, arm: str) -> list[Quantity]:
    track = Track(arms[arm])
    moment = track.event("T1")
    before = track.clock("attention-shift/blocks.0")[None, :] <= moment[:, None]
    shift = highest(track["attention-shift/blocks.0"], before)
    growth = np.abs(track.at("A", moment) / track["A"][:, 0] - 1)
    return [
        every(f"{arm}: loss at T1", track.at("class-loss/all", moment), Range(low=0.25)),
        every(f"{arm}: max |dp| up to T1", shift, Range(high=1e-5)),
        every(f"{arm}: |dA| / A at T1", growth, Range(high=0.05)),
    ]


def _against_width(arms: Arms, widths: tuple[int, ...]) -> list[Quantity]:
    tracks = [Track(arms[f"width-{width}"]) for width in widths]
    # The clock is |omega(0)|^2 t; the claim is on the time t of each seed.
    times = np.stack([track.event("T1") / track["A"][:, 0] for track in tracks], axis=1)
    moved = np.stack([track.at("score-shift/gram", track.event("T1")) for track in tracks], axis=1)
    return [
        amount("slope of log T1 over log m", slopes(widths, times), Range(-1.1, -0.9)),
        amount("slope of log max |dB| at T1 over log m", slopes(widths, moved), Range(-1.1, -0.9)),
    ]


def slopes(x: tuple[int, ...], values: np.ndarray) -> np.ndarray:
    """The least-squares slope of log values [seed, x] over log x, for each seed."""
    centred = np.log(x) - np.log(x).mean()
    return np.log(values) @ centred / (centred @ centred)
