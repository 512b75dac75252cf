"""Edits of attention: what a forward pass uses in place of a pattern, or of what heads wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from saltus.errors import SaltusError
from saltus.models.sites import Edit

Index = Annotated[int, Field(ge=0)]
Head = tuple[Index, Index]  # layer, head, both from 0
Ablation = Literal["uniform", "batch-mean"]


def ablations(heads: Iterable[Head], mode: Ablation) -> dict[str, tuple[Edit, ...]]:
    """Edits that take its choice of keys from each (layer, head), by site.

    `uniform` puts 1 / keys on every key that a query may look at; `batch-mean` the head's own
    pattern averaged over the batch (2410.22244, section 6.2 of our spec; the released code calls
    the second one uniform).
    """
    by_layer: dict[int, list[int]] = {}
    for layer, head in heads:
        by_layer.setdefault(layer, []).append(head)
    replace = uniform if mode == "uniform" else batch_mean
    return {
        f"blocks.{layer}.attention.pattern": (on_heads(replace, found),)
        for layer, found in by_layer.items()
    }


def on_heads(replace: Callable[[Tensor], Tensor], heads: Sequence[int]) -> Edit:
    """An edit that replaces the patterns of some heads and leaves the others alone."""

    def edit(site: str, pattern: Tensor) -> Tensor:
        chosen = _chosen(site, heads, pattern)
        return torch.where(chosen, replace(pattern), pattern)

    return edit


def writing(
    value: Tensor, heads: Sequence[int] | None = None, positions: Tensor | None = None
) -> Edit:
    """An edit of `.heads` sites [..., batch, head, position, width] that writes `value` there.

    Only on some heads (None: all) and where `positions` is true, [position] or
    [..., batch, position] (None: everywhere).
    """

    def edit(site: str, own: Tensor) -> Tensor:
        where = _chosen(site, range(own.shape[-3]) if heads is None else heads, own)
        if positions is not None:
            where = where & positions.to(own.device).unsqueeze(-2).unsqueeze(-1)
        return torch.where(where, value, own)

    return edit


def uniform(
    pattern: Float[Tensor, "*members batch head query key"],
) -> Float[Tensor, "*members batch head query key"]:
    """1 / keys on every key that a query may look at: all of them, or those up to itself.

    An edit is not told whether the model is causal. It is when no weight of any sample and head
    lies in the future.
    """
    past = torch.ones(pattern.shape[-2:], dtype=torch.bool, device=pattern.device).tril()
    looks_ahead = (pattern.triu(1) != 0).flatten(-4).any(-1)
    allowed = (past | looks_ahead[..., None, None]).to(pattern.dtype)
    weights = allowed / allowed.sum(-1, keepdim=True)
    return weights.unsqueeze(-3).unsqueeze(-3).expand(pattern.shape)


def batch_mean(
    pattern: Float[Tensor, "*members batch head query key"],
) -> Float[Tensor, "*members batch head query key"]:
    """Every head's pattern averaged over the batch, in place of each sample's own."""
    return pattern.mean(-4, keepdim=True).expand(pattern.shape)


def unchanged(site: str, value: Tensor) -> Tensor:
    """No edit: a pattern with one is written out, so that passes differ in what else is edited."""
    return value


def _chosen(site: str, heads: Sequence[int], value: Tensor) -> Bool[Tensor, "head 1 1"]:
    count = value.shape[-3]
    if wrong := [head for head in heads if not 0 <= head < count]:
        raise SaltusError(f"heads: {site} has no head {wrong[0]}; allowed: 0 to {count - 1}")
    mask = torch.zeros(count, dtype=torch.bool)
    mask[list(heads)] = True
    return mask.to(value.device)[:, None, None]
