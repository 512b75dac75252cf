"""Head types: how many positions each head attends to once the network is saturated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from saltus.errors import SaltusError
from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.captured import PATTERNS, precise
from saltus.instruments.saturated_view import Tolerance, saturated_pass
from saltus.instruments.saturation import Mode
from saltus.instruments.scaled_view import SATURATING, at_scale, real_tokens, token_mean
from saltus.models.saturated import TOLERANCE
from saltus.tasks.base import Task

ATTENDED = 1e-5  # a weight above it is attention (M15)


class HeadTypes(Instrument):
    """Saturated heads by the number n of keys with a weight above 1e-5, per query and head
    (2010.09697, M15 to M18 of section 5 of our spec).

    - `head-types/attended` [block, head]: mean n over the queries of all samples;
    - `head-types/deviation` [block, head]: the population standard deviation of n;
    - `head-types/split` [block, head]: the share of queries with n > 1;
    - `head-types/entropy` [block, head]: mean of -sum w ln w in nats (M17, not in the paper);
    - `head-types/argmax-like`, `/mean-like`, `/intermediate`: shares of all heads. The paper has no
      thresholds; those recommended by our spec are mean n <= `argmax` and mean n >= `mean` x T / 2
      for T keys (M18). Where both hold, for T <= 11, a head is argmax-like.

    `modes`: `scale` multiplies all parameters by `scale`, as the paper does (M15); `zeta` leaves
    them and takes exact argmax sets (M16), under `head-types/zeta/`. A head that is uniform over T
    causal positions has mean (T + 1) / 2 and split (T - 1) / T; under a multiplicative mask with
    all visible scores negative it looks at the future, with mean (T (T - 1) / 2 + 1) / T and split
    (T - 2) / T (section 9.1); hard attention has 1 and 0.

    The released code counts padding (section 9.22): `padding: included` does, `excluded` leaves
    out queries that the batch calls padding, if it does. On `samples` samples of the evaluation
    batch's kind, 200 in the paper.
    """

    stacked: ClassVar[bool] = True
    kind: Literal["head-types"] = "head-types"
    modes: tuple[Mode, ...] = Field(default=("scale",), min_length=1)
    scale: float = Field(default=SATURATING, gt=1, description="c, which multiplies parameters")
    tolerance: Tolerance = TOLERANCE
    argmax: float = Field(default=5.0, ge=1, description="most keys of an argmax-like head")
    mean: float = Field(default=0.9, gt=0, description="least share of T / 2 of a mean-like head")
    padding: Literal["excluded", "included"] = "excluded"
    samples: int = Field(default=200, ge=1)
    cadence: AnyCadence = Cadence(every=1000)

    def needs(self, task: Task) -> Needs:
        return Needs(samples=self.samples)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        results = {}
        for mode in self.modes:
            before = self.kind if mode == "scale" else f"{self.kind}/{mode}"
            for name, value in self._types(self._patterns(mode, reading), reading).items():
                results[f"{before}/{name}"] = value
        return results

    def _patterns(self, mode: Mode, reading: Reading) -> Mapping[str, Tensor]:
        if mode == "zeta":
            return saturated_pass(reading, PATTERNS, self.tolerance).sites
        return at_scale(reading, self.scale, capture=PATTERNS).sites

    def _types(self, patterns: Mapping[str, Tensor], reading: Reading) -> dict[str, Tensor]:
        if not patterns:
            raise SaltusError(f"instrument {self.kind}: the model has no site '{PATTERNS[0]}'")
        batch = reading.batch if self.padding == "excluded" else {}
        every, keys = [], 0
        for pattern in patterns.values():
            real = real_tokens(batch, pattern[..., 0, :, 0])
            every.append(attended(precise(pattern), real))
            keys = pattern.shape[-1]
        found = {
            name: torch.stack([getattr(own, name) for own in every], dim=-2)
            for name in Attended._fields
        }
        few = found["attended"] <= self.argmax
        many = (found["attended"] >= self.mean * keys / 2) & ~few
        of_type = {"argmax-like": few, "mean-like": many, "intermediate": ~(few | many)}
        heads = few.shape[-2] * few.shape[-1]
        shares = {
            name: own.sum((-2, -1)).to(found["attended"].dtype) / heads
            for name, own in of_type.items()
        }
        return found | shares


class Attended(NamedTuple):
    """What the queries of each head attend to."""

    attended: Float[Tensor, "*member head"]
    deviation: Float[Tensor, "*member head"]
    split: Float[Tensor, "*member head"]
    entropy: Float[Tensor, "*member head"]


def attended(
    pattern: Float[Tensor, "*member sample head query key"],
    real: Bool[Tensor, "*member sample query"] | None = None,
    threshold: float = ATTENDED,
) -> Attended:
    """n = #{keys with a weight > threshold}: per head its mean, its population standard deviation,
    the share of queries with n > 1, and the mean entropy of a query's weights in nats (of their
    shares in the sum of magnitudes, where they are not normalised).

    Over the queries that are real, all if not given.
    """
    counts = (pattern > threshold).sum(-1).to(pattern.dtype).transpose(-3, -2)
    where = torch.ones_like(counts, dtype=torch.bool)
    if real is not None:
        where = real.unsqueeze(-3) & where
    mean = token_mean(counts, where)
    apart = (counts - mean[..., None, None]).square()
    sizes = pattern.abs()
    total = sizes.sum(-1, keepdim=True).clamp_min(torch.finfo(sizes.dtype).tiny)
    entropies = torch.special.entr(sizes / total).sum(-1).transpose(-3, -2)
    return Attended(
        attended=mean,
        deviation=token_mean(apart, where).sqrt(),
        split=token_mean((counts > 1).to(pattern.dtype), where),
        entropy=token_mean(entropies, where),
    )
