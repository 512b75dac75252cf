"""Against closed forms, the orders of convergence, and scipy step by step."""

import builtins
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from saltus.errors import SaltusError
from saltus.flow.integrator import Integrator
from saltus.flow.reference import reference
from saltus.flow.solve import solve
from saltus.flow.stepper import Stepper
from saltus.flow.tableaus import METHODS

EXACT = torch.float64


def predator_prey(y: Tensor) -> Tensor:
    a, b = y[:, :1], y[:, 1:]
    return torch.cat([1.5 * a - a * b, a * b - 3.0 * b], dim=1)


def pendulum(y: Tensor) -> Tensor:
    return torch.stack([y[:, 1], -y[:, 0].sin()], dim=1)


@pytest.mark.parametrize("method", METHODS)
def test_linear_systems_are_matrix_exponentials(method: str) -> None:
    matrices = torch.randn(3, 5, 5, dtype=EXACT) - torch.eye(5, dtype=EXACT)
    start = torch.randn(3, 5, dtype=EXACT)
    times = torch.tensor([0.0, 0.4, 1.7, 3.0], dtype=EXACT)

    def velocity(rows: list[int], y: Tensor) -> Tensor:
        return (matrices[rows] @ y[:, :, None])[:, :, 0]

    integrator = Integrator(velocity, start, end=[3.0] * 3, rtol=1e-11, atol=1e-13, method=method)
    for time in times.tolist():
        exact = (torch.matrix_exp(matrices * time) @ start[:, :, None])[:, :, 0]
        assert torch.allclose(integrator.at([time] * 3), exact, rtol=1e-9, atol=1e-9)


def slope(errors: list[float], sizes: list[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


@pytest.mark.parametrize("method", METHODS)
def test_order_of_convergence_of_the_step(method: str) -> None:
    tableau, start = METHODS[method], torch.tensor([[1.0, 0.5]], dtype=EXACT)
    exact = solve(pendulum, start, [4.0], rtol=1e-13, atol=1e-14).states[:, -1]
    errors, sizes = [], []
    for count in (5, 6, 8, 10) if method == "dop853" else (20, 40, 80):
        stepper = Stepper(lambda rows, y: pendulum(y), tableau, start)
        y = start
        for _ in range(count):
            y = stepper.step([0], y, pendulum(y), [4.0 / count]).new
        errors.append(float((y - exact).norm()))
        sizes.append(4.0 / count)
    assert slope(errors, sizes) == pytest.approx(tableau.order, abs=0.4)


@pytest.mark.parametrize(("method", "order"), [("dop853", 7), ("dopri5", 4)])
def test_order_of_dense_output(method: str, order: int) -> None:
    """The error within one step is O(h^(order + 1))."""
    start, errors, sizes = torch.tensor([[1.0, 0.5]], dtype=EXACT), [], [0.4, 0.2, 0.1]
    for size in sizes:
        stepper = Stepper(lambda rows, y: pendulum(y), METHODS[method], start)
        step = stepper.step([0], start, pendulum(start), [size])
        stepper.extend(step)
        exact = solve(pendulum, start, [size / 2], rtol=1e-13, atol=1e-15).states[:, -1]
        errors.append(float((step.inside([0.5]) - exact).norm()))
    assert slope(errors, sizes) == pytest.approx(order + 1, abs=0.2)


@pytest.mark.parametrize("rtol", [1e-4, 1e-8, 1e-11])
def test_scipy_agrees_in_every_state_and_every_count(rtol: float) -> None:
    start = torch.tensor([[10.0, 5.0], [2.0, 3.0]], dtype=EXACT)
    times = [0.0, 0.3, 2.0, 4.5, 4.6, 8.0]
    ours = solve(predator_prey, start, times, rtol=rtol, atol=rtol / 100)
    theirs = reference(predator_prey, start, times, rtol=rtol, atol=rtol / 100)
    assert torch.allclose(ours.states, theirs.states, rtol=1e-9, atol=1e-9)
    assert ours.counts == theirs.counts
    assert min(ours.counts.rejected) > 0


@pytest.mark.parametrize("rtol", [1e-4, 1e-9])
def test_scipy_rk45_takes_the_same_steps(rtol: float) -> None:
    from scipy.integrate import RK45

    start, ends = torch.tensor([[10.0, 5.0], [2.0, 3.0]], dtype=EXACT), [4.0, 6.0]
    ours = Integrator(
        lambda rows, y: predator_prey(y), start, end=ends, rtol=rtol, atol=1e-9, method="dopri5"
    )
    found = ours.at(ends)
    for row, end in enumerate(ends):
        solver = RK45(
            lambda t, y: predator_prey(torch.from_numpy(y)[None])[0].numpy(),
            0.0,
            start[row].numpy(),
            end,
            rtol=rtol,
            atol=1e-9,
        )
        while solver.status == "running":
            solver.step()
        assert solver.nfev == ours.counts.evaluations[row]
        assert found[row].numpy() == pytest.approx(solver.y, rel=1e-9)


def test_tolerances_bound_the_error_of_a_known_path() -> None:
    start = torch.tensor([[0.01], [0.3]], dtype=EXACT)
    times = torch.linspace(0.0, 12.0, 25, dtype=EXACT)
    exact = 1.0 / (1.0 + (1.0 / start - 1.0) * torch.exp(-times))
    for method in METHODS:
        for rtol in (1e-5, 1e-8, 1e-11):
            found = solve(
                lambda y: y * (1.0 - y), start, times, rtol=rtol, atol=1e-12, method=method
            )
            assert (found.states[:, :, 0] - exact).abs().max() < 30 * rtol


def test_linear_invariants_hold_to_rounding() -> None:
    start = torch.rand(4, 3, dtype=EXACT)
    found = solve(
        lambda y: y * y.roll(1, dims=1) - y.roll(-1, dims=1) * y, start, [5.0, 50.0], rtol=1e-4
    )
    assert (found.states.sum(dim=2) - start.sum(dim=1)[:, None]).abs().max() < 1e-13


def test_dense_evaluations_are_made_only_where_a_time_lies_within_a_step() -> None:
    start = torch.tensor([[1.0, 0.0]], dtype=EXACT)
    assert solve(pendulum, start, [10.0]).counts.dense == [0]
    assert solve(pendulum, start, [5.0, 5.0, 5.0001, 10.0]).counts.dense == [3]
    assert solve(pendulum, start, [5.0, 10.0], method="dopri5").counts.dense == [0]


def test_every_row_may_have_its_own_times_and_none_at_all_costs_nothing() -> None:
    start = torch.tensor([1.0, 2.0], dtype=EXACT)[:, None]
    found = solve(lambda y: -y, start, torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    assert found.states[:, :, 0].tolist() == [[1.0, pytest.approx(math.exp(-1.0))], [2.0, 2.0]]
    assert found.counts.evaluations[1] == 0
    assert (
        reference(lambda y: -y, start, [0.0, 0.0]).states.tolist()
        == start[:, None].expand(-1, 2, -1).tolist()
    )


def test_a_missing_scipy_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def refuse(name: str, *rest: object) -> object:
        if name.startswith("scipy"):
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(SaltusError, match="scipy is not installed: pip install"):
        reference(lambda y: -y, torch.ones(1, 1, dtype=EXACT), [1.0])
