"""No row changes another by a bit; where a path was stopped or read does not change it either."""

from collections.abc import Sequence
from dataclasses import astuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from saltus.flow.integrator import Integrator
from saltus.flow.tableaus import METHODS

EXACT = torch.float64


class Rivals:
    """y_i' = r y_i (1 - y_i - y_(i+1)/2), with r each row's own: products and sums alone, so that
    the velocity itself has the same bits for a row whatever stands beside it."""

    def __init__(self, rates: Sequence[float]) -> None:
        self.rates = torch.tensor(rates, dtype=EXACT)[:, None]
        self.called: list[list[int]] = []

    def velocity(self, rows: list[int], y: Tensor) -> Tensor:
        self.called.append(rows)
        return y * (1.0 - y - y.roll(1, dims=1) * 0.5) * self.rates[rows]

    def signals(self, rows: list[int], y: Tensor) -> Tensor:
        return torch.stack([y[:, 0] - 0.5, 0.6 - y[:, -1]], dim=1)


def follow(rates: Sequence[float], start: Tensor, ends: Sequence[float], method: str) -> Integrator:
    rivals = Rivals(rates)
    return Integrator(
        rivals.velocity,
        start,
        end=ends,
        rtol=1e-4,
        atol=1e-6,
        method=method,
        signals=rivals.signals,
        events=2,
    )


def outcome(integrator: Integrator, row: int) -> list[object]:
    """Everything a row has become: its counts, times and events."""
    events = integrator.event_times[row].nan_to_num(nan=-1.0).tolist()
    counts = [numbers[row] for numbers in astuple(integrator.counts)]
    return [events, counts, integrator.times[row], integrator.failed.get(row)]


def ensembles(rows: int) -> st.SearchStrategy:
    number = st.floats(0.01, 2.0)
    sizes = st.integers(1, 9)
    return st.tuples(
        sizes.flatmap(
            lambda size: st.lists(
                st.lists(number, min_size=size, max_size=size), min_size=rows, max_size=rows
            )
        ),
        st.lists(st.floats(0.1, 2.0), min_size=rows, max_size=rows),
        st.lists(st.floats(0.0, 2.0), min_size=rows, max_size=rows),
        st.sampled_from(sorted(METHODS)),
    )


@given(ensembles(3), st.permutations(range(3)), st.integers(2, 3))
def test_a_row_is_bit_identical_alone_and_in_any_subset_in_any_order(
    drawn: tuple, order: list[int], count: int
) -> None:
    starts, rates, ends, method = drawn
    start = torch.tensor(starts, dtype=EXACT)
    whole = follow(rates, start, ends, method)
    halfway = whole.at([end / 2 for end in ends])
    reached = whole.at(ends)
    for chosen in (order[:1], order[:count]):
        part = follow([rates[k] for k in chosen], start[chosen], [ends[k] for k in chosen], method)
        assert torch.equal(part.at([ends[k] / 2 for k in chosen]), halfway[chosen])
        assert torch.equal(part.at([ends[k] for k in chosen]), reached[chosen])
        for place, k in enumerate(chosen):
            assert outcome(part, place) == outcome(whole, k)


@given(ensembles(3), st.lists(st.floats(0.0, 1.0), max_size=5).map(sorted))
def test_the_path_does_not_depend_on_the_times_asked_for(drawn: tuple, parts: list[float]) -> None:
    starts, rates, ends, method = drawn
    start = torch.tensor(starts, dtype=EXACT)
    straight, slow = (follow(rates, start, ends, method) for _ in range(2))
    for part in parts:
        slow.at([part * end for end in ends])
    assert torch.equal(slow.at(ends), straight.at(ends))
    assert slow.counts.evaluations == straight.counts.evaluations
    assert slow.counts.rejected == straight.counts.rejected
    assert slow.times == straight.times
    assert torch.equal(slow.event_times.nan_to_num(-1.0), straight.event_times.nan_to_num(-1.0))


@given(ensembles(3), st.lists(st.floats(0.0, 1.0), min_size=1, max_size=3).map(sorted))
def test_a_restored_path_continues_to_the_same_bits(drawn: tuple, parts: list[float]) -> None:
    starts, rates, ends, method = drawn
    start = torch.tensor(starts, dtype=EXACT)
    whole = follow(rates, start, ends, method)
    restored = follow(rates, torch.ones_like(start), ends, method)
    restored.restore(whole.state())
    for part in [*parts, 1.0]:
        times = [part * end for end in ends]
        expected = whole.at(times)
        assert torch.equal(restored.at(times), expected)
        restored = follow(rates, torch.ones_like(start), ends, method)
        restored.restore(whole.state())
        assert torch.equal(restored.at(times), expected)
        assert [outcome(restored, row) for row in range(3)] == [
            outcome(whole, row) for row in range(3)
        ]
        assert all(
            torch.equal(value.nan_to_num(), other.nan_to_num())
            for value, other in zip(restored.state().values(), whole.state().values(), strict=True)
        )


