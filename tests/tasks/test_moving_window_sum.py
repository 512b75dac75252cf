"""Moving-window sums: the answers, the oracle's keys and the closed-form levels."""

from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saltus.random import Draws
from saltus.tasks.moving_window_sum import MovingWindowSum

PAPER = MovingWindowSum(length=16, window=2)
SETTINGS = st.integers(2, 12).flatmap(
    lambda length: st.tuples(
        st.just(length), st.integers(1, length), st.integers(2, 30), st.integers(2, 30)
    )
)


def task_of(setting):
    length, window, alphabet, modulus = setting
    return MovingWindowSum(length=length, window=window, alphabet=alphabet, modulus=modulus)


@given(setting=SETTINGS, seed=st.integers(0, 99))
def test_answers_are_those_of_a_plain_loop(setting, seed):
    task, (length, window, alphabet, modulus) = task_of(setting), setting
    for row in task.sequences(Draws(seed, "data"), batch=3).tolist():
        prompt, separator, answer = row[:length], row[length], row[length + 1 :]
        expected = []
        for i in range(length):
            if i < window - 1:
                expected.append(prompt[i])
            else:
                total = 0
                for j in range(i - window + 1, i + 1):
                    total += prompt[j]
                expected.append(total % modulus)
        assert answer == expected
        assert all(1 <= token <= alphabet for token in prompt)
        assert separator == task.separator


@given(setting=SETTINGS)
def test_the_separator_is_no_other_token_and_ids_fit_the_vocabulary(setting):
    task = task_of(setting)
    tokens = task.sequences(Draws(0, "data"), batch=20)
    assert task.vocabulary == task.separator + 1
    assert tokens.max() == task.separator
    assert ((tokens == task.separator).sum(-1) == 1).all()


def test_the_papers_setting_has_18_ids_and_33_tokens():
    assert PAPER.interface[:3] == (18, 32, 18)
    assert PAPER.sequences(Draws(0, "data"), 1).shape == (1, 33)
    assert (PAPER.separator, PAPER.prompt_length, PAPER.answer_length) == (17, 17, 16)


def test_answers_worked_by_hand():
    prompt = torch.tensor([[16, 1, 2, 16]])
    assert MovingWindowSum(length=4).solve(prompt).tolist() == [[16, 0, 3, 1]]
    assert MovingWindowSum(length=4, window=3).solve(prompt).tolist() == [[16, 1, 2, 2]]
    assert MovingWindowSum(length=4, window=1, modulus=2).solve(prompt).tolist() == [[0, 1, 0, 0]]


@given(setting=SETTINGS, seed=st.integers(0, 99))
def test_only_the_keys_in_the_oracle_set_determine_an_answer(setting, seed):
    length, window, alphabet, modulus = setting
    modulus = max(modulus, alphabet)  # then a change of one summand changes the sum
    task = task_of((length, window, alphabet, modulus))
    needed, rows = task.attended(), task.output_rows()
    assert needed.shape == (task.interface.positions,) * 2
    prompt = task.sample(Draws(seed, "data"), 1)["inputs"][0, :length]
    answer = task.solve(prompt)
    for key in range(length):
        changed = prompt.clone()
        changed[key] = changed[key] % alphabet + 1
        differs = task.solve(changed) != answer
        assert differs.equal(needed[rows, key])


@given(setting=SETTINGS)
def test_the_oracle_set_lies_in_the_prompt_and_in_the_answers_rows(setting):
    task = task_of(setting)
    needed, rows = task.attended().clone(), task.output_rows()
    assert needed[rows, : task.length].any(-1).all()
    assert not needed[rows, task.length :].any()
    needed[rows] = False
    assert not needed.any()


def test_the_papers_oracle_set_is_the_one_in_the_spec():
    """(0,0); (i, i-1), (i, i) for i >= 1, rows counted from the separator on."""
    found = {tuple(pair) for pair in PAPER.attended()[16:].nonzero().tolist()}
    assert found == {(0, 0)} | {(i, j) for i in range(1, 16) for j in (i - 1, i)}


def test_levels_of_the_papers_setting():
    levels = PAPER.levels()
    assert levels["floor"] == pytest.approx(1.2997, abs=5e-5)
    assert levels["plateau"] == pytest.approx(2.628, abs=5e-4)
    assert levels["start"] == pytest.approx(2.714, abs=1e-3)
    assert levels["plateau"] == pytest.approx((15 * log(16) + 15 * 2.8332) / 32, abs=1e-5)


@pytest.mark.parametrize(
    "task",
    [PAPER, MovingWindowSum(length=6, window=3, alphabet=7, modulus=7), MovingWindowSum(window=1)],
    ids=["paper", "window-3", "window-1"],
)
@pytest.mark.parametrize("knows", ["floor", "plateau", "start"])
def test_a_level_is_the_loss_of_the_predictor_that_knows_that_much(task, knows):
    batch = task.sample(Draws(0, "data", dtype=torch.float64), 400)
    loss = task.loss(ideal_outputs(task, batch, knows), batch).mean()
    # Inputs 1 .. 16 summed modulo 17 are uniform but for 1e-4 nats.
    torch.testing.assert_close(float(loss), task.levels()[knows], atol=2e-3, rtol=0)


def ideal_outputs(task, batch, knows):
    """Log probabilities: uniform over what may come, or certain where the predictor knows."""
    targets, n = batch["targets"], task.length
    certain = torch.full((*targets.shape, task.vocabulary), -1e3, dtype=torch.float64)
    certain.scatter_(-1, targets.unsqueeze(-1), 0.0)
    inputs, answers = torch.full((2, task.vocabulary), -1e3, dtype=torch.float64)
    inputs[1 : task.alphabet + 1] = -log(task.alphabet)
    answers[: task.modulus] = -log(task.modulus)
    outputs = certain.clone()
    outputs[:, : n - 1] = inputs  # row n - 1 predicts the separator: always certain
    copied = slice(n, n + task.window - 1)
    if knows != "floor":
        outputs[:, copied.stop :] = answers
    if knows == "start":
        outputs[:, copied] = inputs
    return outputs


def test_all_answers_but_the_first_are_compared():
    assert PAPER.state_groups() == (tuple(range(17, 32)),)
    assert MovingWindowSum(length=4, window=3).state_groups() == ((5, 6, 7),)
