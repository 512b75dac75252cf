"""Claims that mix two checkpoints: identities of patching and switching, and figure data."""

from __future__ import annotations

import numpy as np

from saltus.instruments.component_switching import ComponentSwitching
from saltus.runs import Run
from saltus.studies.claim import Quantity, Range, exact
from saltus.studies.matrix_completion.measures import at
from saltus.training.revisit import revisit

EVERYTHING = {"everything": ("*",)}


def identities(run: Run, before: int) -> list[Quantity]:
    """Claim 13: the largest deviation over seeds from what must be exactly so."""
    patched = at(run, "activation-patching/identity")
    scores = switched(run, before, None, EVERYTHING)
    name = "component-switching/{}/loss".format
    off = np.abs(scores[name("everything")] - scores[name("donor")])
    return [
        exact("patching with one's own activations: largest change of an output", patched.max(),
              Range(high=1e-6)),
        exact("switching everything: loss against the donor's", off.max(), Range(high=1e-6)),
    ]  # fmt: skip


def switched(
    run: Run, donor: int, step: int | None = None, switches: dict | None = None
) -> dict[str, np.ndarray]:
    """Groups taken from the checkpoint of step `donor` into that of `step`, the last if not given
    (section 6.5 of our spec)."""
    instrument = ComponentSwitching(switches=switches)
    return revisit(run, [instrument], step, donor=run.checkpoint(donor))
