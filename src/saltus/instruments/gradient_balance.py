"""Gradient balance: do single samples pull with equal force, and in the same direction?"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.norms import joint, length, members
from saltus.tasks.base import Task

QK = "attention.qk"


class GradientBalance(Instrument):
    """How the gradients g_1 .. g_n of single samples compare.

    Source: the automatic balancing of gradients of 2410.09605 (section 7 of our spec). There a
    sample's gradient is its loss derivative g_i = 1/(1 + exp(y_i F_i)) times dF_i, and balance
    means that the g_i of a class stay within a constant factor (max g_i / g_j = O(1)) and that
    the classes' sums stay in fixed proportions, so that all losses fall at one rate. For any
    model and loss the full gradient dl_i/dtheta takes the place of g_i, samples that of classes:

    - `balance/norm-mean`: mean of |g_i|, in units of loss per unit of parameter;
    - `balance/norm-variation`: standard deviation of |g_i| over its mean, 0 when balanced;
    - `balance/norm-ratio`: max |g_i| / min |g_i|, 1 when balanced;
    - `balance/alignment`: |mean g_i|^2 / mean |g_i|^2, 1 for equal gradients, 1/n for orthogonal
      ones, 0 when they cancel;
    - `balance/share.attention.qk`: the share of queries and keys in mean |g_i|^2, for models that
      have the group.
    """

    kind: Literal["gradient-balance"] = "gradient-balance"
    samples: int = Field(default=16, ge=2, description="how many samples of the evaluation batch")
    cadence: AnyCadence = Cadence(every=500)

    def needs(self, task: Task) -> Needs:
        return Needs(sample_gradients=self.samples)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        # Another instrument may have asked for more.
        gradients = {name: g[: self.samples] for name, g in reading.sample_gradients.items()}
        single = {name: length(gradient, keep=1) for name, gradient in gradients.items()}
        mean_gradient = joint(length(gradient.mean(0)) for gradient in gradients.values())
        norms = joint(single.values())
        tiny = torch.finfo(norms.dtype).tiny  # samples that are learnt perfectly have gradient 0
        mean, power = norms.mean(), norms.square().mean().clamp_min(tiny)
        results = {
            "balance/norm-mean": mean,
            "balance/norm-variation": deviation(norms) / mean.clamp_min(tiny),
            "balance/norm-ratio": norms.amax().clamp_min(tiny) / norms.amin().clamp_min(tiny),
            "balance/alignment": mean_gradient.square() / power,
        }
        if names := dict(members(single)).get(QK):
            share = joint(single[name] for name in names).square().mean() / power
            results[f"balance/share.{QK}"] = share
        return results


def deviation(values: Float[Tensor, " sample"]) -> Float[Tensor, ""]:
    """sqrt(mean (x - mean x)^2)."""
    return (values - values.mean()).square().mean().sqrt()
