"""Entropy and counts of the tokens in answers."""

import dataclasses
import math
from collections import Counter

import pytest
import torch

from saltus.instruments import Reading
from saltus.instruments.answer_statistics import AnswerStatistics, entropy, token_shares
from saltus.random import Draws
from saltus.tasks import Task
from saltus.tasks.permutation import Permutation
from saltus.tasks.prefix_sum import PrefixSum


def read(task, written, batch=None):
    batch = batch or task.sample(Draws(0, "evaluation"), len(written))
    reading = Reading(task=task, parameters={}, batch=batch, generated=written)
    return AnswerStatistics().read(reading)


def test_one_token_for_ever_has_entropy_0_and_no_token_twice_the_log_of_their_number(one):
    def of(tokens):
        reading = dataclasses.replace(one(), generated=torch.tensor([tokens] * 7))
        return AnswerStatistics().read(reading)["answers/entropy"].item()

    assert of([4] * 6) == pytest.approx(0, abs=2e-6)
    assert of([0, 1, 2, 3, 4, 5]) == pytest.approx(math.log(6), abs=1e-5)
    assert of([0, 0, 0, 1, 1, 1]) == pytest.approx(math.log(2), abs=1e-5)


def test_the_formula_by_plain_loops(one):
    reading = one()
    results = AnswerStatistics().read(reading)
    entropies, counts = [], []
    right = reading.task.answer(reading.batch).tolist()
    for written, expected in zip(reading.generated.tolist(), right, strict=True):
        shares = [count / 6 for count in Counter(written).values()]
        entropies.append(sum(p * math.log(1 / (p + 1e-6)) for p in shares))
        for token in range(reading.task.vocabulary):
            counts.append(written.count(token) == expected.count(token))
    assert results["answers/entropy"].item() == pytest.approx(sum(entropies) / 7, rel=1e-5)
    assert results["answers/count-check"].item() == pytest.approx(sum(counts) / len(counts))


def test_the_data_entropy_of_the_papers_prefix_sums():
    """2.30 nats, in our spec; 16 tokens of 17 in one sequence hold less than ln 17 = 2.83."""
    task = PrefixSum()
    batch = task.sample(Draws(0, "evaluation"), 2000)
    results = read(task, torch.zeros_like(task.answer(batch)), batch)
    assert results["answers/entropy-data"].item() == pytest.approx(2.30, abs=0.01)


def test_the_right_letters_in_any_order_pass_the_count_check():
    task = Permutation(length=5)
    batch = task.sample(Draws(0, "evaluation"), 6)
    answer = task.answer(batch)
    assert read(task, answer.flip(-1), batch)["answers/count-check"] == 1
    wrong = answer.clone()
    wrong[:, 0] = 0  # one token too many, one too few
    share = read(task, wrong, batch)["answers/count-check"].item()
    assert share == pytest.approx(1 - 2 / task.vocabulary)


def test_shares_add_up_to_1():
    shares = token_shares(torch.randint(0, 9, (3, 4, 11)), 9)
    assert shares.shape == (3, 4, 9)
    torch.testing.assert_close(shares.sum(-1), torch.ones(3, 4))
    assert (entropy(shares) >= 0).all()


def test_tasks_that_write_nothing_are_refused():
    with pytest.raises(ValueError, match="task silent has no answers"):
        AnswerStatistics().check(Silent(kind="silent"))


class Silent(Task):
    """A task without answers."""
