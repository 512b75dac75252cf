"""The softmax Jacobian: how much of a gradient passes from attention weights to logits."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from saltus.instruments.attention_logits import LOGITS, centred
from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.captured import PATTERNS, attention_patterns, captured
from saltus.instruments.local_attention_gradients import known_normaliser
from saltus.models.normalisers import Linear, Normaliser, NormSoftmax, Temperature
from saltus.tasks.base import Task

TEMPERATURE = "blocks.*.attention.temperature"
HEADS = "blocks.*.attention.heads"


class SoftmaxJacobian(Instrument):
    """|dw/du|, the Frobenius norm of the derivative of a query's weights by its raw logits: for
    softmax at temperature tau of (diag(w) - w w^T) / tau (2310.12956, section 8 of our spec).

    It vanishes both for attention on one key and for uniform attention on many, of order
    1 / (sqrt(N) tau) on N keys; what it lets through is all that queries and keys learn from.

    Gives, per layer, the scalar `softmax-jacobian/blocks.i` and the array
    `softmax-jacobian/blocks.i.heads` [head], means over samples and queries in weight per unit of
    logit, and `softmax-jacobian/blocks.i.median` [head]; softmax at a query that sees one key
    counts 0. For tau -> 0 a query's norm vanishes, and so does the median, but not the mean: the
    few queries whose best two keys tie keep it up (it tends to the density of the gap between
    those two at 0). Normalisers other than softmax:

    - linear attention, w = u / tau: sqrt(number of visible keys) / tau;
    - NormSoftmax, tau' = min(tau, s): the exact derivative, through the statistic s too. By
      variance it has the norm of (diag(w) - w w^T) / tau': u -> u / variance is an inversion at a
      sphere, which stretches all directions alike. By deviation the direction of the logits x
      themselves drops out where s < tau, sqrt(|D|^2 - |D x|^2 / |x|^2) / tau' with
      D = diag(w) - w w^T; `softmax-jacobian/blocks.i.held` [head] is |D| / tau', s held fast.

    A model without a site for the temperature has sqrt(head width). `samples` is the number of
    samples read, if not the experiment's `evaluation_batch`. It must know the model's normaliser.
    """

    kind: Literal["softmax-jacobian"] = "softmax-jacobian"
    samples: int | None = Field(default=None, ge=1, description="evaluation_batch if not given")
    cadence: AnyCadence = Cadence(every=200)

    def needs(self, task: Task) -> Needs:
        return Needs(sites=(*PATTERNS, LOGITS, TEMPERATURE, HEADS), samples=self.samples)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        normaliser, causal = known_normaliser(self.kind, reading)
        results = {}
        for block, pattern in attention_patterns(reading).items():
            visible = _visible(pattern, causal)
            exact, held = self._norms(reading, block, pattern, normaliser, visible)
            results[f"{self.kind}/{block}"] = exact.mean()
            results[f"{self.kind}/{block}.heads"] = exact.mean((0, 2))
            typical = exact.transpose(0, 1).flatten(1).median(-1).values
            results[f"{self.kind}/{block}.median"] = typical
            if held is not None:
                results[f"{self.kind}/{block}.held"] = held.mean((0, 2))
        return results

    def _norms(
        self,
        reading: Reading,
        block: str,
        pattern: Tensor,
        normaliser: Normaliser,
        visible: Tensor,
    ) -> Norms:
        temperature = _temperature(reading, block)
        if isinstance(normaliser, Linear):
            keys = visible.sum(-1).to(pattern.dtype).sqrt()
            seen = keys.expand(pattern.shape[:-1]).unsqueeze(-1)
            return Norms((seen / temperature).squeeze(-1), None)
        if isinstance(normaliser, NormSoftmax):
            site = f"{block}.attention.logits"
            logits = captured(reading, (site,))[site]
            return norm_softmax_jacobian(
                pattern, logits, temperature, visible, normaliser.statistic == "variance"
            )
        return Norms(jacobian_norm(pattern, temperature), None)


class Norms(NamedTuple):
    """Per query: of the derivative, and of what it were if the statistic did not move."""

    exact: Float[Tensor, "*batch query"]
    held: Float[Tensor, "*batch query"] | None


def jacobian_norm(
    weights: Float[Tensor, "*batch key"], temperature: Temperature
) -> Float[Tensor, "*batch"]:
    """|diag(w) - w w^T|_F / tau for weights w >= 0 that sum to 1 over the keys.

    The square is (sum w^2 - 2 sum w^3 + (sum w^2)^2) / tau^2. A tensor of temperatures broadcasts
    against the weights with one entry on the axis of the keys. The sum is taken around the largest
    weight, so that nothing cancels and attention on a single key still has its small norm.
    """
    top = weights.argmax(-1, keepdim=True)
    largest = weights.gather(-1, top).square()
    others = weights.scatter(-1, top, 0.0)
    squares = others.square()
    rest, total = others.sum(-1, keepdim=True), squares.sum(-1, keepdim=True)
    of_others = squares * ((1 - others).square() + largest + total - squares)
    whole = largest * (rest.square() + total) + of_others.sum(-1, keepdim=True)
    return (whole.sqrt() / temperature).squeeze(-1)


def norm_softmax_jacobian(
    weights: Float[Tensor, "*batch query key"],
    logits: Float[Tensor, "*batch query key"],
    temperature: Temperature,
    visible: Bool[Tensor, "query key"],
    variance: bool,
) -> Norms:
    """The same for w = softmax(u / min(tau, s)), s the variance or deviation of visible logits.

    With x the centred logits and c = 1 / s, dw/du = D (c - k x x^T): c^2 (1 - 2 x x^T / |x|^2), a
    reflection, for the variance and the projection 1 - x x^T / |x|^2 for the deviation.
    """
    x = centred(logits, visible)
    keys = visible.sum(-1, keepdim=True)
    length = x.square().sum(-1, keepdim=True)
    spread = length / keys if variance else (length / (keys - 1).clamp_min(1)).sqrt()
    follows = (spread < temperature) & (spread > torch.finfo(spread.dtype).tiny)
    cap = torch.as_tensor(temperature, dtype=spread.dtype, device=spread.device)
    scale = torch.where(follows, spread, cap)
    held = jacobian_norm(weights, scale)
    if variance:
        return Norms(held, None)
    unit = x / length.sqrt().clamp_min(torch.finfo(x.dtype).tiny)
    along = weights * (unit - (weights * unit).sum(-1, keepdim=True))  # D unit
    lost = (torch.where(follows, along, 0.0) / scale).square().sum(-1)
    return Norms((held.square() - lost).clamp_min(0).sqrt(), held)


def _visible(pattern: Tensor, causal: bool) -> Bool[Tensor, "query key"]:
    every = torch.ones(pattern.shape[-2:], dtype=torch.bool, device=pattern.device)
    return every.tril() if causal else every


def _temperature(reading: Reading, block: str) -> Temperature:
    site = f"{block}.attention.temperature"
    if site in reading.sites:
        return captured(reading, (site,))[site]
    width = captured(reading, (f"{block}.attention.heads",))[f"{block}.attention.heads"].shape[-1]
    return width**0.5
