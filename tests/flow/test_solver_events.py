"""When signals first stop being negative: closed forms, and everything that is not smooth."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from saltus.flow.events import PRECISION, first_passage
from saltus.flow.integrator import Integrator
from saltus.flow.solve import solve
from saltus.flow.tableaus import METHODS

EXACT = torch.float64


def rotation(y: Tensor) -> Tensor:
    return torch.stack([y[:, 1], -y[:, 0]], dim=1)


@pytest.mark.parametrize("method", METHODS)
def test_decay_passes_each_level_at_its_logarithm(method: str) -> None:
    start = torch.tensor([[1.0], [3.0], [0.5]], dtype=EXACT)
    levels = [0.9, 0.5, 1e-4]
    found = solve(
        lambda y: -y,
        start,
        [20.0],
        rtol=1e-9,
        atol=1e-13,
        method=method,
        events={str(level): lambda y, level=level: level - y[:, 0] for level in levels},
    )
    for level in levels:
        exact = [max(0.0, math.log(y / level)) for y in (1.0, 3.0, 0.5)]
        assert found.events[str(level)].tolist() == pytest.approx(exact, rel=1e-7)


def test_events_of_straight_motion_are_located_to_rounding() -> None:
    """y' = 1 is integrated exactly, so only the root finder's own error is left."""
    levels = torch.tensor([1e-7, 0.1, 1.0 / 3.0, 7.0, 999.0], dtype=EXACT)
    found = Integrator(
        lambda rows, y: torch.ones_like(y),
        torch.zeros(1, 1, dtype=EXACT),
        end=[1000.0],
        signals=lambda rows, y: y - levels,
        events=5,
    )
    found.at([1000.0])
    assert found.event_times[0].tolist() == pytest.approx(levels.tolist(), rel=1e-12)


def test_a_passage_there_and_back_within_a_step_is_seen() -> None:
    start, one = torch.zeros(1, 1, dtype=EXACT), [1000.0]
    plain = Integrator(lambda rows, y: torch.ones_like(y), start, end=one)
    plain.at(one)
    before = plain.paces[0].before  # the last step is a long one
    first, last = (before + part * (1000.0 - before) for part in (0.35, 0.45))

    def signals(rows: list[int], y: Tensor) -> Tensor:
        return (y - first) * (last - y)

    for looks, seen in ((4, first), (0, math.nan)):
        watched = Integrator(
            lambda rows, y: torch.ones_like(y),
            start,
            end=one,
            signals=signals,
            events=1,
            looks=looks,
        )
        watched.at(one)
        assert watched.event_times.item() == pytest.approx(seen, rel=1e-12, nan_ok=True)


def test_only_the_first_passage_counts() -> None:
    start = torch.tensor([[0.0, 1.0]], dtype=EXACT)
    found = solve(rotation, start, [30.0], events={"high": lambda y: y[:, 0] - 0.5})
    assert found.events["high"].item() == pytest.approx(math.pi / 6, rel=1e-8)


def test_signals_that_jump_are_nan_or_infinite_are_located_too() -> None:
    start = torch.zeros(1, 1, dtype=EXACT)

    def signals(rows: list[int], y: Tensor) -> Tensor:
        jump = (y >= 2.0).to(EXACT) - 0.5
        unknown = torch.where(y < 3.0, torch.nan, 1.0)
        huge = torch.where(y < 4.0, -torch.inf, torch.inf)
        touch = -(y - 5.0).abs()
        never = torch.full_like(y, torch.nan)
        return torch.cat([jump, unknown, huge, touch, never], dim=1)

    integrator = Integrator(
        lambda rows, y: torch.ones_like(y), start, end=[10.0], signals=signals, events=5
    )
    integrator.at([10.0])
    times = integrator.event_times[0].tolist()
    assert times[:3] == pytest.approx([2.0, 3.0, 4.0], rel=2e-13)
    assert math.isnan(times[4])


def test_signals_at_the_start_happened_at_time_zero() -> None:
    start = torch.tensor([[0.0], [-1.0], [2.0]], dtype=EXACT)
    integrator = Integrator(
        lambda rows, y: torch.ones_like(y),
        start,
        end=[3.0, 3.0, 0.0],
        signals=lambda rows, y: y,
        events=1,
    )
    assert integrator.event_times[:, 0].nan_to_num(-1.0).tolist() == [0.0, -1.0, 0.0]
    integrator.at([3.0, 3.0, 0.0])
    assert integrator.event_times[:, 0].tolist() == pytest.approx([0.0, 1.0, 0.0])


def test_events_are_found_ahead_and_told_when_their_time_has_come() -> None:
    integrator = Integrator(
        lambda rows, y: torch.ones_like(y),
        torch.zeros(2, 1, dtype=EXACT),
        end=[100.0, 100.0],
        signals=lambda rows, y: torch.cat([y - 1.0, y - 2.0], dim=1),
        events=2,
    )
    integrator.at([1.5, 0.0])
    assert integrator.times[0] > 2.0  # the step went on, and both events are known
    assert integrator.event_times[0].tolist() == pytest.approx([1.0, 2.0])
    told = integrator.events_by([1.5, 0.0])
    assert told.isnan().tolist() == [[False, True], [True, True]]
    assert integrator.events_by([2.5, 0.0])[0].tolist() == pytest.approx([1.0, 2.0])


def test_the_state_at_an_event_has_its_signal_past_zero_and_just_before_it_not() -> None:
    start = torch.tensor([[1.0, 0.0], [0.8, 0.1]], dtype=EXACT)
    times = solve(rotation, start, [5.0], events={"x": lambda y: -y[:, 0]}).events["x"]
    for offset, past in ((0.0, True), (-1e-12, False)):
        at = (times * (1.0 + offset))[:, None]
        found = solve(rotation, start, torch.cat([at, torch.full_like(at, 5.0)], dim=1))
        assert ((-found.states[:, 0, 0]) >= 0.0).tolist() == [past, past]


def test_events_cost_dense_output_only_until_all_have_happened() -> None:
    start = torch.tensor([[1.0, 0.0]], dtype=EXACT)
    found = solve(rotation, start, [50.0], events={"x": lambda y: -y[:, 0]})
    assert 0 < found.counts.dense[0] < 3 * found.counts.accepted[0] / 5
    assert solve(rotation, start, [50.0]).counts.dense == [0]


@given(
    st.floats(1e-9, 1.0),
    st.floats(-8.0, 3.0),
    st.sampled_from(
        [
            lambda t, root: t - root,
            lambda t, root: (t - root) ** 3,
            lambda t, root: math.atan(1e6 * (t - root)),
            lambda t, root: math.copysign(1.0, t - root) if t != root else 1.0,
            lambda t, root: math.nan if t < root else t - root,
            lambda t, root: math.expm1(min(50.0 * (t - root), 700.0)),
        ]
    ),
)
def test_the_root_finder_is_as_precise_as_it_says(
    where: float, scale: float, shape: Callable[[float, float], float]
) -> None:
    high = 10.0**scale
    root, looked = where * high, 0

    def signal(time: float) -> float:
        nonlocal looked
        looked += 1
        return shape(time, root)

    found = first_passage(signal, 0.0, high)
    assert shape(found, root) >= 0.0
    # The cube is flat to rounding around its root.
    flat = 1e-5 * high if shape(0.5, 0.0) == 0.125 else 0.0
    assert -flat <= found - root <= PRECISION * found + flat
    assert looked < 100


def test_smooth_signals_are_located_in_a_few_looks() -> None:
    looked = []

    def signal(time: float) -> float:
        looked.append(time)
        return math.exp(time) - 2.0

    assert first_passage(signal, 0.0, 1.0) == pytest.approx(math.log(2.0), rel=2e-13)
    assert len(looked) < 14
