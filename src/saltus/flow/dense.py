"""Sums of stages, and the state anywhere inside a step.

All arithmetic on states is elementwise, one multiplication and one addition per coefficient, each
correctly rounded: what comes out for a row has the same bits whatever rows stand beside it, at
any alignment, on any device. Fused kernels (`addcmul`, `add` with alpha) round differently in the
tail of a loop, and matrix products differ with the number of rows. Neither would be faster: a
third of DOP853's coefficients are zero, and skipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from saltus.flow.tableaus import Tableau


@dataclass(frozen=True)
class Step:
    """One step of each of some rows, from `old` to `new` in a time of `sizes[row]`."""

    tableau: Tableau
    rows: list[int]
    old: Float[Tensor, "row state"]
    new: Float[Tensor, "row state"]
    sizes: list[float]
    stages: Float[Tensor, "stage row state"]

    def inside(self, parts: Sequence[float]) -> Float[Tensor, "row state"]:
        """The state of each row at its own part, in [0, 1], of its own step.

        It is accurate to order 7 (DOP853) or 4 (DOPRI5), and needs the extra stages.
        """
        known = {part: dense_weights(self.tableau, part) for part in set(parts)}
        each = torch.tensor([list(known[part].values()) for part in parts], dtype=self.old.dtype)
        columns = each.to(self.old.device).split(1, dim=1)
        weights = dict(zip(known[parts[0]], columns, strict=True))
        return self.old + combine(self.stages, weights) * column(self.old, self.sizes)

    def pick(self, which: Sequence[int]) -> Step:
        """The steps of some of the rows, by their place; all stages are copied."""
        chosen = list(which)
        return Step(
            self.tableau,
            [self.rows[place] for place in chosen],
            self.old[chosen],
            self.new[chosen],
            [self.sizes[place] for place in chosen],
            self.stages[:, chosen],
        )


def combine(
    stages: Float[Tensor, "stage row state"], weights: Mapping[int, float | Tensor]
) -> Float[Tensor, "row state"]:
    """Σ_j weights[j] stages[j], with a number or a column [row, 1] as weight; one at least."""
    (first, factor), *others = weights.items()
    total = stages[first] * factor
    term = torch.empty_like(total)  # one for all terms: fresh memory costs more than the product
    for stage, weight in others:
        total.add_(torch.mul(stages[stage], weight, out=term))
    return total


def dense_weights(tableau: Tableau, part: float) -> dict[int, float]:
    """The w_j(θ) of the dense output y(t + θ h) = y + h Σ_j w_j k_j, at θ = `part` of the step.

    With b the step's weights and Δ = h Σ_j b_j k_j, it is the cubic Hermite polynomial through
    both ends plus one that vanishes twice at both (Hairer's CONTD8; CONTD5 has only D_0):
    y + θ(Δ + (1−θ)(h k_0 − Δ + θ(2Δ − h k_0 − h k_last + (1−θ)P)))
    with P = D_0 + θ(D_1 + (1−θ)(D_2 + θ D_3)) and D_i = h Σ_j dense[i][j] k_j. Stages without
    influence are left out; the others are there at every θ, even with weight zero.
    """
    left, step = 1.0 - part, tableau.stages[-1]
    found = {}
    for stage in sorted({0, tableau.last}.union(step, *tableau.dense)):
        value = 0.0
        for index in reversed(range(len(tableau.dense))):
            value = tableau.dense[index].get(stage, 0.0) + (left if index % 2 else part) * value
        end, first, last = step.get(stage, 0.0), float(stage == 0), float(stage == tableau.last)
        value = 2.0 * end - first - last + left * value
        found[stage] = part * (end + left * (first - end + part * value))
    return found


def column(like: Tensor, values: Sequence[float]) -> Float[Tensor, "row 1"]:
    """Numbers, one a row, as a column beside states."""
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None]
