"""Copy and reverse: the answers, the oracle's keys and the levels."""

from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.random import Draws
from saltus.tasks.copying import Copy, Reverse

KINDS = pytest.mark.parametrize("kind", [Copy, Reverse])


@KINDS
@given(length=st.integers(2, 12), alphabet=st.integers(2, 20), seed=st.integers(0, 99))
def test_answers_are_those_of_a_plain_loop(kind, length, alphabet, seed):
    task = kind(length=length, alphabet=alphabet)
    for row in task.sequences(Draws(seed, "data"), batch=3).tolist():
        prompt, separator, answer = row[:length], row[length], row[length + 1 :]
        assert answer == [prompt[i if kind is Copy else length - 1 - i] for i in range(length)]
        assert separator == 0
        assert all(1 <= token <= alphabet for token in prompt)


@KINDS
def test_the_oracle_set_determines_the_answers_and_none_of_it_is_idle(kind, ambiguous):
    assert not ambiguous(kind(length=5, alphabet=3))


def test_the_papers_sizes_and_oracle_sets():
    """17 ids and 33 tokens; (i, i) and (i, 15 - i), rows counted from the separator on."""
    for task, key in [(Copy(), lambda i: i), (Reverse(), lambda i: 15 - i)]:
        assert task.interface[:3] == (17, 32, 17)
        found = {tuple(pair) for pair in task.attended()[16:].nonzero().tolist()}
        assert found == {(i, key(i)) for i in range(16)}
        assert not task.attended()[:16].any()


@KINDS
def test_all_120_pairs_of_answers_are_compared(kind):
    assert kind().state_groups() == (tuple(range(16, 32)),)


@KINDS
def test_levels_are_the_entropies_of_samples(kind, place_entropies):
    task = kind(length=4, alphabet=5)
    prompt, separator, answers = (
        sum(part) for part in _split(place_entropies(task), task.prompt_length)
    )
    levels = task.levels()
    assert separator == 0
    assert levels["floor"] == pytest.approx(prompt / 8, abs=1e-3)
    assert levels["start"] == pytest.approx((prompt + answers) / 8, abs=1e-3)


def test_levels_by_hand():
    assert Copy().levels()["floor"] == pytest.approx(15 * log(16) / 32)
    assert Reverse().levels()["start"] == pytest.approx(31 * log(16) / 32)


def _split(entropies, prompt_length):
    """The predicted tokens of the prompt, the separator, the answers."""
    last = prompt_length - 2
    return entropies[:last], entropies[last : last + 1], entropies[last + 1 :]
