"""One Runge-Kutta step of some rows: the only place that calls the velocity."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from saltus.errors import SaltusError
from saltus.flow.dense import Step, column, combine
from saltus.flow.tableaus import Tableau

# (which rows of the ensemble, their states [row, state]) → their velocities [row, state].
Velocity = Callable[[list[int], Tensor], Tensor]


class Stepper:
    """The stages of a step, all rows in lockstep: each stage is one call of the velocity."""

    def __init__(
        self, velocity: Velocity, tableau: Tableau, like: Float[Tensor, "row state"]
    ) -> None:
        self.function, self.tableau = velocity, tableau
        self.block = like.new_empty(tableau.size, *like.shape)

    def velocity(
        self, rows: list[int], states: Float[Tensor, "row state"]
    ) -> Float[Tensor, "row state"]:
        """v at the states of these rows."""
        found = self.function(rows, states)
        if found.shape != states.shape or found.dtype != states.dtype:
            raise SaltusError(
                f"velocity: gave {list(found.shape)} in {found.dtype} for states "
                f"{list(states.shape)} in {states.dtype}; allowed: the same shape and precision"
            )
        return found.detach()

    def step(
        self,
        rows: list[int],
        old: Float[Tensor, "row state"],
        slope: Float[Tensor, "row state"],
        sizes: list[float],
    ) -> Step:
        """Steps of these sizes from `old`, where the velocity is `slope`.

        The stages lie in a workspace that the next step overwrites. Those for dense output are
        not set.
        """
        stages, h, new = self.block[:, : len(rows)], column(old, sizes), old
        stages[0] = slope
        for number, weights in enumerate(self.tableau.stages, start=1):
            new = old + combine(stages, weights) * h
            stages[number] = self.velocity(rows, new)
        return Step(self.tableau, rows, old, new, sizes, stages)

    def extend(self, step: Step) -> None:
        """Set the stages that only dense output needs."""
        h = column(step.old, step.sizes)
        for number, weights in enumerate(self.tableau.extra, start=self.tableau.last + 1):
            states = step.old + combine(step.stages, weights) * h
            step.stages[number] = self.velocity(step.rows, states)
