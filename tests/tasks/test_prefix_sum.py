"""Prefix sums: the answers, the oracle's keys and the levels."""

from math import factorial, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.instruments.repetition import repetition_rate
from saltus.random import Draws
from saltus.tasks.prefix_sum import PrefixSum


@given(
    length=st.integers(2, 12),
    alphabet=st.integers(2, 20),
    modulus=st.integers(2, 20),
    seed=st.integers(0, 99),
)
def test_answers_are_those_of_a_plain_loop(length, alphabet, modulus, seed):
    task = PrefixSum(length=length, alphabet=alphabet, modulus=modulus)
    for row in task.sequences(Draws(seed, "data"), batch=3).tolist():
        total, expected = 0, []
        for token in row[:length]:
            total += token
            expected.append(total % modulus)
        assert row[length + 1 :] == expected
        assert row[length] == task.separator == max(modulus, alphabet + 1)
        assert all(1 <= token <= alphabet for token in row[:length])


@given(length=st.integers(2, 12), seed=st.integers(0, 99))
def test_permuted_inputs_are_permutations_and_sum_to_the_same(length, seed):
    task = PrefixSum(length=length, alphabet=length, inputs="permutation")
    tokens = task.sequences(Draws([seed, seed + 1], "data"), batch=3)
    for row in tokens.flatten(0, 1).tolist():
        assert sorted(row[:length]) == list(range(1, length + 1))
        assert row[-1] == length * (length + 1) // 2 % 17


def test_every_order_of_the_inputs_is_as_likely():
    task = PrefixSum(length=3, alphabet=3, inputs="permutation")
    prompts = task.prompts(Draws(0, "data"), 6000).tolist()
    counts = [prompts.count(order) for order in {tuple(p): p for p in prompts}.values()]
    assert len(counts) == factorial(3)
    assert all(abs(count - 1000) < 5 * 1000**0.5 for count in counts)
    # The first input is not predicted; of the two orders of the rest one is right.
    assert task.levels() == {"floor": pytest.approx(log(2) / 6)}


def test_the_oracle_set_determines_the_answers_and_none_of_it_is_idle(ambiguous):
    assert not ambiguous(PrefixSum(length=5, alphabet=3, modulus=7))


def test_the_papers_sizes_and_oracle_set():
    """18 ids, 33 tokens; (0,0); (i,i), (i,i+16), rows counted from the separator on."""
    task = PrefixSum()
    assert task.interface[:3] == (18, 32, 18)
    found = {tuple(pair) for pair in task.attended()[16:].nonzero().tolist()}
    assert found == {(0, 0)} | {(i, key) for i in range(1, 16) for key in (i, i + 16)}
    assert not task.attended()[:16].any()
    assert task.state_groups() == (tuple(range(17, 32)),)


def test_the_papers_answers_never_repeat():
    task = PrefixSum()
    assert repetition_rate(task.answer(task.sample(Draws(0, "data"), 500))) == 0


def test_levels_are_the_entropies_of_samples(place_entropies):
    """With inputs 1 .. modulus - 1 the later sums are uniform but for some 1e-3 nats."""
    task = PrefixSum(length=5, alphabet=10, modulus=11)
    entropies = place_entropies(task)
    levels = task.levels()
    assert levels["floor"] == pytest.approx(sum(entropies[:5]) / 10, abs=1e-3)
    assert levels["plateau"] == pytest.approx(sum(entropies[:5] + entropies[6:]) / 10, abs=2e-3)
    assert levels["start"] == pytest.approx(sum(entropies) / 10, abs=2e-3)


def test_permuted_inputs_need_an_alphabet_as_long_as_the_prompt():
    task = {"kind": "prefix-sum", "length": 5, "inputs": "permutation"}
    with pytest.raises(SaltusError, match="task: alphabet 16 must equal length 5 where the inputs"):
        Experiment.of({"task": task, "model": "decoder", "steps": 1, "batch": 1})
