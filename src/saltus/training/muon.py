"""Muon: steps along orthogonalised momentum, for the weight matrices inside the blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from saltus.errors import SaltusError
from saltus.training.optimizers import Adam, AnyOptimizer, Descent, Share
from saltus.training.schedules import Schedule

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of Jordan's quintic; they favour speed over a limit of 1
TINY = 1e-7  # a smaller momentum is not scaled up to norm 1


class Muon(Descent):
    """Momentum of a matrix, its singular values brought near 1 (Jordan et al. 2024).

    B = momentum * B + (1 - momentum) * g, then O = newton_schulz(g + momentum * (B - g)) where
    `nesterov` is on and newton_schulz(B) where not; theta -= rate * weight_decay * theta, and
    theta -= rate * scale(shape) * O. `scale` is sqrt(max(1, rows / columns)) for `original` and
    0.2 sqrt(max(rows, columns)) for `match-rms-adamw`. All of this is `torch.optim.Muon`.

    The matrices are the two-dimensional parameters among `matrices`, those of the blocks if not
    given; `others` moves all the rest with its own rate and decay. `schedule` and `clip` are for
    both, `groups` for the matrices. The loss-plateau paper has rate 0.02 and Adam at 1e-4 for the
    others (section 7.2 of our spec).
    """

    slots: ClassVar[int] = 2  # the matrices need one, Adam two
    whole: ClassVar[bool] = True
    memberwise: ClassVar[tuple[str, ...]] = (
        *Descent.memberwise, "momentum", "others.learning_rate", "others.weight_decay"
    )  # fmt: skip
    kind: Literal["muon"] = "muon"
    momentum: float = Field(default=0.95, ge=0, lt=1)
    nesterov: bool = True
    iterations: int = Field(default=5, ge=1, lt=100, description="of Newton and Schulz")
    scale: Literal["original", "match-rms-adamw"] = "original"
    matrices: tuple[str, ...] = Field(default=("blocks.*",), min_length=1)
    others: AnyOptimizer = Adam(learning_rate=1e-4)

    @model_validator(mode="after")
    def _one_schedule(self) -> Muon:
        if not isinstance(self.others, Descent) or isinstance(self.others, Muon):
            raise ValueError(f"others: {self.others.kind} is not allowed: sgd, adam or adamw")
        if self.others.clip is not None or self.others.schedule != Schedule():
            raise ValueError("others: clip and schedule are those of muon itself: give them there")
        return self

    def shares(self, shapes: Mapping[str, tuple[int, ...]]) -> list[Share]:
        flat = {name: shape for name, shape in shapes.items() if len(shape) == 2}
        if not flat:
            raise SaltusError("optimizer (muon): the model has no two-dimensional parameter")
        chosen = set(self._select(flat, self.matrices, "matrices"))
        matrices = {name: shape for name, shape in flat.items() if name in chosen}
        rest = {name: shape for name, shape in shapes.items() if name not in chosen}
        assert isinstance(self.others, Descent)
        others = self.others.model_copy(update={"schedule": self.schedule})
        return super().shares(matrices) + (others.shares(rest) if rest else [])

    def update(self, parameters, gradients, state, count, rate) -> None:
        steps = []
        for gradient, average in zip(gradients, state[0], strict=True):
            average.lerp_(gradient, 1 - self.momentum)
            steps.append(gradient.lerp(average, self.momentum) if self.nesterov else average)
        # On the CPU each alone, so that its bits cannot depend on who is beside it; elsewhere
        # together, because small kernels cost more to start than to run.
        together = bool(steps) and steps[0].device.type != "cpu"
        found = newton_schulz_of_each(steps, self.iterations, together)
        for parameter, step in zip(parameters, found, strict=True):
            parameter.mul_(1 - rate * self.weight_decay)
            parameter.add_(step, alpha=-rate * self._factor(*step.shape))

    def _factor(self, rows: int, columns: int) -> float:
        if self.scale == "original":
            return sqrt(max(1.0, rows / columns))
        return 0.2 * sqrt(max(rows, columns))


def newton_schulz(
    matrix: Float[Tensor, "*stack row column"], iterations: int = 5
) -> Float[Tensor, "*stack row column"]:
    """U V' of a matrix U S V', or of each in a stack, roughly: singular values come near 1.

    X <- a X + (b X X' + c (X X')^2) X from X of Frobenius norm 1, in bfloat16. Very small singular
    values stay below that: `iterations` steps multiply them by 3.4445 each.
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[-2] > matrix.shape[-1]
    found = matrix.bfloat16()
    found = found.mT if tall else found
    found = found / found.norm(dim=(-2, -1), keepdim=True).clamp(min=TINY)
    add_product = torch.addmm if matrix.ndim == 2 else torch.baddbmm
    for _ in range(iterations):
        gram = found @ found.mT
        found = add_product(found, add_product(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.mT if tall else found


def newton_schulz_of_each(
    matrices: Sequence[Tensor], iterations: int, together: bool
) -> list[Tensor]:
    """The same of matrices of several shapes, one by one or all of a shape as a stack."""
    if not together:
        return [newton_schulz(matrix, iterations) for matrix in matrices]
    found: list[Tensor] = list(matrices)
    alike: dict[torch.Size, list[int]] = {}
    for place, matrix in enumerate(matrices):
        alike.setdefault(matrix.shape, []).append(place)
    for places in alike.values():
        stack = newton_schulz(torch.stack([matrices[i] for i in places]), iterations)
        for place, matrix in zip(places, stack, strict=True):
            found[place] = matrix
    return found
