"""The same trajectories by scipy, one row at a time: what the solver is held against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from saltus.errors import SaltusError
from saltus.flow.checks import arrange, check_problem
from saltus.flow.integrator import Counts
from saltus.flow.solve import Function, Solution


def reference(
    function: Function,
    start: Tensor,
    times: Tensor | Sequence[float],
    rtol: float = 1e-8,
    atol: float = 1e-10,
) -> Solution:
    """`solve` by scipy's DOP853, on the CPU: the same states to rounding, and the same counts."""
    try:
        from scipy.integrate import DOP853
    except ImportError:
        raise SaltusError("scipy is not installed: pip install 'saltus[studies]'") from None

    def velocity(time: float, state: np.ndarray) -> np.ndarray:
        rows = torch.from_numpy(state).to(start.device)[None]
        return function(rows)[0].detach().cpu().numpy()

    start, grid = arrange(start, times)
    check_problem(start, grid[:, -1].tolist(), rtol, atol)
    states = torch.full((*grid.shape, start.shape[1]), torch.nan, dtype=torch.float64)
    failed: dict[int, str] = {}
    counts = Counts([], [], [], [])
    for row, own in enumerate(grid.tolist()):
        states[row, [time == 0.0 for time in own]] = start[row].detach().cpu()
        steps, dense = 0, 0
        solver, within = None, None
        for index, time in enumerate(own):
            if time == 0.0:
                continue
            if solver is None:
                y = start[row].detach().cpu().numpy()
                solver = DOP853(velocity, 0.0, y, own[-1], rtol=rtol, atol=atol)
            while solver.t < time and row not in failed:
                problem, within = solver.step(), None
                if problem is None:
                    steps += 1
                else:
                    failed[row] = problem
            if row in failed:
                break
            if time < solver.t and within is None:
                within = solver.dense_output()
                dense += 3
            state = solver.y if within is None else within(time)
            states[row, index] = torch.from_numpy(state)
        evaluations = 0 if solver is None else solver.nfev - dense
        counts.evaluations.append(evaluations)
        counts.dense.append(dense)
        counts.accepted.append(steps)
        # Every attempt costs 12 evaluations; two were made before the first.
        counts.rejected.append(max(0, evaluations - 2) // 12 - steps)
    return Solution(grid, states.to(start.device), {}, counts, failed)
