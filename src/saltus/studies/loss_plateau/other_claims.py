"""Claims 29 to 33 of our matrix-completion spec (section 10): other tasks, softmax, locations."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from saltus.runs import Run
from saltus.studies.claim import Arms, Claim, Quantity, Range, amount
from saltus.studies.loss_plateau.claims import half_accuracy, numbers, peaks
from saltus.studies.study import Scale

SOURCE = "2506.13688"
SEVERAL = ("addition", "permutation", "histogram")
PRE, AFTER = "cosine/blocks.0.residual.pre", "cosine/blocks.0.residual.mid"


def other_claims(scale: Scale) -> list[Claim]:
    """The five claims. Where a run ends on its plateau, peaks are over all of it."""
    budget = 1000.0 if scale == "paper" else 440.0
    return [
        Claim(29, "Prefix sums: collapse, and answers of too few tokens, then a drop",
              f"{SOURCE}, figures 6, 11, 12", "COS peak about 0.80, entropy below the data's",
              f"peak > 0.65; entropy < 2.0 nats before the drop; half accuracy before {budget:g}",
              ("prefix-sum",), lambda arms: _prefix(arms["prefix-sum"], budget)),
        Claim(30, "Addition, permutation, histogram: repetition and collapse before the drop",
              f"{SOURCE}, figures 9, 10, 13 to 16", "qualitative; unverified guess of our spec",
              "peak COS > 0.5 and peak rho > twice the data's", SEVERAL, _several),
        Claim(31, "Collapse appears after attention, not before it", f"{SOURCE}, figures 41 and 42",
              "qualitative", "COS after attention > before it + 0.2 on the plateau", ("baseline",),
              lambda arms: [amount("COS after minus before, at the peak of COS",
                                   _across_attention(arms["baseline"]), Range(low=0.2))]),
        Claim(32, "Softmax attention collapses on its plateau too", f"{SOURCE}, figure 30",
              "qualitative", "peak COS > 0.8", ("softmax",),
              lambda arms: [amount("COS peak", peaks(arms["softmax"], "cosine/final"),
                                   Range(low=0.8))]),
        Claim(33, "Early checkpoints of language models collapse, later ones do not",
              f"{SOURCE}, figures 8, 23 to 25", "Pythia early > 0.9; OLMo 0.93, then 0.43",
              "within 0.1; needs weights from a hub: `saltus llm` measures them, docs/"
              "language-models.md", ("weights of Pythia and OLMo",), lambda arms: []),
    ]  # fmt: skip


def _prefix(run: Run, budget: float) -> list[Quantity]:
    entropy, ends = run.series("answers/entropy"), _ends(run)
    # Step 0 is left out: an untrained model's answers may be of one token, and are no plateau's.
    lowest = [values[(entropy.steps > 0) & (entropy.steps <= end)].min(initial=np.inf)
              for values, end in zip(entropy.values, ends, strict=True)]  # fmt: skip
    return [
        amount("COS peak before the drop", peaks(run, "cosine/final"), Range(low=0.65)),
        amount("least entropy before the drop, nats", lowest, Range(high=2.0)),
        amount("half-accuracy step", numbers(half_accuracy(run)), Range(high=budget)),
    ]


def _several(arms: Arms) -> list[Quantity]:
    found = []
    for name in SEVERAL:
        run = arms[name]
        data = run.series("repetition/data").values.mean(1)
        ratio = np.array(peaks(run, "repetition/rate")) / data
        found += [
            amount(f"{name}: COS peak", peaks(run, "cosine/final"), Range(low=0.5)),
            amount(f"{name}: rho peak over the data's", ratio, Range(low=2.0)),
        ]
    return found


def _across_attention(run: Run) -> ndarray:
    final, before, after = (run.series(name).values for name in ("cosine/final", PRE, AFTER))
    steps = run.series("cosine/final").steps
    places = [int(np.argmax(np.where((steps > 0) & (steps <= end), values, -1.0)))
              for values, end in zip(final, _ends(run), strict=True)]  # fmt: skip
    rows = np.arange(len(final))
    return after[rows, places] - before[rows, places]


def _ends(run: Run) -> list[float]:
    """The half-accuracy step of each seed, or the end of its run."""
    last = float(run.status["steps"])
    return [last if step is None else float(step) for step in half_accuracy(run)]
