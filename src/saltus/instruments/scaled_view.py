"""A model at c theta: scaled parameters, and encodings compared with those at theta."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saltus.errors import SaltusError
from saltus.instruments.base import Pass, Reading
from saltus.models.groups import STATISTICS, group_of, select
from saltus.tasks.base import Batch

SATURATING = 1000.0  # the paper's c, everywhere (2010.09697, section 1 of our spec)
REAL = ("real", "shown")  # what a batch calls the mask that is false where a token is padding


def scaled(
    parameters: Mapping[str, Tensor],
    factor: float,
    pattern: str | Sequence[str] = (),
    mask: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """c theta: every parameter times `factor`, in new tensors; what was given is left as it is, so
    there is nothing to restore (2010.09697, section 3.6 of our spec).

    `pattern` selects which, as `saltus.models.groups.select` does: a group such as `attention.qk`,
    a shell-style pattern, several of them; with `("!embeddings", "!readout")` it is all of the
    encoder. `mask` selects elements: {name: true where scaled}, of a shape that broadcasts to the
    parameter's; parameters that it does not name are scaled whole. Statistics, which are counted
    and not learned, are never scaled. Tensors may lead with a member axis.

    Raises SaltusError for a pattern that selects nothing, a mask of an unknown parameter or of
    another shape, and a factor that is not positive.
    """
    if not 0 < factor < float("inf"):
        raise SaltusError(f"factor: {factor} is not allowed: a positive finite number")
    patterns = (pattern,) if isinstance(pattern, str) else tuple(pattern)
    chosen = set(select(parameters, patterns)) if patterns else set(parameters)
    for name, where in (mask or {}).items():
        _check_mask(name, where, parameters)
    found = dict(parameters)
    for name in chosen:
        if group_of(name) == STATISTICS:
            continue
        larger = parameters[name] * factor
        own = (mask or {}).get(name)
        found[name] = larger if own is None else torch.where(own, larger, parameters[name])
    return found


def at_scale(
    reading: Reading, factor: float, groups: Sequence[str] = (), capture: Sequence[str] = ()
) -> Pass:
    """The outputs and some sites of a model, or a stack of them, on its batch at c theta.

    SaltusError where the model divides by running statistics: those stay while parameters grow, so
    that it goes to no saturated limit, but to infinity.
    """
    assert reading.run is not None  # for instruments that are stacked
    if still := [name for name in reading.parameters if group_of(name) == STATISTICS]:
        raise SaltusError(
            f"instruments: {still[0]}, a running statistic, cannot be scaled with theta"
        )
    parameters = scaled(reading.parameters, factor, groups)
    return reading.run(reading.batch["inputs"], capture=capture, parameters=parameters)


def cosine(one: Tensor, other: Tensor, axes: int = 1) -> Tensor:
    """cos of two vectors that lie along the last `axes` axes, with 1e-9 added to the product of
    their norms (M13 of our spec); the shape is that of the axes before.

    Each is first divided by its largest entry, so that entries of 1e30 do not overflow when
    squared: the 1e-9 stands against norms of order 1. A zero vector has cosine 0.
    """
    one, other = unit_scale(one, axes), unit_scale(other, axes)
    lengths = _sum(one * one, axes).sqrt() * _sum(other * other, axes).sqrt()
    return _sum(one * other, axes) / (lengths + 1e-9)


def unit_scale(vectors: Tensor, axes: int = 1) -> Tensor:
    """Vectors along the last `axes` axes divided by their largest entry; zeros stay."""
    largest = vectors.abs().amax(tuple(range(-axes, 0)), keepdim=True)
    return vectors / largest.clamp_min(torch.finfo(vectors.dtype).tiny)


def real_tokens(batch: Batch, like: Float[Tensor, "*batch token"]) -> Bool[Tensor, "*batch token"]:
    """True where a token is no padding: everywhere, where the batch says nothing of that."""
    for name in REAL:
        mask = batch.get(name)
        if mask is not None and mask.dtype == torch.bool and mask.shape == like.shape:
            return mask
    return torch.ones_like(like, dtype=torch.bool)


def token_mean(
    values: Float[Tensor, "*member sample token"], real: Bool[Tensor, "*member sample token"]
) -> Float[Tensor, "*member"]:
    """The mean over the real tokens of all samples: sum / count."""
    return _sum(torch.where(real, values, 0.0), 2) / real.sum((-2, -1)).to(values.dtype)


def _sum(values: Tensor, axes: int) -> Tensor:
    """Axis after axis, so that a member's sum is formed in the same order in any stack."""
    for _ in range(axes):
        values = values.sum(-1)
    return values


def _check_mask(name: str, where: Tensor, parameters: Mapping[str, Tensor]) -> None:
    if name not in parameters:
        raise SaltusError(f"mask: there is no parameter '{name}'")
    shape = parameters[name].shape
    try:
        fits = torch.broadcast_shapes(where.shape, shape) == shape
    except RuntimeError:
        fits = False
    if not fits or where.dtype != torch.bool:
        raise SaltusError(
            f"mask.{name}: {where.dtype} {list(where.shape)} is not allowed: booleans that "
            f"broadcast to {list(shape)}"
        )
