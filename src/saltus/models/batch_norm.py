"""Batch normalisation whose running statistics are each member's own."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from saltus.errors import SaltusError
from saltus.models.convolution import Convolution, apart
from saltus.models.sites import Tape

# What a model with batch norms lists in `Model.fixed`.
RUNNING = ("*.running_mean", "*.running_variance")


class BatchNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) * weight + bias per channel (Ioffe & Szegedy 2015).

    In a training pass (`Tape.training`) mean and variance are those of the batch and its places,
    the variance divided by their number n. The running values m become 0.9 m + 0.1 of the batch's,
    the variance now divided by n - 1; these go to `tape.statistics` under the full names of the
    parameters `running_mean` and `running_variance`, for the engine to keep. Outside training the
    running values normalise. All of this as PyTorch has it.

    The running values are parameters, so that checkpoints, frames and transplants carry them and
    a stack has each member's; no gradient reaches them and, listed as `fixed`, no optimiser.
    """

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        self.running_mean = nn.Parameter(torch.empty(channels))
        self.running_variance = nn.Parameter(torch.empty(channels))
        self.eps, self.momentum = eps, momentum

    def forward(
        self, x: Float[Tensor, "*batch channel height width"], tape: Tape, name: str
    ) -> Float[Tensor, "*batch channel height width"]:
        """`name` is the layer's full name. SaltusError where the batch is a single number."""
        parts = self.parts(tape, name)
        if self.weight.ndim == 1:
            return self.kernel(tape, name, x, *parts)
        return apart(partial(self.kernel, tape, name), x, *parts)

    def parts(self, tape: Tape, name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the kernel takes: in a training pass the running values are the new ones."""
        mean, variance = self.running_mean.detach(), self.running_variance.detach()
        if tape.training:
            mean, variance = mean.clone(), variance.clone()  # the kernel writes into them
            tape.statistics[f"{name}.running_mean"] = mean
            tape.statistics[f"{name}.running_variance"] = variance
        return self.weight, self.bias, mean, variance

    def kernel(self, tape: Tape, name: str, x: Tensor, *parts: Tensor) -> Tensor:
        """The norm of one model."""
        weight, bias, mean, variance = parts
        if tape.training and x.numel() == x.shape[-3]:
            raise SaltusError(
                f"batch 1 with a single place left at {name}: batch statistics of one number; "
                "allowed: a batch of at least 2, or larger images"
            )
        return F.batch_norm(x, mean, variance, weight, bias, tape.training, self.momentum, self.eps)


class NormedConvolution(nn.Module):
    """A convolution, the batch norm of what it gives, and a ReLU unless it is not `rectified`."""

    def __init__(
        self, inputs: int, outputs: int, side: int, stride: int = 1, rectified: bool = True
    ) -> None:
        super().__init__()
        self.convolution = Convolution(inputs, outputs, side, stride)
        self.batch_norm = BatchNorm(outputs)
        self.rectified = rectified

    def forward(
        self, x: Float[Tensor, "*batch inputs height width"], tape: Tape, name: str
    ) -> Float[Tensor, "*batch outputs high wide"]:
        norm = f"{name}.batch_norm"

        # All three for one member before the next: a stack of feature maps leaves the cache.
        def kernel(x: Tensor, weight: Tensor, *parts: Tensor) -> Tensor:
            found = self.batch_norm.kernel(tape, norm, self.convolution.kernel(x, weight), *parts)
            return found.relu_() if self.rectified else found

        weight, parts = self.convolution.weight, self.batch_norm.parts(tape, norm)
        return kernel(x, weight, *parts) if weight.ndim == 4 else apart(kernel, x, weight, *parts)
