"""Attention maps: the average pattern of every head, to be looked at."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.captured import PATTERNS, attention_patterns
from saltus.tasks.base import Task


class AttentionMap(Instrument):
    """Mean attention weights over the evaluation batch, as in 2410.22244 (section 6.3 of our spec).

    Gives the array `attention-map/blocks.i` [head, query, key], signed for linear attention. An
    array per layer is kept for every reading, so by default there are ten per decade of steps.
    """

    kind: Literal["attention-map"] = "attention-map"
    cadence: AnyCadence = Cadence(per_decade=10)

    def needs(self, task: Task) -> Needs:
        return Needs(sites=PATTERNS)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        return {
            f"attention-map/{block}": pattern.mean(0)
            for block, pattern in attention_patterns(reading).items()
        }
