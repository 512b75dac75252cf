"""Saturated accuracy: what a model still can do when every head is saturated."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.component_switching import scores
from saltus.instruments.saturated_view import Tolerance, saturated_pass
from saltus.instruments.saturation import Mode
from saltus.instruments.scaled_view import SATURATING, at_scale
from saltus.models.saturated import TOLERANCE
from saltus.tasks.base import Task


class SaturatedAccuracy(Instrument):
    """The loss and the task's metrics of the saturated model, on the same samples as the intact's.

    - `saturated/loss`, `saturated/accuracy` and so on: every head's attention on its largest scores
      alone, ties averaged (zeta of 2010.09697, M16 of our spec), all else as it is;
    - `saturated/intact/<metric>`: the model as it is;
    - `saturated/scaled/<metric>`, where `modes` has `scale`: all parameters times `scale`. Outputs
      grow with it, so that a cross-entropy counts almost nothing but the outputs that are wrong, in
      huge numbers (a perplexity is infinite); what an accuracy takes from them, their order, is
      that of the saturated network (Def. 1).

    `<metric>` is `loss` and each of the task's own, in its units. The paper has none of these: it
    compares states (`saturation`). On `samples` samples of the evaluation batch's kind; one forward
    pass for each mode, and one.
    """

    stacked: ClassVar[bool] = True
    kind: Literal["saturated-accuracy"] = "saturated-accuracy"
    modes: tuple[Mode, ...] = Field(default=("zeta",), min_length=1)
    scale: float = Field(default=SATURATING, gt=1, description="c, which multiplies parameters")
    tolerance: Tolerance = TOLERANCE
    samples: int = Field(default=256, ge=1)
    cadence: AnyCadence = Cadence(every=1000)

    def needs(self, task: Task) -> Needs:
        return Needs(outputs=True, samples=self.samples)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        assert reading.outputs is not None  # `needs` asked for them
        outputs = {"intact/": reading.outputs}
        if "zeta" in self.modes:
            outputs[""] = saturated_pass(reading, (), self.tolerance).outputs
        if "scale" in self.modes:
            outputs["scaled/"] = at_scale(reading, self.scale).outputs
        return {
            f"saturated/{how}{name}": value
            for how, found in outputs.items()
            for name, value in scores(reading.task, found, reading.batch).items()
        }
