"""Local attention gradients: what a head's output owes to its own queries, keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from saltus.errors import SaltusError
from saltus.instruments.attention_received import token_roles
from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.captured import captured
from saltus.models.normalisers import Normaliser, Softmax
from saltus.tasks.base import Task

PARTS = ("query", "key", "value")
QUERY = ".attention.query"
SITES = tuple(f"blocks.*.attention.{name}" for name in (*PARTS, "temperature"))


class LocalAttentionGradients(Instrument):
    """g_f = d(sum of z) / df for f in query, key, value (2310.12956, G_z of section 8 of our spec).

    z is a head's output before the output projection, summed over samples, heads, tokens and
    channels. |g_f| is averaged over samples and channels and then over tokens: where the task has
    `roles`, over those of each role (`indicator`, `target`), which each sample has at places of
    its own and a class token never has; else over `all` tokens. With roles of different size in
    different samples every token counts alike.

    Gives, per layer, the scalars `local-attention-gradients/blocks.i/query/indicator` and so on,
    means over heads, and with `.heads` at the end the arrays [head]; in units of z per unit of f.
    A role that no token of the batch has is NaN.

    q, k and v are what the products take (after a model's norms of queries and keys), tau is the
    one in force, and weights come from the model's own normaliser, differentiated through its
    statistics. Interventions that overwrite logits, scores or patterns are not seen. `samples` is
    the number of samples read, if not the experiment's `evaluation_batch` (the authors' code takes
    the first batch of an epoch). It must know the model's normaliser, and its sites.
    """

    stacked: ClassVar[bool] = True
    kind: Literal["local-attention-gradients"] = "local-attention-gradients"
    samples: int | None = Field(default=None, ge=1, description="evaluation_batch if not given")
    cadence: AnyCadence = Cadence(every=200)

    def needs(self, task: Task) -> Needs:
        return Needs(sites=SITES, samples=self.samples)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        normaliser, causal = known_normaliser(self.kind, reading)
        sites, results = captured(reading, SITES), {}
        for block in (site[: -len(QUERY)] for site in sites if site.endswith(QUERY)):
            query, key, value, temperature = (
                sites[f"{block}.attention.{name}"] for name in (*PARTS, "temperature")
            )
            roles = token_roles(self.kind, reading, query.shape[-2])
            found = local_gradients(query, key, value, temperature, normaliser, causal)
            for part, gradient in found._asdict().items():
                for where, mean in _means(gradient.abs().mean(-1), roles).items():
                    name = f"{self.kind}/{block}/{part}/{where}"
                    results[name], results[f"{name}.heads"] = mean.mean(-1), mean
        return results


class Gradients(NamedTuple):
    """By queries, keys and values, each in their shape."""

    query: Float[Tensor, "*batch head token channel"]
    key: Float[Tensor, "*batch head token channel"]
    value: Float[Tensor, "*batch head token channel"]


def local_gradients(
    query: Float[Tensor, "*batch head token channel"],
    key: Float[Tensor, "*batch head token channel"],
    value: Float[Tensor, "*batch head token channel"],
    temperature: float | Tensor,
    normaliser: Normaliser,
    causal: bool,
) -> Gradients:
    """The gradients of sum of z, z = w V with the normaliser's weights w of the logits Q K^T.

    Samples and members do not meet in z, so every gradient is its own sample's alone.
    """
    tokens = query.shape[-2]
    future = None
    if causal:
        future = torch.ones(tokens, tokens, dtype=torch.bool, device=query.device).triu(1)
    with torch.enable_grad():
        leaves = [part.detach().requires_grad_() for part in (query, key, value)]
        logits = leaves[0] @ leaves[1].mT
        weights = normaliser.weights(normaliser.scores(logits, temperature, future), future)
        total = (weights @ leaves[2]).sum()
        return Gradients(*torch.autograd.grad(total, leaves))


def known_normaliser(kind: str, reading: Reading) -> tuple[Normaliser, bool]:
    """How the model makes weights of logits, and whether it is causal; plain softmax where a model
    has no choice. SaltusError where the model is a stranger's."""
    if reading.model is None:
        raise SaltusError(
            f"instrument {kind}: a module of your own does not say how it makes weights of logits; "
            "allowed: models of an experiment, or saltus.read with model="
        )
    normaliser = getattr(reading.model, "attention", Softmax())
    if not isinstance(normaliser, Normaliser):
        raise SaltusError(
            f"instrument {kind}: model {reading.model.kind}: attention is no normaliser of "
            "saltus.models.normalisers"
        )
    if getattr(reading.model, "mask", "negative-infinity") == "multiplicative":
        raise SaltusError(
            f"instrument {kind}: model.mask multiplicative is none that it knows; "
            "allowed: negative-infinity"
        )
    return normaliser, reading.model.is_causal


def _means(
    sizes: Float[Tensor, "*batch head token"], roles: Mapping[str, Bool[Tensor, "..."]]
) -> dict[str, Float[Tensor, "*member head"]]:
    """Over samples and the tokens of each role, or all tokens."""
    if not roles:
        return {"all": sizes.mean((-3, -1))}
    return {role: _mean(sizes, mask) for role, mask in roles.items()}


def _mean(
    sizes: Float[Tensor, "*batch head token"], mask: Bool[Tensor, "*batch token"]
) -> Float[Tensor, "*member head"]:
    own = mask.unsqueeze(-2).to(sizes.dtype)
    return (sizes * own).sum((-3, -1)) / own.sum((-3, -1))
