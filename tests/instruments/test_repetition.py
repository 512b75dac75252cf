"""Repetition in answers."""

import dataclasses

import pytest
import torch

from saltus.instruments.repetition import Repetition, repetition_rate
from saltus.random import Draws
from saltus.tasks import Task
from saltus.tasks.moving_window_sum import MovingWindowSum


def written(one, tokens):
    return Repetition().read(dataclasses.replace(one(), generated=torch.tensor(tokens)))


def test_one_token_for_ever_is_repetition_1(one):
    results = written(one, [[4] * 6, [2] * 6])
    assert results["repetition/rate"] == results["repetition/first"] == 1


def test_no_token_twice_is_repetition_0(one):
    results = written(one, [[0, 1, 2, 3, 4, 5]])
    assert results["repetition/rate"] == 0
    torch.testing.assert_close(results["repetition/first"], torch.tensor(1 / 6))


def test_plain_loops_agree(one):
    reading = one()
    results = Repetition().read(reading)
    rows = reading.generated.tolist()
    equal = [row[i] == row[i + 1] for row in rows for i in range(5)]
    first = [token == row[0] for row in rows for token in row]
    torch.testing.assert_close(results["repetition/rate"].item(), sum(equal) / len(equal))
    torch.testing.assert_close(results["repetition/first"].item(), sum(first) / len(first))


def test_the_papers_data_rate():
    """14/(15*16): 15 neighbours; the copied y_1 cannot equal y_2, the others do in 1 of 16.

    y_1 = x_1 and y_2 = x_1 + x_2 mod 17 differ, because x_2 is never 0 mod 17; y_i = y_{i+1} where
    x_{i-1} = x_{i+1}.
    """
    task = MovingWindowSum()
    answers = task.answer(task.sample(Draws(0, "evaluation"), 4096))
    assert repetition_rate(answers).item() == pytest.approx(14 / (15 * 16), abs=4 * 1e-3)


def test_the_data_rate_is_of_the_right_answers(one, task):
    reading = one()
    expected = repetition_rate(task.answer(reading.batch))
    assert Repetition().read(reading)["repetition/data"].equal(expected)


def test_tasks_that_cannot_repeat_are_refused():
    with pytest.raises(ValueError, match="silent has no answers"):
        Repetition().check(Silent(kind="silent"))


class Silent(Task):
    """A task without answers."""
