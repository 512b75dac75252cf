"""Claims 8 to 10: the first moment."""

from __future__ import annotations

import numpy as np

from saltus.studies.claim import Arms, Claim, Quantity, Range, amount, every, median
from saltus.studies.study import Scale
from saltus.studies.word_cooccurrence.track import Track

SIZES = (0.3, 0.1, 0.05)  # kappa


def claims(scale: Scale) -> list[Claim]:
    """Claims 8 to 10 of section 12, on SB's data at m = 256 (paper scale: 1024), m1 = 64."""
    width = 256 if scale == "quick" else 1024
    where = f"SB data, m = {width}, m1 = 64"
    return [
        Claim(8, "Attention starts uniform", "2410.09605, Cor. D.2", "1/L up to Õ(1/(L m))",
              f"max |p - 1/L| ≤ 1e-4 at κ = 0.3, {where}; the paper's configuration ≤ 5e-3",
              ("start", "paper"), _uniform),
        Claim(9, "The targets' read-outs start at 1/6 of (A + m1 |W_V mu|^2)",
              "2410.09605, Lemma 4.1; the constant derived in our spec, section 4",
              "Θ((σ0² + σ1²) m)",
              f"mean over seeds within 5 %, each seed within 25 % at κ = 0.1, {where}",
              ("start",), _sixth),
        Claim(10, "The common token's read-out starts at lower order", "2410.09605, Lemma 4.2",
              "lower order, going to 0 with |F(0)|",
              f"median |dG3| / dG1 ≤ 0.12 at κ = 0.1, ≤ 0.06 at 0.05, {where}",
              ("start",), _lower_order),
    ]  # fmt: skip


def of_size(track: Track, kappa: float) -> np.ndarray:
    """The places of the members that start with this kappa."""
    found = [member["overrides"].get("model.kappa") for member in track.run.members]
    return np.array([value == kappa for value in found])


def _uniform(arms: Arms) -> list[Quantity]:
    name = "attention-shift/blocks.0/from-uniform"
    track, paper = Track(arms["start"]), Track(arms["paper"])
    return [
        every("max |p - 1/L|, κ = 0.3", track[name][of_size(track, 0.3), 0], Range(high=1e-4)),
        every("max |p - 1/L|, the paper's configuration", paper[name][:, 0], Range(high=5e-3)),
    ]


def _sixth(arms: Arms) -> list[Quantity]:
    track = Track(arms["start"])
    neurons = track.experiment.data()["model"]["neurons"]
    scale = track["A"][:, 0] + neurons * track["B/11"][:, 0]
    ratio = (track["dG/1"][:, 0] / scale)[of_size(track, 0.1)]
    return [
        amount("mean, times 6", 6 * ratio, Range(0.95, 1.05)),
        every("each seed, times 6", 6 * ratio, Range(0.75, 1.25)),
    ]


def _lower_order(arms: Arms) -> list[Quantity]:
    track = Track(arms["start"])
    ratio = np.abs(track["dG/3"][:, 0]) / track["dG/1"][:, 0]
    return [
        median(f"|dG3| / dG1, κ = {kappa:g}", ratio[of_size(track, kappa)], Range(high=limit))
        for kappa, limit in ((0.1, 0.12), (0.05, 0.06))
    ]
