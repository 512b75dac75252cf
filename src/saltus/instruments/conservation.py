"""Conservation: what gradient flow would keep, and how far training has let it drift."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.norms import length
from saltus.tasks.base import Task


class Conservation(Instrument):
    """Drift |C(t) - C(0)| / |C(0)| (Frobenius) of every quantity C that the flow conserves.

    Source: for the word co-occurrence model I1 to I3 of our spec (2410.09605, section 6); for
    transformers `Decoder.conserved`. Gives `conservation/<name>`: 0 on the exact flow of any loss,
    solver error on a computed one, O(step size) over a fixed time for gradient descent. Momentum,
    adaptive optimisers, weight decay and freezing break the symmetry: then it measures by how
    much. Models without known symmetries give nothing.
    """

    kind: Literal["conservation"] = "conservation"
    cadence: AnyCadence = Cadence(every=100)

    def needs(self, task: Task) -> Needs:
        return Needs(initial=True)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        if reading.model is None:
            return {}
        now = reading.model.conserved(reading.parameters)
        then = reading.model.conserved(reading.initial)
        results = {}
        for name, value in now.items():
            scale = length(then[name]).clamp_min(torch.finfo(value.dtype).tiny)
            results[f"conservation/{name}"] = length(value - then[name]) / scale
        return results
