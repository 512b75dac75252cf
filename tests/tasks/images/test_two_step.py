"""Two-step images: what a batch holds, member by member."""

import pytest
import torch

from saltus.random import Draws
from saltus.tasks import Task
from saltus.tasks.images import VARIANTS, TwoStepImage


@pytest.mark.parametrize("control", ["none", "always-top-right", "predict-z", "oracle"])
def test_a_member_of_a_stack_is_that_seed_alone(control):
    task = TwoStepImage(control=control)
    together = task.sample(Draws([4, 7, 2], "data", 5), 33)
    for row, seed in enumerate((4, 7, 2)):
        alone = task.sample(Draws(seed, "data", 5), 33)
        assert alone.keys() == together.keys()
        for name, value in alone.items():
            assert torch.equal(together[name][row], value), name


def test_the_kind_alone_is_the_main_task_on_digits():
    task = Task.parse("two-step-image")
    assert task == TwoStepImage()
    assert task.layout is VARIANTS["T1"]
    assert task.interface == (0, 1, 10, 0, (3, 16, 16))