def test_a_state_taken_after_a_velocity_broke_off_continues_to_the_same_bits() -> None:
    """As after Ctrl-C in the middle of a step, at any of its calls."""
    rates, ends = [1.0, 3.0], [4.0, 4.0]
    start = torch.tensor([[0.1, 0.2], [0.3, 0.05]], dtype=EXACT)
    whole = follow(rates, start, ends, "dop853")
    expected = whole.at(ends)
    for calls in range(2, 80, 9):
        rivals = Rivals(rates)

        def velocity(rows: list[int], y: Tensor, own: Rivals = rivals, most: int = calls) -> Tensor:
            if len(own.called) == most:
                raise InterruptedError
            return own.velocity(rows, y)

        broken = Integrator(
            velocity, start, end=ends, rtol=1e-4, atol=1e-6, signals=rivals.signals, events=2
        )
        with pytest.raises(InterruptedError):
            broken.at(ends)
        resumed = follow(rates, start, ends, "dop853")
        resumed.restore(broken.state())
        assert torch.equal(resumed.at(ends), expected)
        assert [outcome(resumed, row) for row in (0, 1)] == [outcome(whole, row) for row in (0, 1)]


@pytest.mark.parametrize(("method", "bad"), [("dop853", 0), ("dopri5", 1), ("dop853", 2)])
def test_a_row_that_fails_leaves_the_others_bit_identical(method: str, bad: int) -> None:
    """y' = y² has a pole at 1/y(0); at times after it the row stays where it came to."""
    start = torch.tensor([[-1.0], [-0.5], [-2.0]], dtype=EXACT)
    start[bad] = 1.0
    ends = [0.5, 3.0, 3.0]
    ends[bad] = 2.0
    integrator = Integrator(lambda rows, y: y * y, start, end=ends, method=method)
    first = integrator.at([end / 4 for end in ends])
    last = integrator.at(ends)
    again = integrator.at(ends)
    assert list(integrator.failed) == [bad]
    assert "its step fell below the spacing of numbers at time 1.0000" in integrator.failed[bad]
    assert torch.equal(again, last)
    assert last[bad, 0] > 1e6
    for row in {0, 1, 2} - {bad}:
        alone = Integrator(
            lambda rows, y: y * y, start[row : row + 1], end=ends[row : row + 1], method=method
        )
        assert torch.equal(alone.at([ends[row] / 4])[0], first[row])
        assert torch.equal(alone.at([ends[row]])[0], last[row])
    restored = Integrator(lambda rows, y: y * y, start, end=ends, method=method)
    restored.restore(integrator.state())
    assert restored.failed == integrator.failed
    assert torch.equal(restored.at(ends), last)


def test_velocities_that_stop_being_finite_say_so() -> None:
    def velocity(rows: list[int], y: Tensor) -> Tensor:
        wall = torch.ones_like(y).masked_fill(y > 1.0, torch.nan)
        nowhere = torch.full_like(y, torch.inf)
        return torch.stack([(wall, nowhere, -y)[row][place] for place, row in enumerate(rows)])

    start = torch.tensor([[0.25], [0.0], [1.0]], dtype=EXACT)
    integrator = Integrator(velocity, start, end=[2.0, 2.0, 2.0])
    found = integrator.at([2.0, 2.0, 2.0])
    assert integrator.failed[0].startswith("its velocity stopped being finite after time 0.7")
    assert integrator.failed[1] == "its velocity is not finite at time 0.0"
    assert found[:, 0].tolist() == pytest.approx([1.0, 0.0, 0.1353352832366127])
    assert list(integrator.failed) == [0, 1]


def test_a_row_that_takes_too_many_steps_is_stopped() -> None:
    start = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=EXACT)
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=EXACT)
    integrator = Integrator(lambda rows, y: y @ turn, start, end=[1e3, 1e3], largest=30)
    integrator.at([1e3, 1e3])
    assert list(integrator.failed) == [0]
    assert integrator.failed[0].startswith("it came only to time ")
    assert integrator.failed[0].endswith("of 1000.0 in 30 attempted steps")


def test_only_rows_with_need_are_evaluated() -> None:
    rivals = Rivals([1.0, 1.0, 1.0])
    start = torch.full((3, 2), 0.1, dtype=EXACT)
    integrator = Integrator(rivals.velocity, start, end=[2.0, 0.0, 2.0])
    assert torch.equal(integrator.at([0.0, 0.0, 0.0]), start)
    assert rivals.called == [[0, 2], [0, 2]]
    rivals.called.clear()
    integrator.at([0.0, 0.0, 1.0])
    assert {tuple(rows) for rows in rivals.called} == {(2,)}
    rivals.called.clear()
    integrator.at([0.0, 0.0, 1.0])
    assert not rivals.called
