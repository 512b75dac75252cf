"""The scaling curve: how fast a network comes to its saturated limit as parameters are scaled."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, StringConstraints, field_validator
from torch import Tensor

from saltus.errors import SaltusError
from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Pass, Reading
from saltus.instruments.captured import precise
from saltus.instruments.homogeneity import degree
from saltus.instruments.scaled_view import (
    SATURATING,
    at_scale,
    cosine,
    real_tokens,
    unit_scale,
)
from saltus.tasks.base import Task

# 20 evenly spaced points from 1 to 10 (M12).
SCALES = tuple(1 + 9 * i / 19 for i in range(20))
Group = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]*$")]


class ScalingCurve(Instrument):
    """cos(h(c theta), h(C theta)) over scales c, C = `limit`, with the encodings h of all tokens of
    all samples laid end to end as ONE vector (2010.09697, M12 of section 5 of our spec; Fig. 4).

    Arrays are over `scales`. For all parameters, and for each of `groups` scaled alone (then with
    `/<group>` after `scaling-curve`):

    - `scaling-curve/cosine` [scale], against h at `limit`, 1000 in the paper;
    - `scaling-curve/exponent` and `scaling-curve/spread`: the degree k of homogeneity,
      d ln|h(c theta)| / d ln c, as a mean over tokens and neighbouring scales and as the standard
      deviation over both; `scaling-curve/exponents` [interval], the means over tokens alone;
    - `scaling-curve/outputs/exponent`, `/spread` and `/exponents`: the same of the model's outputs.

    The encoding is `site`, what the readout reads. Degrees are this project's way to say how
    homogeneous a whole model is; the paper proves ~1 for its encoder and ~2 with a readout that has
    no bias (Props. 4 to 6). Padding is left out where the batch says what is padding. On `samples`
    samples of the evaluation batch's kind; one forward pass per scale, and one, for each group.
    """

    stacked: ClassVar[bool] = True
    kind: Literal["scaling-curve"] = "scaling-curve"
    scales: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=SCALES, min_length=2)
    limit: float = Field(default=SATURATING, gt=0, description="C, which stands for infinity")
    groups: tuple[Group, ...] = Field(default=(), description="parameter groups to scale alone")
    site: str = Field(default="final", min_length=1, description="whose states are encodings")
    samples: int = Field(default=64, ge=1)
    cadence: AnyCadence = Cadence(at=())  # one pass per scale: at the first and the last step

    @field_validator("scales")
    @classmethod
    def _rising(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        if any(after <= before for before, after in pairwise(scales)):
            raise ValueError("must rise from each scale to the next")
        return scales

    @field_validator("groups")
    @classmethod
    def _no_name_is_taken(cls, groups: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(groups)) < len(groups):
            raise ValueError("names a group twice")
        return groups

    def needs(self, task: Task) -> Needs:
        return Needs(samples=self.samples)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        results = {}
        for group in (None, *self.groups):
            before = self.kind if group is None else f"{self.kind}/{group}"
            curve = self._curve(reading, group)
            results |= {f"{before}/{name}": value for name, value in curve.items()}
        return results

    def _curve(self, reading: Reading, group: str | None) -> dict[str, Tensor]:
        end = self._states(self._at(reading, self.limit, group))
        real = real_tokens(reading.batch, end[..., 0])
        end = _kept(end, real)
        cosines, lengths, of_outputs = [], [], []
        for scale in self.scales:
            found = self._at(reading, scale, group)
            states = self._states(found)
            cosines.append(cosine(_kept(states, real), end, axes=3))
            lengths.append(_lengths(states))
            of_outputs.append(_lengths(precise(found.outputs)))
        results = {"cosine": torch.stack(cosines, dim=-1)}
        outputs = torch.stack(of_outputs, dim=-1)
        counted = real_tokens(reading.batch, outputs[..., 0])
        for before, own, where in (
            ("", torch.stack(lengths, dim=-1), real),
            ("outputs/", outputs, counted),
        ):
            for name, value in degree(own, self.scales, where)._asdict().items():
                results[f"{before}{name}"] = value
        return results

    def _at(self, reading: Reading, scale: float, group: str | None) -> Pass:
        return at_scale(reading, scale, (group,) if group else (), (self.site,))

    def _states(self, found: Pass) -> Tensor:
        """[*member, sample, token, width]."""
        if self.site not in found.sites:
            raise SaltusError(f"scaling-curve.site: the model has no site '{self.site}'")
        return precise(found.sites[self.site])


def _kept(states: Tensor, real: Tensor) -> Tensor:
    """With zeros where there is padding, which then adds nothing to a product."""
    return torch.where(real.unsqueeze(-1), states, 0.0)


def _lengths(vectors: Tensor) -> Tensor:
    """L2 norms over the last axis, of entries whose squares may overflow."""
    largest = vectors.abs().amax(-1)
    return torch.linalg.vector_norm(unit_scale(vectors), dim=-1) * largest
