"""Solve y' = v(y) in one call: states at given times, and when events happen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from saltus.errors import SaltusError
from saltus.flow.checks import arrange
from saltus.flow.integrator import Counts, Integrator

# [row, state] → [row, state], each row as if it were alone.
Function = Callable[[Tensor], Tensor]
# [row, state] → [row]: the event happens when this first is ≥ 0.
Signal = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Solution:
    """Trajectories at chosen times; NaN after the time at which a row failed."""

    times: Float[Tensor, "row time"]
    states: Float[Tensor, "row time state"]
    events: dict[str, Float[Tensor, "row"]]  # when each happened; NaN where it did not
    counts: Counts
    failed: dict[int, str]  # row → why it came no further


def solve(
    function: Function,
    start: Tensor,
    times: Tensor | Sequence[float],
    *,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    method: str = "dop853",
    events: Mapping[str, Signal] | None = None,
    looks: int = 4,
    largest: int = 1_000_000,
) -> Solution:
    """The trajectories of y' = function(y) from `start` [row, state], or [state] for one row.

    `times` is shared, [time], or each row's own, [row, time]; it starts at 0 or later and does not
    decrease. Rows do not influence one another; the other arguments are those of `Integrator`.

        spiral = torch.tensor([[-0.1, 1.0], [-1.0, -0.1]], dtype=torch.float64)
        start = torch.eye(2, dtype=torch.float64)
        solution = solve(
            lambda y: y @ spiral.T, start, [0.0, 1.0, 10.0], events={"down": lambda y: -y[:, 0]}
        )
    """
    start, grid = arrange(start, times)
    signals = dict(events or {})

    def all_signals(rows: list[int], states: Tensor) -> Tensor:
        values = [signal(states) for signal in signals.values()]
        for name, value in zip(signals, values, strict=True):
            if value.shape != (len(rows),):
                raise SaltusError(
                    f"events.{name}: gave {list(value.shape)}; allowed: [row], here [{len(rows)}]"
                )
        return torch.stack([value.to(states.dtype) for value in values], dim=1)

    integrator = Integrator(
        lambda rows, states: function(states),
        start,
        end=grid[:, -1].tolist(),
        rtol=rtol,
        atol=atol,
        method=method,
        signals=all_signals if signals else None,
        events=len(signals),
        looks=looks,
        largest=largest,
    )
    states = start.new_empty(*grid.shape, start.shape[1])
    for index, now in enumerate(grid.T.tolist()):
        states[:, index] = integrator.at(now)
    for row in integrator.failed:
        states[row, grid[row] > integrator.times[row]] = torch.nan
    found = dict(zip(signals, integrator.event_times.unbind(1), strict=True))
    return Solution(grid, states, found, integrator.counts, integrator.failed)
