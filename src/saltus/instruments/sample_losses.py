"""The loss of every single training sample."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.tasks.base import Task


class SampleLosses(Instrument):
    """`sample-losses` [sample]: the loss of each sample of the training batch.

    With logistic loss it determines the rest of what the word co-occurrence paper looks at per
    sample: force 1 - exp(-loss), margin -log(exp(loss) - 1), and whether it is classified rightly.
    """

    kind: Literal["sample-losses"] = "sample-losses"
    cadence: AnyCadence = Cadence(every=1000)

    def needs(self, task: Task) -> Needs:
        return Needs(outputs=True, training=True)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        assert reading.losses is not None  # `needs` asked for it
        return {"sample-losses": reading.losses}
