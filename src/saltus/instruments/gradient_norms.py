"""Gradient norms: how hard the loss pulls, in all and on each group of parameters."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.norms import Per, norms
from saltus.tasks.base import Task


class GradientNorms(Instrument):
    """|g| = sqrt(sum of (dL/dtheta_i)^2), the L2 norm of the training gradient, before clipping.

    Gives `gradient/total` and `gradient/<group>` for every group of `saltus.models.groups`, or
    `gradient/<parameter name>`. Squares add up as those of `norms` do. Scalars, in units of loss
    per unit of parameter.
    """

    kind: Literal["gradient-norms"] = "gradient-norms"
    per: Per = "group"
    cadence: AnyCadence = Cadence(every=50)

    def needs(self, task: Task) -> Needs:
        return Needs(gradients=True)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        total, parts = norms(reading.gradients, self.per)
        return {"gradient/total": total} | {f"gradient/{name}": v for name, v in parts.items()}
