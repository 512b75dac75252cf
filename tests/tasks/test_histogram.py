"""Histogram: the counts, the oracle's keys and the levels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.random import Draws
from saltus.tasks.histogram import Histogram


@given(length=st.integers(2, 12), alphabet=st.integers(2, 20), seed=st.integers(0, 99))
def test_answers_are_those_of_a_plain_loop(length, alphabet, seed):
    task = Histogram(length=length, alphabet=alphabet)
    for row in task.sequences(Draws(seed, "data"), batch=3).tolist():
        prompt = row[:length]
        assert row[length] == 0
        assert row[length + 1 :] == [prompt.count(token) for token in prompt]
        assert all(1 <= token <= alphabet for token in prompt)
        assert max(row) < task.vocabulary


def test_the_papers_sizes_and_oracle_set():
    """17 ids, 33 tokens; (i, i) in the first of two layers."""
    task = Histogram()
    assert task.interface[:3] == (17, 32, 17)
    found = {tuple(pair) for pair in task.attended(0)[16:].nonzero().tolist()}
    assert found == {(i, i) for i in range(16)}
    assert not task.attended(0)[:16].any()
    assert task.attended(1) is None
    assert task.state_groups() == (tuple(range(16, 32)),)


@given(length=st.integers(2, 6), seed=st.integers(0, 99))
def test_an_answer_changes_with_its_own_input_for_some_value(length, seed):
    task = Histogram(length=length, alphabet=length + 1)
    prompt = task.prompts(Draws(seed, "data"), 1)
    answer = task.solve(prompt)
    for i in range(length):
        others = [j for j in range(length) if j != i]
        changed = [prompt.clone() for _ in range(task.alphabet)]
        for token, each in enumerate(changed, start=1):
            each[0, i] = token
        assert any(task.solve(each)[0, i] != answer[0, i] for each in changed)
        # Not so the answer to an input that is neither the old nor the new one.
        for each in changed:
            for j in others:
                if prompt[0, j] not in (prompt[0, i], each[0, i]):
                    assert task.solve(each)[0, j] == answer[0, j]


@pytest.mark.parametrize(("length", "alphabet"), [(4, 3), (9, 5), (3, 7)])
def test_levels_are_the_entropies_of_samples(length, alphabet, place_entropies):
    task = Histogram(length=length, alphabet=alphabet)
    entropies = place_entropies(task)
    levels = task.levels()
    assert levels["floor"] == pytest.approx(sum(entropies[:length]) / (2 * length), abs=1e-3)
    assert levels["start"] == pytest.approx(sum(entropies) / (2 * length), abs=4e-3)
