"""Gradient rescaling: queries, keys and values get gradients of one size."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import filter as matching
from typing import Literal

from torch import Tensor

from saltus.errors import SaltusError
from saltus.interventions.base import Intervention
from saltus.models.base import Model

PARTS = ("query", "key", "value")


class GradientRescaling(Intervention):
    """Rescales the gradients of W_Q, W_K and W_V before the optimiser, in every layer.

    With |.| the mean of absolute values over entries, g_f the gradient of f in {q, k, v} and g the
    three together (2310.12956, section 7 of our spec):

    - `mean`: g_f <- g_f |g| / |g_f|;
    - `to-value`: g_f <- g_f |g_v| / |g_f|;
    - `per-head-to-value`: g_fh <- g_fh |g_vh| / |g_fh| for the rows of each head h.

    A gradient of zeros stays one. Weights only: the paper's model has no biases there, and ours
    keep theirs. AdamW is almost blind to a factor that changes slowly; SGD is not.
    """

    kind: Literal["gradient-rescaling"] = "gradient-rescaling"
    mode: Literal["mean", "per-head-to-value", "to-value"] = "mean"

    def initialise(self, parameters: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
        layers(parameters)  # a model without attention shows before training
        return parameters

    def rescale(self, gradients: Mapping[str, Tensor], model: Model, step: int) -> None:
        heads = getattr(model, "heads", 1)
        for layer in layers(gradients):
            parts = {part: gradients[f"{layer}.{part}.weight"] for part in PARTS}
            if self.mode == "per-head-to-value":
                parts = {name: part.unflatten(0, (heads, -1)) for name, part in parts.items()}
                sizes = {name: part.abs().mean((1, 2), True) for name, part in parts.items()}
            else:
                sizes = {name: part.abs().mean() for name, part in parts.items()}
            # The three have equally many entries.
            target = sum(sizes.values()) / 3 if self.mode == "mean" else sizes["value"]
            for name, part in parts.items():
                size = sizes[name]
                if target is size:
                    continue
                part.div_(size.where(size > 0, 1.0)).mul_(target)


def layers(names: Mapping[str, Tensor]) -> list[str]:
    """`blocks.0.attention` and so on."""
    end = ".query.weight"
    found = [name.removesuffix(end) for name in matching(names, f"blocks.*.attention{end}")]
    if not found:
        raise SaltusError("gradient-rescaling: the model has no attention; allowed: those with it")
    return found
