"""Attention = logits -> normaliser -> weights, written once for every model."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saltus import kernels
from saltus.models.layers import LayerNorm, Linear, side_by_side, spread
from saltus.models.normalisers import Normaliser, Temperature
from saltus.models.sites import Tape
from saltus.models.whole_vectors import each_alone

Mask = Literal["negative-infinity", "multiplicative"]


class Attention(nn.Module):
    """Multi-head self-attention with sites for all that stands between queries and heads.

    Logits u = q . k become weights by the normaliser at temperature tau (`normalisers.py`), which
    is sqrt(head width) unless something else is put in its site. Sites: `{name}.query`, `.key`,
    `.value` [..., head, position, head width], what the products take; `.temperature`, which
    broadcasts against `.logits` u, `.scores` (what the softmax takes, before its mask) and
    `.pattern`, all [..., head, query, key]; and `.heads` [..., head, position, head width], the
    last before the output projection.

    `mask` of a causal model: `negative-infinity` gives the future no weight. `multiplicative` makes
    its logits 0 (in the site `.logits` too) and then lets the normaliser run over all keys, so that
    the future keeps weight: it leaks (2010.09697, sections 3.3 and 9.1 of our spec: what the
    released code does). `scaled` False has tau = 1.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        causal: bool,
        normaliser: Normaliser,
        bias: bool = True,
        output_bias: bool | None = None,
        epsilon: float = 1e-5,
        mask: Mask = "negative-infinity",
        scaled: bool = True,
        norm_bias: bool = True,
    ) -> None:
        super().__init__()
        self.heads, self.causal, self.scaled = heads, causal, scaled
        self.leaks = causal and mask == "multiplicative"
        self.normaliser = normaliser
        self.query = Linear(width, width, bias)
        self.key = Linear(width, width, bias)
        self.value = Linear(width, width, bias)
        self.output = Linear(width, width, bias if output_bias is None else output_bias)
        own = width // heads
        self.query_norm = LayerNorm(own, epsilon, norm_bias) if normaliser.normed else None
        self.key_norm = LayerNorm(own, epsilon, norm_bias) if normaliser.normed else None
        learned = normaliser.learned
        self.log_temperature = nn.Parameter(torch.empty(heads)) if learned else None

    def forward(self, x: Tensor, tape: Tape, name: str) -> Tensor:
        fused = side_by_side(x, (self.query, self.key, self.value))
        fused = fused.unflatten(-1, (3, self.heads, -1))
        heads = (
            self.in_one_kernel(fused)
            if self.may_be_one_kernel(fused, tape, name)
            else self.by_parts(fused, tape, name)
        )
        heads = tape(f"{name}.heads", heads)
        return self.output(heads.transpose(-2, -3).flatten(-2))

    def by_parts(self, fused: Tensor, tape: Tape, name: str) -> Tensor:
        """Heads [..., head, position, own] of `fused` [..., position, (Q, K, V), head, own], all
        sites at hand."""
        query, key, value = (part.transpose(-2, -3) for part in fused.unbind(-3))
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)
        query = tape(f"{name}.query", query)
        key, value = tape(f"{name}.key", key), tape(f"{name}.value", value)
        site = f"{name}.temperature"
        usual = self.usual_temperature(query)
        temperature = temperature_of(query, self.log_temperature, tape, site, usual)
        positions = query.shape[-2]
        explicit = any(tape.wants(f"{name}.{site}") for site in ("logits", "scores", "pattern"))
        explicit = explicit or self.leaks
        if self.normaliser.plain and not explicit and positions >= FUSED_FROM:
            return fused_softmax_attention(query, key, value, temperature, self.causal)
        future = _future(positions, query.device) if self.causal else None
        logits = query @ key.transpose(-1, -2)
        if future is not None and self.leaks:
            logits, future = logits.masked_fill(future, 0.0), None
        logits = tape(f"{name}.logits", logits)
        if tape.wants(f"{name}.logits"):
            logits = logits.clone()  # the site keeps its own
        scores = tape(f"{name}.scores", self.normaliser.scores(logits, temperature, future))
        pattern = tape(f"{name}.pattern", self.normaliser.weights(scores, future))
        return pattern @ value

    def may_be_one_kernel(self, fused: Tensor, tape: Tape, name: str) -> bool:
        """Softmax at the usual temperature, in a stack, with nobody looking at what is between."""
        kind = self.normaliser
        usual = kind.plain and not (kind.learned or kind.normed or self.leaks)
        stacked = self.query.weight.ndim == 3
        wanted = any(tape.wants(f"{name}.{site}") for site in BETWEEN)
        return usual and stacked and not wanted and kernels.serve_attention(fused)

    def in_one_kernel(self, fused: Tensor) -> Tensor:
        """The same as `by_parts` where `may_be_one_kernel`."""
        samples = fused.reshape(-1, *fused.shape[-4:])
        scale = 1 / self.usual_temperature(fused)
        heads = kernels.attend(samples, scale, self.causal)
        return heads.view(*fused.shape[:-3], *fused.shape[-2:]).transpose(-2, -3)

    def usual_temperature(self, query: Tensor) -> float:
        """sqrt(head width), or 1."""
        return query.shape[-1] ** 0.5 if self.scaled else 1.0


BETWEEN = ("query", "key", "value", "temperature", "logits", "scores", "pattern")
# Below this many positions PyTorch's written-out form is faster than its fused one on a CPU.
FUSED_FROM = 16


def temperature_of(
    query: Tensor, learned: Tensor | None, tape: Tape, site: str, usual: float | None = None
) -> Temperature:
    """tau for queries [..., head, position, head width]: `usual`, sqrt(head width) if not given,
    or exp of what every head has learned, or what is put in its site.

    A number, or a tensor [..., 1 or head, 1, 1] of float32 or better where it is learned or asked
    for: half precision would be another temperature.
    """
    tau: float = query.shape[-1] ** 0.5 if usual is None else usual
    if learned is not None:
        value = each_alone(torch.exp, learned)[..., None, None]
        value = value if value.ndim == 3 else spread(value, query)
    elif tape.wants(site):
        # One number for each member, whose axis comes before batch, head, position and width.
        shape = (*query.shape[:-4], *[1] * min(4, query.ndim))
        dtype = torch.promote_types(query.dtype, torch.float32)
        value = torch.full(shape, tau, dtype=dtype, device=query.device)
    else:
        return tau
    return tape(site, value)


def fused_softmax_attention(
    query: Tensor, key: Tensor, value: Tensor, temperature: Temperature, causal: bool
) -> Tensor:
    """softmax(Q K^T / tau) V without writing the pattern out."""
    scale = 1 / temperature
    if isinstance(scale, Tensor):  # the kernel knows one number for all
        query, scale = (query * scale).to(query.dtype), 1.0
    # Members fold into the batch axis: the fused kernel takes four axes.
    lead = query.shape[:-3]
    query, key, value = (part.reshape(-1, *part.shape[-3:]) for part in (query, key, value))
    heads = F.scaled_dot_product_attention(query, key, value, is_causal=causal, scale=scale)
    return heads.view(*lead, *heads.shape[1:])


def _future(positions: int, device: torch.device) -> Tensor:
    """True where a key lies after its query."""
    return torch.ones(positions, positions, dtype=torch.bool, device=device).triu(1)
