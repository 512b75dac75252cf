"""Saturation: how near a network is to its saturated limit (2010.09697)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from saltus.errors import SaltusError
from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.captured import precise
from saltus.instruments.saturated_view import Tolerance, saturated_pass
from saltus.instruments.scaled_view import SATURATING, at_scale, cosine, real_tokens, token_mean
from saltus.models.saturated import TOLERANCE
from saltus.models.sites import matches
from saltus.tasks.base import Task

LAYERS = "blocks.*.residual.post"
FINAL = "final"
Mode = Literal["scale", "zeta"]


class Saturation(Instrument):
    """Mean over tokens of cos(h(theta), h(saturated)), h a layer's state (2010.09697, M13 and M14
    of section 5 of our spec). 1 where saturating changes no direction.

    `modes` says what stands for the saturated network:

    - `scale`, the paper's: all parameters times `scale`, 1000 in the paper. Gives
      `saturation/blocks.i` for what each block leaves on the residual stream (M13), and
      `saturation/final` for what the readout reads (M14). Where a model has no final norm, as the
      paper's have none, `final` is the last block's. `groups` scales these parameters alone.
    - `zeta`: theta as it is, and every head's attention on its largest scores alone, ties averaged
      (M16). Gives `saturation/zeta/blocks.i` and `saturation/zeta/final`. c = 1000 need not equal
      it where gaps are small against rounding (section 9.23).

    Scalars in [-1, 1]. `padding: excluded` leaves out tokens that the batch calls padding; the
    paper's M13 has none, its M14 excludes them. `tolerance` is that of ties. The embedding, whose
    saturation is 1, is not among the layers. A model without blocks gives `final` alone; one with
    batch norms is refused (`scaled_view.at_scale`). Passes run in the model's own precision, one
    for each mode, and one. `samples` is the number of samples read, the experiment's
    `evaluation_batch` if not given.
    """

    stacked: ClassVar[bool] = True
    kind: Literal["saturation"] = "saturation"
    modes: tuple[Mode, ...] = Field(default=("scale",), min_length=1)
    scale: float = Field(default=SATURATING, gt=1, description="c, which multiplies parameters")
    groups: tuple[str, ...] = Field(default=(), description="what is scaled; all if not given")
    tolerance: Tolerance = TOLERANCE
    padding: Literal["excluded", "included"] = "excluded"
    samples: int | None = Field(default=None, ge=1, description="evaluation_batch if not given")
    cadence: AnyCadence = Cadence(every=200)

    def needs(self, task: Task) -> Needs:
        return Needs(sites=(FINAL,), samples=self.samples)  # not every model has blocks

    def read(self, reading: Reading) -> dict[str, Tensor]:
        assert reading.run is not None  # this instrument is stacked
        own = reading.run(reading.batch["inputs"], capture=(LAYERS, FINAL)).sites
        states = layer_states(self.kind, own)
        results = {}
        for mode in self.modes:
            before = self.kind if mode == "scale" else f"{self.kind}/{mode}"
            other = layer_states(self.kind, self._saturated(mode, reading))
            for layer, state in states.items():
                found = cosine(state, other[layer])
                real = real_tokens(reading.batch if self.padding == "excluded" else {}, found)
                results[f"{before}/{layer}"] = token_mean(found, real)
        return results

    def _saturated(self, mode: Mode, reading: Reading) -> Mapping[str, Tensor]:
        if mode == "zeta":
            return saturated_pass(reading, (LAYERS, FINAL), self.tolerance).sites
        return at_scale(reading, self.scale, self.groups, (LAYERS, FINAL)).sites


def layer_states(kind: str, sites: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """{"blocks.0": [..., token, width], ..., "final": ...} of the sites that there are."""
    found = {
        name.removesuffix(".residual.post"): precise(value)
        for name, value in sites.items()
        if matches(name, (LAYERS, FINAL))
    }
    if not found:
        raise SaltusError(
            f"instrument {kind}: the model has neither a site '{LAYERS}' nor '{FINAL}'"
        )
    return found
