"""Permutation: the answers, the oracle's keys in both layers, and the levels."""

from math import factorial, log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saltus.random import Draws
from saltus.tasks.permutation import Permutation


@given(
    length=st.integers(2, 9),
    alphabet=st.integers(1, 9).map(lambda a: a + 1),
    compositions=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_answers_are_those_of_a_plain_loop(length, alphabet, compositions, seed):
    task = Permutation(length=length, alphabet=alphabet, compositions=compositions)
    for row in task.sequences(Draws(seed, "data"), batch=3).tolist():
        letters, order = row[:length], row[length + 1 : 2 * length + 1]
        assert row[length] == row[2 * length + 1] == 0
        assert all(length < letter <= length + alphabet for letter in letters)
        assert sorted(order) == list(range(1, length + 1))
        expected = []
        for i in range(length):
            place = i + 1
            for _ in range(compositions):
                place = order[place - 1]
            expected.append(letters[place - 1])
        assert row[2 * length + 2 :] == expected


def test_the_papers_sizes():
    """33 ids and 50 tokens; the prompt ends with the second 0."""
    task = Permutation()
    assert task.interface[:3] == (33, 49, 33)
    assert (task.prompt_length, task.answer_length) == (34, 16)
    assert task.state_groups() == (tuple(range(33, 49)),)


@pytest.mark.parametrize(("oracle", "layer"), [("index-first", 0), ("letter-first", 1)])
def test_the_set_that_all_samples_share(oracle, layer):
    """(i, 17 + i), rows counted from the second separator on."""
    task = Permutation(oracle=oracle)
    found = {tuple(pair) for pair in task.attended(layer)[33:].nonzero().tolist()}
    assert found == {(i, 17 + i) for i in range(16)}
    assert not task.attended(layer)[:33].any()
    assert task.attended(1 - layer) is None
    assert task.attended(2) is None
    batch = task.sample(Draws([0, 1], "data"), 3)
    shared = task.attended_in(batch, layer)
    assert shared.shape == (2, 3, 49, 49)
    assert (shared == task.attended(layer)).all()


@pytest.mark.parametrize(
    ("oracle", "layer", "first"), [("index-first", 1, 33), ("letter-first", 0, 17)]
)
def test_the_set_that_depends_on_the_sample(oracle, layer, first):
    """(i, pi(i)): from the answers' rows, or from the places of pi."""
    task = Permutation(oracle=oracle)
    batch = task.sample(Draws([0, 1], "data"), 3)
    needed = task.attended_in(batch, layer)
    assert needed.shape == (2, 3, 49, 49)
    for member in range(2):
        for sample in range(3):
            order = batch["inputs"][member, sample, 17:33].tolist()
            expected = {(first + i, place - 1) for i, place in enumerate(order)}
            assert set(map(tuple, needed[member, sample].nonzero().tolist())) == expected
    assert task.attended_in(batch, 2) is None


@given(length=st.integers(2, 6), seed=st.integers(0, 99))
def test_only_the_keys_of_both_layers_determine_an_answer(length, seed):
    task = Permutation(length=length, alphabet=3)
    batch = task.sample(Draws(seed, "data"), 1)
    rows = task.output_rows()
    needed = (task.attended_in(batch, 0) | task.attended_in(batch, 1))[0, rows]
    prompt = batch["inputs"][..., : 2 * length + 1]
    answer = task.solve(prompt)[0]
    for key in range(length):  # another letter
        changed = prompt.clone()
        changed[0, key] = length + 1 + (changed[0, key] - length) % 3
        assert (task.solve(changed)[0] != answer).equal(needed[:, key])
    for one in range(length):  # another pi(i), and so a second one: two answers swap
        other = (one + 1) % length
        changed = prompt.clone()
        changed[0, length + 1 + one] = prompt[0, length + 1 + other]
        changed[0, length + 1 + other] = prompt[0, length + 1 + one]
        swapped = answer.clone()
        swapped[one], swapped[other] = answer[other], answer[one]
        assert task.solve(changed)[0].equal(swapped)
        assert needed[one, length + 1 + one] and needed[other, length + 1 + other]


def test_a_permutation_applied_several_times_has_no_oracle_set():
    task = Permutation(compositions=2)
    batch = task.sample(Draws(0, "data"), 1)
    assert all(task.attended(layer) is None for layer in range(3))
    assert all(task.attended_in(batch, layer) is None for layer in range(3))


def test_levels_by_counting(place_entropies):
    task = Permutation(length=4, alphabet=5)
    floor = 3 * log(5) + log(factorial(4))
    entropies = place_entropies(task)
    assert task.levels()["floor"] == pytest.approx(floor / 13)
    assert sum(entropies[:3]) == pytest.approx(3 * log(5), abs=1e-3)
    answers = sum(entropies[9:])
    assert task.levels()["start"] == pytest.approx((floor + answers) / 13, abs=1e-3)
    orders = task.prompts(Draws(1, "data"), 24_000)[:, 5:].unique(dim=0, return_counts=True)[1]
    assert len(orders) == 24
    torch.testing.assert_close(orders.float(), torch.full((24,), 1000.0), atol=5 * 32, rtol=0)
