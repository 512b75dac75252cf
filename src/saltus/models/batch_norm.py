"""Batch normalisation whose running statistics are each member's own."""

from __future__ import annotations

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
        mean, variance = self.running_mean.detach(), self.running_variance.detach()
        if tape.training:
            batch, _, height, width = x.shape[-4:]
            if batch * height * width == 1:
                raise SaltusError(
                    f"batch 1 with a single place left at {name}: batch statistics of one number; "
                    "allowed: a batch of at least 2, or larger images"
                )
            mean, variance = mean.clone(), variance.clone()  # the kernel writes into them

        def kernel(x: Tensor, *own: Tensor) -> Tensor:
            weight, bias, mean, variance = own
            return F.batch_norm(
                x, mean, variance, weight, bias, tape.training, self.momentum, self.eps
            )

        parts = (self.weight, self.bias, mean, variance)
        found = kernel(x, *parts) if self.weight.ndim == 1 else apart(kernel, x, *parts)
        if tape.training:
            tape.statistics[f"{name}.running_mean"] = mean
            tape.statistics[f"{name}.running_variance"] = variance
        return found


class NormedConvolution(nn.Module):
    """A convolution and the batch norm of what it gives."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int = 1) -> None:
        super().__init__()
        self.convolution = Convolution(inputs, outputs, side, stride)
        self.batch_norm = BatchNorm(outputs)

    def forward(self, x: Tensor, tape: Tape, name: str) -> Tensor:
        return self.batch_norm(self.convolution(x), tape, f"{name}.batch_norm")
