"""What every study that leaps reads across it, so that the report can lay the leaps side by side.

`report/across_leaps.py` draws it; the measures are the norm-growth paper's (2010.09697).
"""

from __future__ import annotations

from typing import Literal

from saltus.instruments import AnyInstrument, Cadence
from saltus.instruments.head_types import HeadTypes
from saltus.instruments.norms import Norms
from saltus.instruments.saturation import Saturation

Heads = Literal["causal", "bidirectional"]
# These tasks have few keys: one is one, not the 5 that are advised for the long texts of the paper.
ONE, MANY = 1.5, 0.9


def watching(every: int, heads: Heads, samples: int = 128) -> tuple[AnyInstrument, ...]:
    """Norms, saturation at c = 1000 and of the heads alone, and which heads look at one key or at
    nearly all they see.

    A causal head that looks at all has (T + 1) / 2 keys in the mean, another T.
    """
    cadence = Cadence(every=every)
    many = MANY if heads == "causal" else 2 * MANY
    return (
        Norms(cadence=cadence),
        Saturation(cadence=cadence, samples=samples, modes=("scale", "zeta")),
        HeadTypes(cadence=cadence, samples=samples, argmax=ONE, mean=many),
    )
