"""Position shuffle: a permutation of the table is a permutation of what the positions mean."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.instruments import Instrument
from saltus.instruments.position_shuffle import PositionShuffle, permutation
from saltus.tasks.moving_window_sum import MovingWindowSum
from tiny_checkpoints import DIGITS, MATRICES, alone, found, same_bits, trained

PART = {"kind": "position-shuffle", "samples": 32}
both = pytest.mark.parametrize("where", [DIGITS, MATRICES], ids=["digits", "matrices"])


@given(st.integers(2, 80), st.integers(0, 2**40))
def test_the_permutation_moves_something_and_depends_on_its_arguments_alone(rows, shuffle):
    order = permutation(rows, shuffle)
    assert order.sort().values.equal(torch.arange(rows))
    assert not order.equal(torch.arange(rows))
    assert order.equal(permutation(rows, shuffle))


def test_another_number_is_another_permutation():
    assert len({tuple(permutation(49, shuffle).tolist()) for shuffle in range(20)}) == 20
    assert permutation(1).tolist() == [0]


@both
def test_the_numbers_are_those_of_a_model_whose_table_was_permuted(where):
    ours = trained([PART], where=where)
    results = found(ours)
    with torch.no_grad():
        rows = ours.parameters["position.weight"]
        rows.copy_(rows[:, permutation(rows.shape[1])])
    there = found(ours)
    for name in [name for name in results if "intact" not in name]:
        what = name.removeprefix("position-shuffle/")
        assert there[f"position-shuffle/intact/{what}"].equal(results[name])
        assert not results[name].equal(results[f"position-shuffle/intact/{what}"])


def test_without_positions_a_bidirectional_model_does_not_see_the_shuffle():
    ours = trained([PART], 0, where=MATRICES)
    with torch.no_grad():
        ours.parameters["position.weight"][:] = ours.parameters["position.weight"][:, :1]
    results = found(ours)
    assert results["position-shuffle/loss"].equal(results["position-shuffle/intact/loss"])


def test_rows_that_the_task_does_not_use_stay_where_they_are():
    where = {**MATRICES, "model": {**MATRICES["model"], "positions": 40}}
    ours = trained([PART], where=where)
    first = found(ours)
    with torch.no_grad():
        ours.parameters["position.weight"][:, 16:] = torch.nan
    assert same_bits(found(ours), first)


@both
def test_a_single_model_gives_the_same_numbers(where):
    ours = trained([PART], where=where)
    together = found(ours)
    for row in range(3):
        for name, value in alone(PositionShuffle(samples=32), ours, row).items():
            torch.testing.assert_close(value, together[name][row], rtol=1e-5, atol=1e-6)


def test_a_member_is_the_same_to_the_last_bit_in_any_company():
    together = found(trained([PART]))
    for seed in range(3):
        single = found(trained([PART], seeds=[seed]))
        assert same_bits(single, {n: v[seed : seed + 1] for n, v in together.items()})


def test_a_table_that_is_not_there_is_named_in_one_line():
    part = {"kind": "position-shuffle", "table": "places.weight"}
    with pytest.raises(SaltusError) as caught:
        found(trained([part], 0))
    assert str(caught.value) == ("position-shuffle.table: the model has no parameter places.weight")


def test_it_is_data_and_asks_for_two_positions():
    part = PositionShuffle(shuffle=3)
    assert Instrument.parse(part.model_dump()) == part
    part.check(MovingWindowSum(length=4))
    with pytest.raises(ValueError, match=r"^shuffle: -1 is not allowed"):
        Instrument.parse({"kind": "position-shuffle", "shuffle": -1})
