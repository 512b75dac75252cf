"""Planting a token: where it is written, which answers would give it back, and who does."""

import pytest
import torch
import torch.nn.functional as F

from saltus.errors import SaltusError
from saltus.random import Draws
from saltus.tasks import Task
from saltus.tasks.addition import Addition
from saltus.tasks.concatenated_sums import ConcatenatedSums
from saltus.tasks.copying import Copy, Reverse
from saltus.tasks.histogram import Histogram
from saltus.tasks.moving_window_sum import MovingWindowSum
from saltus.tasks.permutation import Permutation
from saltus.tasks.prefix_sum import PrefixSum
from saltus.tasks.repeat import Repeat

VALUE = 9
TASKS = [
    MovingWindowSum(length=6),
    MovingWindowSum(length=7, window=3),
    PrefixSum(length=6),
    ConcatenatedSums(),
    Copy(length=6),
    Reverse(length=5),
    Repeat(length=6, blocks=2),
    Permutation(length=6),
    Permutation(length=6, compositions=3),
]
every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.kind}-{id_of(task)}")


def id_of(task):
    return getattr(task, "window", getattr(task, "compositions", 0))


def planted_in(task, seeds=(0, 1), batch=4):
    before = task.sample(Draws(list(seeds), "data"), batch)
    return before, task.planted(before, VALUE)


def copies(task, inputs):
    """What one who copies writes at each answer: the prompt tokens that answers are made of."""
    n = task.prompt_length - 1
    if isinstance(task, Permutation):
        return task.solve(inputs[..., :n])
    if isinstance(task, Repeat):
        return inputs[..., :1].expand(*inputs.shape[:-1], task.length)
    if isinstance(task, ConcatenatedSums):
        return inputs[..., [*range(4), *range(5, 10), *range(12, 16)]]
    return inputs[..., :n].flip(-1) if isinstance(task, Reverse) else inputs[..., :n]


@every_task
def test_the_batch_is_one_of_the_task(task):
    before, planted = planted_in(task)
    inputs, targets = planted.batch["inputs"], planted.batch["targets"]
    assert inputs[..., 1:].equal(targets[..., :-1])
    assert task.answer(planted.batch).equal(task.solve(inputs[..., : task.prompt_length - 1]))
    prompt = slice(0, task.prompt_length)
    changed = inputs[..., prompt] != before["inputs"][..., prompt]
    assert (inputs[..., prompt][changed] == VALUE).all()
    assert before["inputs"].equal(task.sample(Draws([0, 1], "data"), 4)["inputs"])


@every_task
def test_who_copies_by_place_gives_the_value_back_exactly_where_it_says(task):
    _, planted = planted_in(task)
    rows = task.output_rows()
    outputs = F.one_hot(planted.batch["targets"], task.vocabulary).float()
    copied = copies(task, planted.batch["inputs"])
    outputs[..., rows, :] = F.one_hot(copied, task.vocabulary).float()
    errors = task.copy_error(outputs, planted)
    assert errors.shape == planted.where.shape == planted.batch["targets"].shape
    assert planted.where.any() and not errors[planted.where].any()
    elsewhere = ~planted.where[..., rows]
    if not isinstance(task, Repeat):  # what a token is by chance aside
        chance = copied[elsewhere] == VALUE
        assert errors[..., rows][elsewhere].equal((~chance).float())
    never = F.one_hot(torch.zeros_like(planted.batch["targets"]), task.vocabulary).float()
    assert task.copy_error(never, planted).all()


@every_task
def test_where_marks_answers_alone_and_about_half_of_those_that_copy(task):
    _, planted = planted_in(task)
    where = planted.where.clone()
    marked = where[..., task.output_rows()].float().mean()
    where[..., task.output_rows()] = False
    assert not where.any()
    assert marked == (0.25 if isinstance(task, Repeat) else pytest.approx(0.5, abs=0.05))


@every_task
def test_a_stack_is_planted_as_its_members_are(task):
    _, together = planted_in(task)
    for row, seed in enumerate((0, 1)):
        alone = task.planted(task.sample(Draws(seed, "data"), 4), VALUE)
        assert together.where[row].equal(alone.where)
        for name, value in alone.batch.items():
            assert together.batch[name][row].equal(value)


@every_task
@pytest.mark.parametrize("value", [0, 0.44, -1, 40, float("nan")])
def test_a_value_that_no_prompt_holds_is_refused(task, value):
    batch = task.sample(Draws(0, "data"), 2)
    low = task.length + 1 if isinstance(task, Permutation) else 1
    with pytest.raises(SaltusError, match=rf"^value: .* allowed: whole numbers {low} to "):
        task.planted(batch, value)


@pytest.mark.parametrize("task", [Histogram(), Addition()], ids=["histogram", "addition"])
def test_tasks_that_copy_nothing_say_so(task):
    assert type(task).planted is Task.planted
