"""Attention shift: how far attention has moved from where it began, and from uniform."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.captured import PATTERNS, attention_patterns, precise
from saltus.tasks.base import Task


class AttentionShift(Instrument):
    """The largest change of any attention weight, on the training batch.

    Per layer `attention-shift/<layer>`: max |p(t) - p(0)| over samples, heads, queries and keys,
    where p(0) is the pattern of the parameters of step 0 on the same batch; and
    `attention-shift/<layer>/from-uniform`: max |p(t) - 1/keys|, which for unmasked attention says
    how uniform it is (2410.09605, Cor. D.2 and Def. F.1).
    """

    kind: Literal["attention-shift"] = "attention-shift"
    cadence: AnyCadence = Cadence(every=200)

    def needs(self, task: Task) -> Needs:
        return Needs(sites=PATTERNS, training=True, initial=True)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        results = {}
        for layer, pattern in attention_patterns(reading).items():
            began = precise(reading.initial_sites[f"{layer}.attention.pattern"])
            results[f"attention-shift/{layer}"] = (pattern - began).abs().amax()
            uniform = (pattern - 1 / pattern.shape[-1]).abs().amax()
            results[f"attention-shift/{layer}/from-uniform"] = uniform
        return results
