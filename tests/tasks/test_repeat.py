"""Repeat: the blocks, which states are compared, and the levels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.random import Draws
from saltus.tasks.repeat import Repeat

SETTINGS = st.tuples(
    st.integers(1, 4), st.integers(1, 4), st.integers(2, 20), st.integers(2, 20)
).filter(lambda sizes: sizes[0] * sizes[1] >= 2)


@given(setting=SETTINGS, seed=st.integers(0, 99))
def test_answers_are_those_of_a_plain_loop(setting, seed):
    blocks, size, alphabet, modulus = setting
    n = blocks * size
    task = Repeat(length=n, blocks=blocks, alphabet=alphabet, modulus=modulus)
    for row in task.sequences(Draws(seed, "data"), batch=3).tolist():
        expected = []
        for block in range(blocks):
            expected += [(row[0] + block) % modulus] * size
        assert row[n + 1 :] == expected
        assert row[n] == task.separator == task.vocabulary - 1 not in row[:n] + row[n + 1 :]


def test_an_answer_worked_by_hand():
    task = Repeat(length=6, blocks=3)
    assert task.solve(Draws(0, "data").integers(16, 17, 1, 6)).tolist() == [[16, 16, 0, 0, 1, 1]]


@pytest.mark.parametrize(("blocks", "pairs"), [(1, 105), (2, 42), (4, 12)])
def test_the_papers_sizes_and_pairs(blocks, pairs):
    """18 ids, 33 tokens; pairs inside a block, without its first answer."""
    task = Repeat(blocks=blocks)
    assert task.interface[:3] == (18, 32, 18)
    groups = task.state_groups()
    assert sum(len(group) * (len(group) - 1) // 2 for group in groups) == pairs
    size = 16 // blocks
    assert [16 + b * size for b in range(blocks)] == [group[0] - 1 for group in groups]
    assert groups[-1][-1] == 31
    assert task.attended() is None


@pytest.mark.parametrize("modulus", [3, 5, 8])
def test_levels_are_the_entropies_of_samples(modulus, place_entropies):
    task = Repeat(length=4, blocks=2, alphabet=5, modulus=modulus)
    entropies = place_entropies(task)
    levels = task.levels()
    assert levels["floor"] == pytest.approx(sum(entropies[:4]) / 8, abs=1e-3)
    assert levels["start"] == pytest.approx(sum(entropies) / 8, abs=1e-3)


def test_blocks_that_do_not_divide_the_length_are_refused():
    task = {"kind": "repeat", "blocks": 3}
    with pytest.raises(SaltusError, match="task: length 16 must be a multiple of blocks 3"):
        Experiment.of({"task": task, "model": "decoder", "steps": 1, "batch": 1})
