"""Claims 1 to 5 and 18 of section 8 of our spec, as far as recorded curves go; claim 7's fits.

T5-base was pretrained with a step size that decays, once, by others: these are numbers without
seeds. What `fixture` holds was read off a figure, so what is computed from it is as good as that:
near the end an error of half a unit in the fourth digit of a cosine is one of 2.7 in ‖δ‖.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float

from saltus.studies.claim import Arms, Claim, Quantity, Range, amount, exact
from saltus.studies.norm_growth import fixture
from saltus.transitions.statistics.growth import choose, fit, motion_of_pairs, power

# The released regression's four, in the order of r² that is claimed.
ORDER = ("root", "linear", "fourth-root", "exponential")
LATE = 50_000  # steps
READING = 3.0  # of a step size: what four digits of a cosine leave open
HIDDEN = "read off the authors' figures; the checkpoints are not public"


def claims() -> list[Claim]:
    """Claims 1, 4, 5 and 18, which need the recorded curves alone."""
    return [
        Claim(1, "√t fits the norm of T5-base best of four regressors",
              "2010.09697, Figure 1", f"r² 1.00; 0.9986 {HIDDEN}",
              "recorded norms: r² 0.9986 within 0.0005; √t before t before t^(1/4) before e^-t; "
              "free exponent 0.56 within 0.01; of √t, t and log t our criterion chooses √t",
              (), root),
        Claim(4, "The distance between checkpoints of T5-base is nearly constant late",
              "2010.09697, Figure 5", f"changes by less than 20; 291.7 to 319.6 {HIDDEN}",
              "recorded curves after step 50,000, but for the last interval: both ends within 3, "
              "which is what four digits of a cosine leave open; that is a change of more than "
              "20 (encoder and decoder; the paper's number may be of the encoder)",
              (), step_size),
        Claim(5, "The drop of the last distance is an artefact of spacing",
              "inferred in our spec, section 8", "not explained",
              "the last interval has 4,088 steps and not 5,100: what the one before says, scaled "
              "by the root of the ratio, is within 3 of what is seen", (), last_interval),
        Claim(18, "Later layers of T5-base's encoder end larger",
              "2010.09697, section 3", f"grows faster in later layers; final norms {HIDDEN}",
              "layer 12 above 11 above 10 above 9, and layer 1 the smallest", (), layers),
    ]  # fmt: skip


def root(arms: Arms) -> list[Quantity]:
    """Claim 1."""
    norms = fixture.NORMS
    r_squared = [float(fit(fixture.STEPS, norms, law).r_squared) for law in ORDER]
    free = power(fixture.STEPS, norms)
    law = choose(fixture.STEPS, norms).law
    return [
        exact("r² of √t", r_squared[0], Range(0.9981, 0.9991)),
        exact("r² ahead of the next of four, at least",
              min(a - b for a, b in pairwise(r_squared)), Range(low=0.0, open=True)),
        exact("free exponent", free.exponent, Range(0.55, 0.57)),
        exact("√t is chosen of √t, t and log t", law == "root", Range(1.0, 1.0)),
    ]  # fmt: skip


def direction() -> list[Quantity]:
    """Claim 2, its recorded part: the direction converges."""
    return [
        exact("T5-base: first cosine", fixture.COSINES[0], Range(high=0.81)),
        exact("T5-base: last cosine", fixture.COSINES[-1], Range(low=0.997)),
    ]


def alignment() -> list[Quantity]:
    """Claim 3, its recorded part: steps are nearly orthogonal to the parameters (M8)."""
    found = motion_of_pairs(fixture.NORMS, fixture.COSINES).alignment
    return [
        exact("T5-base: highest alignment", found.max(), Range(0.174, 0.184)),
        exact("T5-base: step of the highest", fixture.STEPS[1:][found.argmax()],
              Range(15_300.0, 15_300.0)),
        exact("T5-base: last alignment", found[-1], Range(0.023, 0.029)),
    ]  # fmt: skip


def step_size(arms: Arms) -> list[Quantity]:
    """Claim 4 (M9)."""
    late = _lengths()[fixture.STEPS[1:] >= LATE][:-1]
    return [
        exact("shortest", late.min(), Range(291.7 - READING, 291.7 + READING)),
        exact("longest", late.max(), Range(319.6 - READING, 319.6 + READING)),
    ]


def last_interval(arms: Arms) -> list[Quantity]:
    """Claim 5: an orthogonal walk goes as far as the root of its steps."""
    lengths, spacing = _lengths(), np.diff(fixture.STEPS)
    expected = lengths[-2] * (spacing[-1] / spacing[-2]) ** 0.5
    return [
        exact("steps of the last interval", spacing[-1], Range(4088.0, 4088.0)),
        exact("last distance over the one before", lengths[-1] / lengths[-2],
              Range(high=1.0, open=True)),
        exact("last distance less what its spacing says", lengths[-1] - expected,
              Range(-READING, READING)),
    ]  # fmt: skip


def layers(arms: Arms) -> list[Quantity]:
    """Claim 18."""
    ends = fixture.LAYER_ENDS
    return [
        exact("layers 9 to 12: smallest rise to the next", np.diff(ends[8:]).min(),
              Range(low=0.0, open=True)),
        exact("smallest of layers 2 to 12 less layer 1", (ends[1:] - ends[0]).min(),
              Range(low=0.0, open=True)),
    ]  # fmt: skip


def constant_rate(
    name: str, steps: np.ndarray, norms: Float[np.ndarray, "seed step"]
) -> list[Quantity]:
    """Claim 7 under a constant learning rate: growth is nearly linear."""
    ahead = fit(steps, norms, "linear").r_squared - fit(steps, norms, "root").r_squared
    return [
        amount(f"{name}: free exponent", power(steps, norms).exponent, Range(low=0.8)),
        amount(f"{name}: r² of t less r² of √t", ahead, Range(low=0.0, open=True)),
    ]


def decaying_rate(
    name: str, steps: np.ndarray, norms: Float[np.ndarray, "seed step"]
) -> list[Quantity]:
    """Claim 7 under a learning rate that falls as 1/√t: growth is √t."""
    return [
        amount(f"{name}: free exponent", power(steps, norms).exponent, Range(high=0.6)),
        amount(f"{name}: r² of √t", fit(steps, norms, "root").r_squared, Range(low=0.99)),
    ]


def _lengths() -> Float[np.ndarray, " interval"]:
    return motion_of_pairs(fixture.NORMS, fixture.COSINES).lengths
