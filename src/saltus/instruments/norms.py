"""Parameter norms: how large the weights are, in all and per group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from saltus.instruments.base import AnyCadence, Cadence, Instrument, Reading
from saltus.instruments.captured import precise
from saltus.models.groups import STATISTICS, group_of

Per = Literal["group", "parameter"]


class Norms(Instrument):
    """|theta| = sqrt(sum of theta_i^2), the L2 norm of the parameters.

    Gives `norm/parameters` (all of them) and `norm/<group>` for every group of
    `saltus.models.groups`, or `norm/<parameter name>`. Groups split the parameters, so their
    squares add up to the square of the whole. Running statistics, which are not learned, count
    neither as a group nor in the whole. Scalars, in the units of the parameters.
    """

    kind: Literal["norms"] = "norms"
    per: Per = "group"
    cadence: AnyCadence = Cadence(every=50)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        total, parts = norms(reading.parameters, self.per)
        return {"norm/parameters": total} | {f"norm/{name}": value for name, value in parts.items()}


def norms(
    tensors: Mapping[str, Tensor], per: Per
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """The norm of all tensors but statistics together, and of each group or of each tensor."""
    learned = [name for name in tensors if group_of(name) != STATISTICS]
    single = {name: length(tensors[name]) for name in learned}
    parts = single
    if per == "group":
        parts = {group: joint(single[name] for name in names) for group, names in members(single)}
    return joint(parts.values()), parts


def length(value: Tensor, keep: int = 0) -> Tensor:
    """L2 norm over all axes but the first `keep`.

    Axis after axis: as exact as a pairwise sum, and with no copy of the squares.
    """
    value = precise(value)
    if value.ndim == keep:
        return value.abs()
    while value.ndim > keep:
        value = torch.linalg.vector_norm(value, dim=-1)
    return value


def joint(lengths: Iterable[Tensor]) -> Tensor:
    """sqrt(sum of squares), elementwise: the norm of vectors laid end to end."""
    return torch.linalg.vector_norm(torch.stack(list(lengths), dim=-1), dim=-1)


def members(names: Iterable[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The names of each group, groups in order of appearance."""
    return _members(tuple(names))


@lru_cache(maxsize=64)
def _members(names: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(group_of(name), []).append(name)
    return tuple((group, tuple(own)) for group, own in groups.items())
