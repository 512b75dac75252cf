"""Claims 7, 8, 9 and 20: what the remedies do, against softmax."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from saltus.studies.claim import Arms, Quantity, Range, exact
from saltus.studies.eureka.measures import (
    PerSeed,
    by_setting,
    counted,
    difference,
    final,
    moments,
    no_smaller_share,
    quotient,
)

REMEDIES = {"heat-treatment": "HT", "norm-softmax": "NormSoftmax-var"}
RATE = "optimizer.learning_rate"


def sooner(arms: Arms, where: str = "") -> list[Quantity]:
    """Claim 7, on the arms whose names begin with `where`."""
    softmax, found = moments(arms[f"{where}softmax"]), []
    for name, title in REMEDIES.items():
        early, late = _waited(arms, where, name)
        found += [
            no_smaller_share(f"{title}: Eureka-ratio minus softmax's",
                             moments(arms[f"{where}{name}"]).times, softmax.times),
            quotient(f"{title}: e* over softmax's, censored means", early, late,
                     Range(high=0.7), fewest=5),
        ]  # fmt: skip
    return found


def higher(arms: Arms, where: str = "") -> list[Quantity]:
    """Claim 8."""
    softmax, found = arms[f"{where}softmax"], []
    for name, title in REMEDIES.items():
        run = arms[f"{where}{name}"]
        solved, plain = (final(each)[moments(each).happened] for each in (run, softmax))
        found += [
            difference(f"{title}: final accuracy minus softmax's", final(run), final(softmax),
                       Range(low=0.05)),
            difference(f"{title}: the same of successful seeds", solved, plain, Range(low=-0.005)),
        ]  # fmt: skip
    return found


def robust(arms: Arms) -> list[Quantity]:
    """Claim 9."""
    good = {}
    for name in ("softmax", *REMEDIES):
        run = arms[f"rates-{name}"]
        happened = moments(run).happened
        good[name] = sum(happened[at].mean() >= 0.5 for at in by_setting(run, RATE).values())
    return [
        exact(f"{title}: learning rates with a ratio ≥ 1/2, more than softmax's {good['softmax']}",
              good[name] - good["softmax"], Range(low=1.0))
        for name, title in REMEDIES.items()
    ]  # fmt: skip


def no_help(arms: Arms) -> list[Quantity]:
    """Claim 20. The range is open: where few softmax seeds leap, resamples without any of them
    have a quotient of exactly 1, which says nothing."""
    found = []
    for name, title in REMEDIES.items():
        early, late = _waited(arms, "", name)
        found.append(
            quotient(f"{title}: e* over softmax's, censored means", early, late,
                     Range(low=1.0, open=True), fewest=5)
        )  # fmt: skip
    return found


def _waited(arms: Arms, where: str, name: str) -> tuple[PerSeed, Float[np.ndarray, " other"]]:
    """e* of a remedy's seeds and of softmax's up to the shorter budget, at which failed ones count;
    softmax's are NaN where no seed of either succeeds: nothing to compare."""
    own, softmax = moments(arms[f"{where}{name}"]), moments(arms[f"{where}softmax"])
    budget = min(own.budget, softmax.budget)
    early, late = counted(own, budget), counted(softmax, budget)
    if min(late.min(), early.min()) == budget:
        late = late * np.nan
    return early, late
