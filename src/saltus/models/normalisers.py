"""From attention logits to weights: softmax and what is put in its place.

A logit is u = q . k. Every normaliser takes the temperature tau from outside, sqrt(head width)
unless an intervention or a learned parameter says otherwise, gives the scores that its weights are
made of, and then the weights. Statistics run over the keys that a query may see, in float32.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import BeforeValidator, SerializeAsAny
from torch import Tensor

from saltus.parts import Part

Temperature = float | Tensor  # broadcasts against [..., head, query, key]
Future = Bool[Tensor, "query key"] | None


class Normaliser(Part):
    """How the logits of a query become weights on its keys; `Softmax` is the ordinary way."""

    plain: ClassVar[bool] = False  # softmax(u / tau) and nothing else: a fused kernel can do it
    learned: ClassVar[bool] = False  # tau is a parameter of every head
    normed: ClassVar[bool] = False  # LayerNorm on queries and keys, per head, before the product

    def scores(
        self,
        logits: Float[Tensor, "*batch head query key"],
        temperature: Temperature,
        future: Future,
    ) -> Float[Tensor, "*batch head query key"]:
        """u / tau, before the mask. May overwrite the logits."""
        scale = 1 / temperature
        return logits.mul_(scale) if isinstance(scale, float) else logits * scale

    def weights(
        self, scores: Float[Tensor, "*batch head query key"], future: Future
    ) -> Float[Tensor, "*batch head query key"]:
        """softmax of the scores over the keys that are not in the future."""
        if scores.shape[-1] < SHORT:
            return _SmallSoftmax.apply(scores, future)
        shown = scores if future is None else scores.masked_fill(future, float("-inf"))
        return shown.softmax(-1)


class Softmax(Normaliser):
    """softmax(u / tau)."""

    plain: ClassVar[bool] = True
    kind: Literal["softmax"] = "softmax"


class Linear(Normaliser):
    """u / tau itself, 0 in the future: weights of any sign, any sum (2506.13688, section 7.1 of
    our spec)."""

    kind: Literal["linear"] = "linear"

    def weights(self, scores: Tensor, future: Future) -> Tensor:
        return scores if future is None else scores.masked_fill(future, 0.0)


class LearnedTemperature(Normaliser):
    """softmax(u / tau_h) with tau_h = exp(a_h) learned by every head, from sqrt(head width) on.

    A baseline of this project: nothing is known of one in 2310.12956 (section 7 of our spec).
    """

    plain: ClassVar[bool] = True
    learned: ClassVar[bool] = True
    kind: Literal["learned-temperature"] = "learned-temperature"


class QueryKeyNorm(Normaliser):
    """softmax(LN(q) . LN(k) / tau): LayerNorm over the head width, gains and biases that the heads
    of a layer share. A baseline of this project (section 7 of our spec of 2310.12956)."""

    plain: ClassVar[bool] = True
    normed: ClassVar[bool] = True
    kind: Literal["qk-norm"] = "qk-norm"


class NormSoftmax(Normaliser):
    """softmax(u / min(tau, s)), with a statistic s of the query's logits over its keys.

    `variance` is the population variance, what 2310.12956 calls NormSoftmax in its commands;
    `deviation` the unbiased standard deviation (section 7 of our spec). Where s stays below tau
    the deviation's scores have unit sample deviation, and the variance's 1 / sqrt(variance), so
    that logits that vary less give sharper attention; elsewhere it is plain softmax. Constant
    logits, which the formula leaves undefined, give equal weights. Gradients flow through s.
    """

    kind: Literal["norm-softmax"] = "norm-softmax"
    statistic: Literal["variance", "deviation"] = "variance"

    def scores(self, logits: Tensor, temperature: Temperature, future: Future) -> Tensor:
        """(u - mean of u) / min(tau, s): the mean alters no weight, but keeps numbers small."""
        logits = logits.float() if logits.element_size() < 4 else logits
        cap = torch.as_tensor(temperature, dtype=logits.dtype, device=logits.device)
        return _Standardised.apply(logits, cap, future, self.statistic == "variance")[0]


AnyNormaliser = Annotated[SerializeAsAny[Normaliser], BeforeValidator(Normaliser.parse)]

# Rows shorter than this are normalised by element-wise passes: the library's kernel pays 150 ns
# for each, which dominates where they are a few numbers (`make bench` shows it).
SHORT = 16


class _Standardised(torch.autograd.Function):
    """c (u - mean u), c = 1 / min(cap, s), with s the variance or the deviation over the visible.

    One node: the statistics of short rows cost more in the library than the attention itself.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, cap: Tensor, future: Tensor | None, variance: bool) -> tuple:
        if future is None:
            counts = torch.full((), logits.shape[-1], dtype=logits.dtype, device=logits.device)
            shown = logits
        else:
            counts = (~future).sum(-1, keepdim=True).to(logits.dtype)
            shown = logits.masked_fill(future, 0.0)
        centred = logits - shown.sum(-1, keepdim=True) / counts
        if future is not None:
            centred = centred.masked_fill(future, 0.0)
        squares = (centred * centred).sum(-1, keepdim=True)
        spread = squares / counts if variance else (squares / (counts - 1).clamp_min(1)).sqrt()
        tiny = torch.finfo(logits.dtype).tiny
        below = (spread < cap) & (spread > tiny)  # where the scale follows the statistic
        scale = 1 / torch.where(below, spread, cap)
        # d scale / du = -steep * centred.
        count = counts / 2 if variance else (counts - 1).clamp_min(1) * spread
        steep = torch.where(below, scale * scale / count, torch.zeros_like(scale))
        return centred * scale, centred, scale, steep

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        _, centred, scale, steep = output
        ctx.mark_non_differentiable(centred, scale, steep)
        _, _, future, _ = inputs
        ctx.masked = future is not None
        ctx.save_for_backward(centred, scale, steep, *(() if future is None else (future,)))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, None, None, None]:
        centred, scale, steep, *future = ctx.saved_tensors
        if ctx.masked:
            gradient = gradient.masked_fill(future[0], 0.0)
            counts = (~future[0]).sum(-1, keepdim=True).to(gradient.dtype)
        else:
            counts = gradient.shape[-1]
        along = (gradient * centred).sum(-1, keepdim=True)
        mean = gradient.sum(-1, keepdim=True) / counts
        found = scale * (gradient - mean) - (steep * along) * centred
        if ctx.masked:
            found = found.masked_fill(future[0], 0.0)
        return found, None, None, None


class _SmallSoftmax(torch.autograd.Function):
    """Softmax over a short last axis from vectorised element-wise passes."""

    generate_vmap_rule = True

    @staticmethod
    def forward(scores: Tensor, masked: Tensor | None) -> Tensor:
        weights = scores.clone() if masked is None else scores.masked_fill(masked, float("-inf"))
        weights.sub_(weights.amax(-1, keepdim=True)).exp_()
        return weights.div_(weights.sum(-1, keepdim=True))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weights,) = ctx.saved_tensors
        flow = gradient * weights  # zero where masked
        return flow - weights * flow.sum(-1, keepdim=True), None
