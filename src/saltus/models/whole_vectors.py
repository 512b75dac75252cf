"""Whole vectors: padding that keeps a member's bits independent of its place in a stack.

Vectorised kernels finish the odd elements at the end of a tensor with scalar code, whose exp and
log round differently. A member's numbers therefore do not depend on how many others stand beside
it if its share of every such tensor is a whole number of vectors. Few samples of few positions are
not; samples that are added and then dropped make them so, for less than the kernel's own overhead.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd

import torch
import torch.nn.functional as F
from torch import Tensor

STRIDE = 128  # bytes: element-wise kernels step by two vectors of 64


def whole_samples(samples: int, numbers: int, dtype: torch.dtype) -> int:
    """The least count >= `samples` at which `numbers` per sample fill whole vectors."""
    quantum = STRIDE // dtype.itemsize
    step = quantum // gcd(quantum, numbers)
    return -(-samples // step) * step


def pad_samples(values: Tensor, axis: int, samples: int) -> Tensor:
    """`values` with zeros behind, so that the (negative) axis has `samples` entries."""
    missing = samples - values.shape[axis]
    # F.pad takes (before, after) from the last axis backwards.
    return F.pad(values, (*[0, 0] * (-axis - 1), 0, missing)) if missing else values


def each_alone(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """An element-wise function of a few numbers, each as a whole vector of copies of itself."""
    copies = values.unsqueeze(-1).repeat(*[1] * values.ndim, STRIDE // values.element_size())
    return function(copies).select(-1, 0)
